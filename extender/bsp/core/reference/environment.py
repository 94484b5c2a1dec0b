"""The published environment for reinforcement learning: choose a window, be paid for short supersteps.

It has the methods and attributes of a Gymnasium `Env` (reset returns observation and info, step returns five
values), and needs no Gymnasium: a learner that checks types can wrap it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.reference.controllers import Forecasts
from extender.bsp.core.rules import Levels
from extender.bsp.core.surfaces import Surface

Floats = NDArray[np.float64]

_LOW_S: Final = 75.0
_HIGH_S: Final = 150.0
_PENALTY_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Discrete:
    """Actions 0 to n - 1."""

    n: int

    def contains(self, action: Any) -> bool:
        """Whether it is one of them."""
        return 0 <= int(action) < self.n

    def sample(self, random: np.random.Generator) -> int:
        """Any of them."""
        return int(random.integers(self.n))


@dataclass(frozen=True, slots=True)
class Box:
    """Arrays of a shape. The declared bounds are the original's; its observations exceed them."""

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = 1.0


class WindowEnvironment:
    """Action 0 keeps the configuration; action a begins a greedy one for a window of a supersteps.

    Observation row a, column k: duration of the superstep at lead k with the configuration of action a,
    scaled from 75..150 s to 0..1. Reward: 150 s less the superstep's duration and less 15 s for a
    reconfiguration, over 75 s.
    """

    def __init__(
        self,
        forecasts: Forecasts,
        surface: Surface,
        sizes: Floats,
        *,
        actions: int = 4,
        look_ahead: int = 6,
        first_step: int = 200,
        steps: int = 400,
    ) -> None:
        """`sizes[step, member]` are the work that is really done. An episode is `steps` long."""
        if first_step + steps > len(sizes):
            raise ValueError(f"an episode ends at step {first_step + steps}, there is work for {len(sizes)}")
        if max(look_ahead, actions - 1) > forecasts.leads:
            raise ValueError(f"the forecasts have {forecasts.leads} leads only: look less far ahead")
        self.action_space, self.observation_space = Discrete(actions), Box((actions, look_ahead))
        self._forecasts, self._surface, self._sizes = forecasts, surface, sizes
        self._first, self._last = first_step, first_step + steps - 1
        self.step_number = first_step
        self.running: Levels = np.zeros(forecasts.members, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """Back to the first superstep, with the least CPU for each. Nothing is random, whatever the seed."""
        del seed
        given = options or {}
        self.step_number = int(given.get("step", self._first))
        self.running = np.asarray(given.get("levels", np.zeros_like(self.running)), dtype=np.int64)
        return self.observation(), {}

    def configuration(self, action: int) -> Levels:
        """The levels that an action leads to."""
        return self.running if action == 0 else self._forecasts.configure(self.step_number, 0, action)[0]

    def observation(self) -> Floats:
        """How the next supersteps would go with each action."""
        ahead = self.observation_space.shape[1]
        rows = [
            self._forecasts.slowest_s(self.step_number, self.configuration(action))[:ahead]
            for action in range(self.action_space.n)
        ]
        return (np.array(rows) - _LOW_S) / (_HIGH_S - _LOW_S)

    def step(self, action: int) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Observation after a superstep, reward, whether the run is over, False, the superstep's duration."""
        if not self.action_space.contains(action):
            raise ValueError(f"action {action}: there are actions 0 to {self.action_space.n - 1}")
        self.running = self.configuration(int(action))
        millicores = self._forecasts.rules.millicores(self.running).astype(np.float64)
        seconds = float(self._surface.points(self._sizes[self.step_number], millicores).max())
        reward = (_HIGH_S - seconds - (_PENALTY_S if action else 0.0)) / (_HIGH_S - _LOW_S)
        over = self.step_number >= self._last
        if not over:
            self.step_number += 1
        return self.observation(), reward, over, False, {"duration_s": seconds}
