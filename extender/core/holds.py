"""Which gangs wait for cleaner power, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from extender.core.carbon import Outlook
from extender.core.facts import PodFacts
from extender.core.gangs import GangSpec, SpecProblem
from extender.core.provisioning import suspend_resume, threshold
from extender.core.provisioning.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.state import State


@dataclass(frozen=True, slots=True)
class Hold:
    """A gang is kept waiting. Nothing changes before `until_s`, unless the signal does.

    `latest_start_s` is the moment from which it is not held whatever the grid does.
    """

    policy: HoldPolicy
    until_s: float
    latest_start_s: float

    @property
    def detail(self) -> str:
        """What the user reads: the same until the gang is released."""
        latest = datetime.fromtimestamp(self.latest_start_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"carbon policy {self.policy.value} holds it; it starts by {latest} at the latest"


class Holds:
    """Judges waiting pods by the present signal."""

    def __init__(self, state: State) -> None:
        self._state = state

    def flexibility(self, leader: PodFacts, spec: GangSpec | SpecProblem | None) -> Flexibility:
        """What applies to a gang, defaults included."""
        own = spec.flexibility if isinstance(spec, GangSpec) else INFLEXIBLE
        return self._state.policy.carbon.flexibility(leader.namespace, own)

    def hold(self, leader: PodFacts, spec: GangSpec | SpecProblem | None, now: float) -> Hold | None:
        """The hold a gang is under now, or None when it may start. Unknown carbon never holds."""
        if isinstance(spec, SpecProblem):
            return None
        flexibility = self.flexibility(leader, spec)
        latest_s = flexibility.latest_start_s(leader.created_s)
        policy = flexibility.policy or HoldPolicy.NONE
        if policy is HoldPolicy.NONE or now >= latest_s:
            return None
        if policy is HoldPolicy.CAP:
            return self._budget_hold(spec, latest_s, now)
        starts = [
            (self._start_s(policy, outlook, flexibility, latest_s), stale_at_s)
            for outlook, stale_at_s in self._outlooks(leader, now)
        ]
        if not starts or min(start for start, _ in starts) <= now:
            return None
        until_s = min(min(starts, key=lambda each: each[0])[0], latest_s, *(stale for _, stale in starts))
        return Hold(policy, until_s, latest_s)

    def _start_s(
        self, policy: HoldPolicy, outlook: Outlook, flexibility: Flexibility, latest_s: float
    ) -> float:
        runtime_s = flexibility.runtime_s or outlook.step_s
        if policy is HoldPolicy.SUSPEND_RESUME:
            return suspend_resume.start_s(outlook, latest_s, latest_s + runtime_s, runtime_s)
        return threshold.start_s(outlook, latest_s, self._state.policy.carbon.threshold_percentile)

    def _outlooks(self, leader: PodFacts, now: float) -> list[tuple[Outlook, float]]:
        """Outlook of each carbon zone the leader may run in, with the moment it gets stale."""
        state, table = self._state, self._state.nodes
        zones: list[int] = np.unique(table.carbon_zone[table.eligible(leader.terms)]).tolist()
        names = [table.carbon_zones[zone] for zone in zones if zone]
        known = ((state.carbon.outlook(name, now), state.carbon.stale_at(name)) for name in names)
        return [(outlook, stale_at_s) for outlook, stale_at_s in known if outlook is not None]

    def _budget_hold(self, spec: GangSpec | None, latest_s: float, now: float) -> Hold | None:
        budget = self._state.budget
        wanted = spec.min_workers if spec is not None else 0
        if budget is None or not wanted:
            return None
        running = self._state.workers_promised()
        # The progress guarantee: with nothing running the first gang starts, however large it is.
        if not running or running + wanted <= budget:
            return None
        return Hold(HoldPolicy.CAP, latest_s, latest_s)
