"""Start when the carbon-aware budget of executors (CAP) has room for the whole gang."""

from __future__ import annotations

import math

from extender.core.carbon.start.flexibility import HoldPolicy
from extender.core.carbon.start.hold import Asks, Hold, Start
from extender.core.state import State


class WithinBudget:
    """Holds a gang while its minimum executors would exceed the budget. No budget: nothing is held."""

    by_load = True

    def __init__(self, state: State) -> None:
        self._state = state

    def start(self, asks: Asks, now: float) -> Start:
        """When this gang may start: budget and running executors change with events, not with time."""
        budget = self._state.budget
        wanted = asks.spec.min_workers if asks.spec is not None else 0
        if budget is None or not wanted:
            return Start(None, math.inf)
        running = self._state.workers_promised()
        # The progress guarantee: with nothing running the first gang starts, however large it is.
        if not running or running + wanted <= budget:
            return Start(None, math.inf)
        latest_s = asks.latest_start_s
        return Start(Hold(HoldPolicy.CAP, latest_s, latest_s, latest_s), latest_s)
