"""Start by the kept plan: when the plan of the whole cluster, or of the grid alone, says so."""

from __future__ import annotations

import math

from extender.core.carbon.start.hold import Asks, Hold, Start
from extender.core.carbon.start.planned import PlannedStarts


class ByPlan:
    """Reads the plan; a plan that changes something for a gang changes `carbon.version` as well."""

    by_load = False

    def __init__(self, planned: PlannedStarts) -> None:
        self._planned = planned

    def start(self, asks: Asks, now: float) -> Start:
        """When this gang may start by the plan; a gang whose request is not known is not held."""
        if asks.spec is None:
            return Start(None, math.inf)
        verdict = self._planned.verdict(asks.leader, asks.spec, asks.flexibility, now)
        if verdict is None or verdict.at_s is None:
            return Start(None, math.inf)
        policy, latest_s = asks.flexibility.start_policy, asks.latest_start_s
        return Start(Hold(policy, verdict.at_s, verdict.at_s, latest_s, text=verdict.text), verdict.at_s)
