"""A suspend-resume gang does not grow in the steps of the forecast that it can do without."""

from __future__ import annotations

import math

from extender.core.carbon.start import suspend_resume
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.carbon.width.limit import Limit
from extender.core.gangs.gang import Admission
from extender.core.outcomes import Outcome
from extender.core.state import State


class ChosenSteps:
    """Lets no worker above the minimum in while the present step is not a chosen one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def limit(self, admission: Admission, flexibility: Flexibility, now: float) -> Limit | None:
        """As many workers as it has, until the next step."""
        owner = admission.leader
        if flexibility.policy is not HoldPolicy.SUSPEND_RESUME:
            return None
        latest_s, runtime_s = flexibility.latest_start_s(owner.created_s), flexibility.runtime_s
        if runtime_s is None or latest_s == -math.inf:
            return None
        zone = self._state.nodes.carbon_zone_of(owner.node)
        outlook = self._state.carbon.outlook(zone, now) if zone else None
        if outlook is None or suspend_resume.runs_now(outlook, latest_s + runtime_s, runtime_s):
            return None
        until_s = min(outlook.start_s + outlook.step_s, self._state.carbon.stale_at(zone))
        return Limit(self._state.workers_counted(admission.gang), Outcome.OVER_CARBON_BUDGET, until_s)
