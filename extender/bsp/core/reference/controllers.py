"""The original's controllers: a fixed configuration, fixed windows, and windows from dynamic programming."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.reference.greedy import Windows, greedy, static_configuration
from extender.bsp.core.rules import Levels, Rules, RulesUnusable
from extender.bsp.core.simulation import Choice
from extender.bsp.core.surfaces import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LENGTH_FACTOR: Final = 1.02
"""How much worse a window looks for each superstep that it is longer: forecasts degrade with their lead."""

LONGEST_WINDOW: Final = 15

_ROWS_AT_ONCE: Final = 64


class Forecasts:
    """Forecast durations `table[row, lead, member, level]`, and greedy configurations of their windows.

    Row t is what was forecast before superstep t. Configurations are made for a block of rows at a time,
    since NumPy then works on long arrays; which rows a controller sees does not change with that.
    """

    def __init__(self, surface: Surface, sizes: Floats, rules: Rules, deepest: int = 0) -> None:
        """`sizes[row, lead, member]` are forecast. Horizons up to `deepest` share their configurations."""
        self.rules, self._deepest = rules, deepest
        self.members = sizes.shape[2]
        self.leads = sizes.shape[1]
        self.grants = rules.grants(self.members)
        self.table = surface.grid(sizes, rules.ladder(self.members))
        self._plans: dict[tuple[int, tuple[tuple[int, int], ...]], tuple[Levels, Floats]] = {}

    def _planned(self, row: int, pairs: tuple[tuple[int, int], ...]) -> tuple[Levels, Floats]:
        """Levels and estimates of windows (offset, length) of a row."""
        block, inside = divmod(row, _ROWS_AT_ONCE)
        if (block, pairs) not in self._plans:
            first = block * _ROWS_AT_ONCE
            rows = np.arange(first, min(first + _ROWS_AT_ONCE, len(self.table)))
            offsets, lengths = np.tile(np.array(pairs).T, len(rows))
            windows = Windows(rows.repeat(len(pairs)), offsets, lengths)
            self._plans[block, pairs] = greedy(self.table, windows, self.grants)
        levels, estimates = self._plans[block, pairs]
        part = slice(inside * len(pairs), (inside + 1) * len(pairs))
        return levels[part], estimates[part]

    def under(self, rules: Rules) -> Forecasts:
        """The same forecasts and configurations where a reconfiguration costs something else."""
        if (rules.grants(self.members), rules.step_millicores) != (self.grants, self.rules.step_millicores):
            raise RulesUnusable("other CPU needs other configurations: only the costs may differ")
        other = copy(self)
        other.rules = rules
        return other

    def configure(self, row: int, offset: int, window: int) -> tuple[Levels, float]:
        """Greedy levels for a window, and the sum of its durations in seconds."""
        levels, estimates = self._planned(row, ((offset, window),))
        return levels[0], float(estimates[0])

    def within(self, row: int, horizon: int) -> tuple[Ints, Levels, Floats]:
        """Every window within the horizon: its place `[offset, length - 1]` in the other two arrays."""
        deep = max(horizon, self._deepest)
        pairs = tuple((s, w) for s in range(deep) for w in range(1, min(deep - s, LONGEST_WINDOW) + 1))
        place = np.full((deep, LONGEST_WINDOW), -1)
        place[tuple(np.array([(s, w - 1) for s, w in pairs]).T)] = np.arange(len(pairs))
        return place, *self._planned(row, pairs)

    def slowest_s(self, row: int, levels: Levels) -> Floats:
        """Duration of the superstep at each lead of a row, with these levels."""
        return self.table[row][:, np.arange(self.members), levels].max(axis=1)


@dataclass(frozen=True, slots=True)
class StaticConfiguration:
    """EXPPO: one configuration for the whole run."""

    levels: Levels

    @classmethod
    def of(cls, surface: Surface, rules: Rules) -> StaticConfiguration:
        """For members of middle size."""
        return cls(static_configuration(surface, rules))

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The configuration, at the start."""
        del running
        return Choice(1, self.levels) if step == 0 else None


@dataclass(frozen=True, slots=True)
class StaticWindows:
    """StaticMPController: a new configuration every `window` supersteps."""

    forecasts: Forecasts
    window: int

    def choose(self, step: int, running: Levels) -> Choice | None:
        """A greedy configuration for the window that begins now, if one does."""
        del running
        if step % self.window:
            return None
        return Choice(self.window, self.forecasts.configure(step, 0, self.window)[0])


@dataclass(frozen=True, slots=True)
class Horizon:
    """The dynamic programme of one superstep: least cost from each lead on, and the window that gives it."""

    cost_s: Floats
    windows: Ints
    place: Ints
    levels: Levels

    def choice(self, offset: int) -> Choice:
        """The window that is best from a lead on."""
        window = int(self.windows[offset])
        return Choice(window, self.levels[self.place[offset, window - 1]])


def plan_horizon(
    forecasts: Forecasts, row: int, horizon: int, left: int, length_factor: float = LENGTH_FACTOR
) -> Horizon:
    """Windows for the next `horizon` supersteps of which `left` are still to be run.

    V(s) = min over w of R(s, w) * 1.02^w + [s + w < H] * (V(s + w) + penalty), where R is the greedy
    configuration's estimate. The shortest of equally good windows wins. Where nothing is left to run, V is 0.
    """
    place, levels, estimates = forecasts.within(row, horizon)
    cost, windows = np.zeros(horizon + 1), np.zeros(horizon, dtype=np.int64)
    for start in range(min(horizon, left) - 1, -1, -1):
        lengths = np.arange(1, min(horizon - start, left, LONGEST_WINDOW) + 1)
        after = np.where(start + lengths < horizon, cost[start + lengths] + forecasts.rules.penalty_s, 0.0)
        costs = estimates[place[start, lengths - 1]] * length_factor**lengths + after
        best = int(costs.argmin())
        cost[start], windows[start] = costs[best], lengths[best]
    return Horizon(cost[:horizon], windows, place, levels)


@dataclass(frozen=True, slots=True)
class DynamicWindows:
    """DynamicMPController: plans the horizon before every superstep, and changes when that beats keeping.

    The penalty of the change counts from the second superstep on. Equal costs change.
    """

    forecasts: Forecasts
    horizon: int
    steps: int

    def costs(self, step: int, running: Levels) -> tuple[Horizon, float]:
        """The plan with the penalty of a change now, and the least cost of keeping what runs."""
        left, penalty = self.steps - step, self.forecasts.rules.penalty_s
        plan = plan_horizon(self.forecasts, step, self.horizon, left)
        kept = np.cumsum(self.forecasts.slowest_s(step, running))
        lengths = np.arange(1, min(self.horizon, left) + 1)
        later = np.append(plan.cost_s, 0.0)[lengths]
        after = np.where(lengths < self.horizon, later + penalty, 0.0)
        if step > 0:
            plan.cost_s[0] += penalty
        return plan, float((kept[lengths - 1] * LENGTH_FACTOR**lengths + after).min())

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The first window of the plan, unless keeping is cheaper."""
        plan, keep_s = self.costs(step, running)
        return None if keep_s < plan.cost_s[0] else plan.choice(0)


class HeldWindows:
    """Dynamic Window: plans the horizon like `DynamicWindows`, but holds each window to its end."""

    def __init__(self, forecasts: Forecasts, horizon: int, steps: int) -> None:
        """`steps` is the length of the run."""
        self._forecasts, self._horizon, self._steps = forecasts, horizon, steps
        self._until = 0

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The first window of the plan, when the last one is over."""
        del running
        if step == 0:
            self._until = 0
        if step < self._until:
            return None
        choice = plan_horizon(self._forecasts, step, self._horizon, self._steps - step).choice(0)
        self._until = step + choice.window
        return choice


class WholeRun:
    """The offline plan: all windows of the run at once, from one row of forecasts that reaches its end."""

    def __init__(self, forecasts: Forecasts, length_factor: float = LENGTH_FACTOR) -> None:
        """The forecasts have one row with a lead for each superstep."""
        plan, step = plan_horizon(forecasts, 0, forecasts.leads, forecasts.leads, length_factor), 0
        self._choices: dict[int, Choice] = {}
        while step < forecasts.leads:
            self._choices[step] = plan.choice(step)
            step += self._choices[step].window

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The window that begins at this superstep, if one does."""
        del running
        return self._choices.get(step)
