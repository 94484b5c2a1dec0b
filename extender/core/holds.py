"""Which gangs wait for cleaner power, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from extender.core.carbon import Outlook
from extender.core.facts import PodFacts
from extender.core.gangs import GangSpec, SpecProblem
from extender.core.nodes import NodeTable
from extender.core.packing import Packing
from extender.core.provisioning import suspend_resume, threshold
from extender.core.provisioning.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.state import State


@dataclass(frozen=True, slots=True)
class Hold:
    """A gang is kept waiting. Nothing changes before `until_s`, unless the signal does.

    `latest_start_s` is the moment from which it is not held whatever the grid does. `zones` are numbers of
    the carbon zones that are clean enough for it: there it may start all the same, and nowhere else.
    """

    policy: HoldPolicy
    until_s: float
    latest_start_s: float
    zones: frozenset[int] = frozenset()

    def allows(self, table: NodeTable, packing: Packing) -> bool:
        """Whether the gang may start like this: with all workers (without any: its leader) in clean zones."""
        rows = packing.worker_rows if len(packing.worker_rows) else [packing.leader_row]
        return self.zones.issuperset(table.carbon_zone[rows].tolist())

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
        """The hold a gang is under now, or None when it may start somewhere. Unknown carbon never holds."""
        hold = self.judge(leader, spec, now)
        return None if hold is None or hold.zones else hold

    def judge(self, leader: PodFacts, spec: GangSpec | SpecProblem | None, now: float) -> Hold | None:
        """As `hold`, and also the hold of a gang that may start in some carbon zones only. None: anywhere."""
        if isinstance(spec, SpecProblem):
            return None
        flexibility = self.flexibility(leader, spec)
        latest_s = flexibility.latest_start_s(leader.created_s)
        policy = flexibility.policy or HoldPolicy.NONE
        if policy is HoldPolicy.NONE or now >= latest_s:
            return None
        if policy is HoldPolicy.CAP:
            return self._budget_hold(spec, latest_s, now)
        zones = self._zones(leader, spec)
        outlooks = self._outlooks(zones, now)
        if not outlooks:
            return None
        starts = {zone: self._start_s(policy, each, flexibility, latest_s) for zone, each in outlooks.items()}
        clean = frozenset(zone for zone, start_s in starts.items() if start_s <= now)
        if clean.issuperset(zones):
            return None
        # With the next step of a forecast a zone may be clean no more.
        changes = [each.start_s + each.step_s for each in outlooks.values()] if clean else starts.values()
        stale = [self._state.carbon.stale_at(self._state.nodes.carbon_zones[zone]) for zone in outlooks]
        return Hold(policy, min(latest_s, *changes, *stale), latest_s, clean)

    def _start_s(
        self, policy: HoldPolicy, outlook: Outlook, flexibility: Flexibility, latest_s: float
    ) -> float:
        runtime_s = flexibility.runtime_s or outlook.step_s
        if policy is HoldPolicy.SUSPEND_RESUME:
            return suspend_resume.start_s(outlook, latest_s, latest_s + runtime_s, runtime_s)
        return threshold.start_s(outlook, latest_s, self._state.policy.carbon.threshold_percentile)

    def _zones(self, leader: PodFacts, spec: GangSpec | None) -> list[int]:
        """Carbon zones a gang may run in (0: none known): its workers', else its leader's."""
        table = self._state.nodes
        terms = spec.worker_terms if spec is not None and spec.min_workers else leader.terms
        zones: list[int] = np.unique(table.carbon_zone[table.eligible(terms)]).tolist()
        return zones

    def _outlooks(self, zones: Iterable[int], now: float) -> dict[int, Outlook]:
        """Outlook of each of these zones, as far as it is known."""
        names = self._state.nodes.carbon_zones
        outlooks = {zone: self._state.carbon.outlook(names[zone], now) for zone in zones if zone}
        return {zone: outlook for zone, outlook in outlooks.items() if outlook is not None}

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
