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

    `penalty_s` is what one reconfiguration costs: the original deletes all pods and creates them again.
    """

    start_millicores: int = 1000
    step_millicores: int = 100
    total_millicores: int = 24000
    penalty_s: float = 15.0

    def __post_init__(self) -> None:
        """Refuse what cannot be allocated."""
        if self.start_millicores < 1 or self.step_millicores < 1:
            raise RulesUnusable("start and step must be at least one millicore")
        if self.penalty_s < 0 or not math.isfinite(self.penalty_s):
            raise RulesUnusable(f"penalty {self.penalty_s} s: must be a finite number of seconds, 0 or more")

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
