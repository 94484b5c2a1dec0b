"""Which gangs wait for cleaner power, and until when."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Final

import numpy as np

from extender.core.carbon.signal import Outlook, merged
from extender.core.carbon.start import suspend_resume, threshold
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.carbon.start.planned import PLANNED, PlannedStarts
from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.table import NodeTable
from extender.core.queue.packing import Packing
from extender.core.state import State

_MOST_REACHES: Final = 16_384


@dataclass(frozen=True, slots=True)
class Hold:
    """A gang is kept waiting. Nothing changes before `until_s`, unless the signal does.

    `expected_s` is when it starts if the forecast comes true and there is room. `latest_start_s` is the
    moment from which it is not held whatever the grid does. `zones` are numbers of the carbon zones that are
    clean enough for it: there it may start all the same, and nowhere else. `whole` are those of them that
    hold all of it when they are empty.
    """

    policy: HoldPolicy
    until_s: float
    expected_s: float
    latest_start_s: float
    zones: frozenset[int] = frozenset()
    whole: frozenset[int] = frozenset()
    text: str = ""

    def allows(self, table: NodeTable, packing: Packing) -> bool:
        """Whether the gang may start like this: with all workers (without any: its leader) in clean zones."""
        rows = packing.worker_rows if len(packing.worker_rows) else [packing.leader_row]
        return self.zones.issuperset(table.carbon_zone[rows].tolist())

    @property
    def detail(self) -> str:
        """What the user reads: the same until the gang is released."""
        if self.text:
            return f"carbon policy {self.policy.value} holds it; {self.text}"
        latest = datetime.fromtimestamp(self.latest_start_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"carbon policy {self.policy.value} holds it; it starts by {latest} at the latest"


@dataclass(frozen=True, slots=True)
class _Reach:
    """Numbers of the carbon zones a gang may run in (0: no zone), and of those that could hold it whole."""

    zones: frozenset[int]
    whole: frozenset[int]


class Holds:
    """Judges waiting pods by the present signal.

    What is clean enough is the same for all zones that could hold the gang whole: as clean as the best of
    them gets. A gang too wide for any single zone looks at the mean of all.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.planned = PlannedStarts(state)
        self._reaches: dict[str, tuple[GangSpec | None, _Reach]] = {}
        self._epoch = -1

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
        policy = flexibility.start_policy
        if policy is HoldPolicy.NONE or now >= latest_s:
            return None
        if policy in PLANNED:
            return self._planned_hold(leader, spec, flexibility, now)
        if policy is HoldPolicy.CAP:
            return self._budget_hold(spec, latest_s, now)
        reach = self._reach(leader, spec)
        outlooks = self._outlooks(reach.zones, now)
        if not outlooks:
            return None
        stale_s = min(self._state.carbon.stale_at(self._state.nodes.carbon_zones[zone]) for zone in outlooks)
        whole = [outlook for zone, outlook in outlooks.items() if zone in reach.whole]
        if not whole and reach.whole:
            return None  # the only zones that take it are unknown
        if not whole:
            everywhere = merged(list(outlooks.values()), fmean)
            start_s = everywhere.first_within(self._limit(policy, everywhere, flexibility, latest_s))
            if start_s is not None and start_s <= now:
                return None
            expected_s = min(latest_s, start_s or latest_s)
            return Hold(policy, min(expected_s, stale_s), expected_s, latest_s)
        limit = self._limit(policy, merged(whole, min), flexibility, latest_s)
        firsts = {zone: each.first_within(limit) for zone, each in outlooks.items()}
        starts = {zone: latest_s if first is None else first for zone, first in firsts.items()}
        clean = frozenset(zone for zone, start_s in starts.items() if start_s <= now)
        if clean.issuperset(reach.zones):
            return None
        # With the next step of a forecast a zone may be clean no more.
        changes = [each.start_s + each.step_s for each in outlooks.values()] if clean else starts.values()
        expected_s = min(latest_s, max(now, min(starts.values())))
        return Hold(
            policy, min(latest_s, stale_s, *changes), expected_s, latest_s, clean, clean & reach.whole
        )

    def free_until_s(self, leader: PodFacts, spec: GangSpec | SpecProblem, now: float) -> float:
        """Until when a gang that is not held is not held for sure: with the next step it may be."""
        flexibility = self.flexibility(leader, spec)
        policy = flexibility.start_policy
        if (
            policy in (HoldPolicy.NONE, HoldPolicy.CAP)
            or policy in PLANNED
            or now >= flexibility.latest_start_s(leader.created_s)
        ):
            return math.inf
        zones = [name for name in self._state.nodes.carbon_zones if name]
        outlooks = {name: self._state.carbon.outlook(name, now) for name in zones}
        return min(
            (
                min(outlook.start_s + outlook.step_s, self._state.carbon.stale_at(name))
                for name, outlook in outlooks.items()
                if outlook is not None
            ),
            default=math.inf,
        )

    def _planned_hold(
        self, leader: PodFacts, spec: GangSpec | None, flexibility: Flexibility, now: float
    ) -> Hold | None:
        """By the plan. Where there are several carbon zones, a gang starts in the one it is planned in."""
        verdict = None if spec is None else self.planned.verdict(leader, spec, flexibility, now)
        if verdict is None:
            return None
        policy, latest_s = flexibility.start_policy, flexibility.latest_start_s(leader.created_s)
        if verdict.at_s is not None:
            return Hold(policy, verdict.at_s, verdict.at_s, latest_s, text=verdict.text)
        return None

    def _limit(
        self, policy: HoldPolicy, outlook: Outlook, flexibility: Flexibility, latest_s: float
    ) -> float:
        """The intensity up to which it is clean enough, by what is ahead until the latest start."""
        if policy is HoldPolicy.SUSPEND_RESUME:
            runtime_s = flexibility.runtime_s or outlook.step_s
            return suspend_resume.limit(outlook, latest_s + runtime_s, runtime_s)
        return threshold.limit(outlook, latest_s, self._state.policy.carbon.threshold_percentile)

    def _reach(self, leader: PodFacts, spec: GangSpec | None) -> _Reach:
        """Where a gang may run, by its workers (without any, by its leader); kept until nodes change."""
        table = self._state.nodes
        if self._epoch != table.capacity_epoch or len(self._reaches) > _MOST_REACHES:
            self._epoch = table.capacity_epoch
            self._reaches.clear()
        known = self._reaches.get(leader.uid)
        if known is not None and known[0] is spec:
            return known[1]
        if spec is not None and spec.min_workers:
            terms, size, number = spec.worker_terms, spec.worker, spec.min_workers
        else:
            terms, size, number = leader.terms, leader.requests, 1
        rows = np.flatnonzero(table.eligible(terms))
        zones = table.carbon_zone[rows]
        room = np.minimum(room_for(table.capacity()[:, rows], table.vector(size)), ROOM_LIMIT)
        in_zone = np.bincount(zones, weights=room, minlength=1)
        whole = np.flatnonzero(in_zone >= number)
        reach = _Reach(frozenset(zones.tolist()), frozenset(whole.tolist()))
        self._reaches[leader.uid] = (spec, reach)
        return reach

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
        return Hold(HoldPolicy.CAP, latest_s, latest_s, latest_s)
