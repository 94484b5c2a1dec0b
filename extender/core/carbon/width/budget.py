"""The carbon-aware budget of executors (CAP), and how it meets workers above their gang's minimum."""

from __future__ import annotations

import math

import numpy as np

from extender.core.carbon.signal import mean_intensity
from extender.core.carbon.start.flexibility import Flexibility
from extender.core.carbon.width import cap
from extender.core.carbon.width.limit import Limit
from extender.core.gangs.gang import Admission
from extender.core.outcomes import Outcome
from extender.core.state import State


class Budget:
    """Keeps `state.budget` up to date.

    Several carbon zones count by the cpu of their nodes; nodes without a zone do not count. While the
    intensity of a zone is unknown there is no limit: unknown is neutral.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def refresh(self, now: float) -> int | None:
        """Executors allowed now; None while there is no limit. Small changes are not made (hysteresis)."""
        policy = self._state.policy.carbon.cap
        if not policy.enabled:
            return None
        wanted = self._quota(now)
        present = self._state.budget
        if wanted is None or present is None:
            self._state.budget = wanted
        elif wanted != present:
            maximum = self._maximum()
            if abs(wanted - present) >= policy.hysteresis * maximum or wanted in (
                policy.min_executors,
                maximum,
            ):
                self._state.budget = wanted
        if self._state.budget != present:
            self._state.carbon.version += 1  # gangs held by the budget are judged again
        return self._state.budget

    def left(self) -> int:
        """Executors that may be added now; many when there is no limit."""
        limit = self._state.budget
        return 1 << 30 if limit is None else max(0, limit - self._state.workers_promised())

    def limit(self, admission: Admission, flexibility: Flexibility, now: float) -> Limit | None:
        """As many more workers as the budget leaves to all gangs together."""
        if self._state.budget is None:
            return None
        workers = self._state.workers_counted(admission.gang) + self.left()
        return Limit(workers, Outcome.OVER_CARBON_BUDGET, math.inf, shared=True)

    def _maximum(self) -> int:
        policy = self._state.policy.carbon.cap
        if policy.max_executors is not None:
            return policy.max_executors
        table = self._state.nodes
        return int((table.allocatable[0] // policy.executor_cpu_milli).sum())

    def _quota(self, now: float) -> int | None:
        state, table, policy = self._state, self._state.nodes, self._state.policy.carbon.cap
        alive = table.class_of >= 0
        cpu = np.bincount(
            table.carbon_zone[alive], weights=table.allocatable[0][alive], minlength=len(table.carbon_zones)
        )
        weights = {name: float(cpu[number]) for number, name in enumerate(table.carbon_zones) if name}
        outlooks = {name: state.carbon.outlook(name, now) for name in weights}
        now_g = mean_intensity({z: o.now if o else None for z, o in outlooks.items()}, weights)
        lower = mean_intensity({z: o.lower if o else None for z, o in outlooks.items()}, weights)
        upper = mean_intensity({z: o.upper if o else None for z, o in outlooks.items()}, weights)
        if now_g is None or lower is None or upper is None:
            return None
        return cap.quota(now_g, lower, upper, policy.min_executors, self._maximum(), exact=policy.exact)
