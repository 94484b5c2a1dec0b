"""How long a gang may wait for clean power."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class HoldPolicy(StrEnum):
    """When a flexible gang starts.

    plan            at the start of least expected carbon at which there is room, by one plan for all
    best-start      at the start of least expected carbon, whatever else waits
    none            at once
    threshold       as soon as the intensity is in the cleanest part (a percentile) of what is forecast
    suspend-resume  in the cleanest steps that suffice for its estimated run time before its deadline
    cap             when the cluster's carbon-aware budget of executors has room for it
    """

    PLAN = "plan"
    BEST_START = "best-start"
    NONE = "none"
    THRESHOLD = "threshold"
    SUSPEND_RESUME = "suspend-resume"
    CAP = "cap"


@dataclass(frozen=True, slots=True)
class Flexibility:
    """What an application allows. `deadline_s` is seconds since the epoch, the others are durations.

    Without `deadline_s` and `max_delay_s` nothing is allowed: the gang is never held.
    """

    policy: HoldPolicy | None = None
    deadline_s: float | None = None
    max_delay_s: float | None = None
    runtime_s: float | None = None

    @property
    def start_policy(self) -> HoldPolicy:
        """The policy that decides on its start: the plan, unless another one is named."""
        return self.policy or HoldPolicy.PLAN

    def or_else(self, default: Flexibility) -> Flexibility:
        """These values, those of `default` where there are none.

        A deadline or a maximum delay of its own replaces both of the default.
        """
        own = self.deadline_s is not None or self.max_delay_s is not None
        return Flexibility(
            self.policy or default.policy,
            self.deadline_s if own else default.deadline_s,
            self.max_delay_s if own else default.max_delay_s,
            default.runtime_s if self.runtime_s is None else self.runtime_s,
        )

    def latest_start_s(self, created_s: float) -> float:
        """The moment from which the gang is not held any more, in seconds since the epoch.

        The smaller of deadline minus estimated run time, and creation plus maximum delay; minus infinity
        when nothing is allowed. A deadline without an estimate allows nothing: any wait might miss it.
        """
        bounds: list[float] = []
        if self.deadline_s is not None:
            bounds.append(-math.inf if self.runtime_s is None else self.deadline_s - self.runtime_s)
        if self.max_delay_s is not None:
            bounds.append(created_s + self.max_delay_s)
        return min(bounds) if bounds else -math.inf


INFLEXIBLE: Final = Flexibility()
