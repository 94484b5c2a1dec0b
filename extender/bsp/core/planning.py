"""Model-predictive control over scenarios: when a new configuration pays, and which one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.allocation import least_expected
from extender.bsp.core.forecasting import Outlook
from extender.bsp.core.rules import Levels, Rules
from extender.bsp.core.simulation import Choice
from extender.bsp.core.surfaces import Surface

Floats = NDArray[np.float64]

HORIZON: Final = 6
SCENARIOS: Final = 48


@dataclass(frozen=True, slots=True)
class _Row:
    """Of one row: scenarios, and for each window (offset, length) its levels and expected seconds."""

    scenarios: Floats
    levels: dict[tuple[int, int], Levels]
    expected_s: dict[tuple[int, int], float]


class ScenarioPlans:
    """Configurations of every window in the horizon; what a reconfiguration costs does not change them."""

    def __init__(
        self,
        surface: Surface,
        outlook: Outlook,
        rules: Rules,
        *,
        horizon: int = HORIZON,
        scenarios: int = SCENARIOS,
        caps: Levels | None = None,
        allowed: float = 0.0,
        seed: int = 0,
    ) -> None:
        """`allowed` is the fraction by which supersteps may be slower, for CPU that is given back."""
        self.horizon = min(horizon, outlook.mean.shape[1])
        self._surface, self._outlook, self._rules, self._count = surface, outlook, rules, scenarios
        self._caps, self._allowed, self._seed = caps, allowed, seed
        members = outlook.mean.shape[2]
        self._ladder, self._budget = rules.ladder(members), rules.grants(members)
        self._rows: dict[int, _Row] = {}

    def row(self, row: int) -> _Row:
        """The plan that was made before a superstep; the first call for it does the work."""
        if row not in self._rows:
            self._rows[row] = self._plan(row)
        return self._rows[row]

    def kept_s(self, row: int, levels: Levels) -> Floats:
        """Expected duration of the superstep at each lead if these levels stay."""
        return self._slowest_s(self.row(row).scenarios, levels)

    def _plan(self, row: int) -> _Row:
        # Configurations look better on the scenarios that they were made for, so others judge them.
        made_for, judges = (
            self._outlook.scenarios(row, self._count, self.horizon, seed)
            for seed in (2 * self._seed, 2 * self._seed + 1)
        )
        table = self._surface.grid(made_for, self._ladder)
        levels: dict[tuple[int, int], Levels] = {}
        seconds: dict[tuple[int, int], float] = {}
        for length in range(1, self.horizon + 1):
            offsets = range(self.horizon - length + 1)
            cases = np.stack(
                [table[:, each : each + length].reshape(-1, *table.shape[2:]) for each in offsets]
            )
            weights = np.full(cases.shape[1], 1 / len(table))
            found = least_expected(cases, weights, self._budget, self._caps, self._allowed)
            for offset, own in zip(offsets, found, strict=True):
                levels[offset, length] = own
                seconds[offset, length] = float(
                    self._slowest_s(judges[:, offset : offset + length], own).sum()
                )
        return _Row(judges, levels, seconds)

    def _slowest_s(self, scenarios: Floats, levels: Levels) -> Floats:
        millicores = np.broadcast_to(self._rules.millicores(levels).astype(np.float64), scenarios.shape)
        return self._surface.points(scenarios, millicores).max(axis=2).mean(axis=0)


@dataclass(frozen=True, slots=True)
class ScenarioWindows:
    """Changes the configuration when its plan for the horizon is expected to end sooner than keeping would.

    V(s) = min over w of E(s, w) + [s + w < H] * (V(s + w) + change), where E is the expected duration of the
    window's best configuration over all scenarios. Errors of the forecast are in the scenarios, so nothing
    else makes long windows look worse. Keeping for k supersteps and changing then is compared for each k.
    """

    plans: ScenarioPlans
    rules: Rules
    steps: int

    def choose(self, step: int, running: Levels) -> Choice | None:
        """The first window of the plan, where changing now is cheaper than keeping."""
        planned, horizon = self.plans.row(step), min(self.plans.horizon, self.steps - step)
        later_s = self.rules.penalty_s + self.rules.grow_s + self.rules.shrink_s
        cost_s, windows = np.zeros(horizon + 1), np.zeros(horizon, dtype=np.int64)
        for start in range(horizon - 1, -1, -1):
            costs = [
                planned.expected_s[start, length]
                + (later_s + cost_s[start + length] if start + length < horizon else 0.0)
                for length in range(1, horizon - start + 1)
            ]
            windows[start] = int(np.argmin(costs)) + 1
            cost_s[start] = min(costs)
        best = Choice(int(windows[0]), planned.levels[0, int(windows[0])])
        if step == 0:
            return best
        kept_s = np.cumsum(self.plans.kept_s(step, running)[:horizon])
        after = np.where(np.arange(1, horizon + 1) < horizon, cost_s[1:] + later_s, 0.0)
        changed_s = cost_s[0] + self.rules.reconfiguration_s(running, best.levels)
        return best if changed_s < (kept_s + after).min() else None
