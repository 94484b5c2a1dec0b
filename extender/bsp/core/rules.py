"""The terms of one bulk-synchronous job: CPU budget, steps of CPU, cost of a reconfiguration."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.int64]
"""CPU of each member as a number of steps above the start."""


class RulesUnusable(ValueError):
    """Terms under which no member can run; the text says which one and what to do."""


@dataclass(frozen=True, slots=True)
class Rules:
    """CPU is counted in millicores (1000 = one core), time in seconds. The defaults are the published ones.

    A reconfiguration costs `penalty_s`, and `grow_s` or `shrink_s` more if any member gets more or less CPU.
    The original deletes all pods and creates them again, whichever way they change: 15 s.
    """

    start_millicores: int = 1000
    step_millicores: int = 100
    total_millicores: int = 24000
    penalty_s: float = 15.0
    grow_s: float = 0.0
    shrink_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be allocated."""
        if self.start_millicores < 1 or self.step_millicores < 1:
            raise RulesUnusable("start and step must be at least one millicore")
        for cost_s in (self.penalty_s, self.grow_s, self.shrink_s):
            if cost_s < 0 or not math.isfinite(cost_s):
                raise RulesUnusable(f"a reconfiguration cannot cost {cost_s} s: give 0 or more, and finite")

    def grants(self, members: int) -> int:
        """How many steps of CPU there are to give away after each member has its start.

        The last step may exceed the budget when the budget is no multiple of the step: so does the original.
        """
        free = self.total_millicores - self.start_millicores * members
        if free < 0:
            raise RulesUnusable(
                f"{members} members need {self.start_millicores * members} millicores to start,"
                f" the budget is {self.total_millicores}: raise the budget or lower the start"
            )
        return math.ceil(free / self.step_millicores)

    def ladder(self, members: int) -> NDArray[np.float64]:
        """Every amount of CPU that one member can get, in millicores; position = level."""
        return self.start_millicores + self.step_millicores * np.arange(
            self.grants(members) + 1, dtype=np.float64
        )

    def millicores(self, levels: Levels) -> NDArray[np.int64]:
        """CPU in millicores of members at these levels."""
        return self.start_millicores + self.step_millicores * levels

    def levels(self, millicores: NDArray[np.int64]) -> Levels:
        """Levels of members with so much CPU. Raises `RulesUnusable` for an amount between two levels."""
        levels, rest = np.divmod(
            np.asarray(millicores, dtype=np.int64) - self.start_millicores, self.step_millicores
        )
        if rest.any() or (levels < 0).any():
            raise RulesUnusable(
                f"{list(millicores)} millicores: each must be {self.start_millicores} and a multiple"
                f" of {self.step_millicores} more"
            )
        return levels

    def reconfiguration_s(self, before: Levels, after: Levels) -> float:
        """Seconds that the change from one configuration to another costs."""
        grows, shrinks = bool((after > before).any()), bool((after < before).any())
        return self.penalty_s + self.grow_s * grows + self.shrink_s * shrinks
