"""Start where and when the grid is clean enough: what threshold and suspend-resume have in common.

What is clean enough is the same for all zones that could hold the gang whole: as clean as the best of them
gets. A gang too wide for any single zone looks at the mean of all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from extender.core.carbon.signal import Outlook, merged
from extender.core.carbon.start.flexibility import HoldPolicy
from extender.core.carbon.start.hold import Asks, Hold, Start
from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.state import State

_MOST_REACHES: Final = 16_384

Limit = Callable[[Outlook, Asks], float]
"""The intensity (unit of the outlook) that is clean enough, from what is ahead until its latest start."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """Numbers of the carbon zones a gang may run in (0: no zone), and of those that could hold it whole."""

    zones: frozenset[int]
    whole: frozenset[int]


class ByIntensity:
    """Holds a gang until a zone that it may run in is no dirtier than `limit` says."""

    by_load = False

    def __init__(self, state: State, policy: HoldPolicy, limit: Limit) -> None:
        self._state = state
        self._policy = policy
        self._limit = limit
        self._reaches: dict[str, tuple[GangSpec | None, _Reach]] = {}
        self._epoch = -1

    def start(self, asks: Asks, now: float) -> Start:
        """When this gang may start; zones of unknown intensity do not count."""
        hold = self._hold(asks, now)
        return Start(hold, self._free_until_s(now) if hold is None else hold.until_s)

    def _hold(self, asks: Asks, now: float) -> Hold | None:
        policy, latest_s = self._policy, asks.latest_start_s
        reach = self._reach(asks.leader, asks.spec)
        outlooks = self._outlooks(reach.zones, now)
        if not outlooks:
            return None
        stale_s = min(self._state.carbon.stale_at(self._state.nodes.carbon_zones[zone]) for zone in outlooks)
        whole = [outlook for zone, outlook in outlooks.items() if zone in reach.whole]
        if not whole and reach.whole:
            return None  # the only zones that take it are unknown
        if not whole:
            everywhere = merged(list(outlooks.values()), fmean)
            start_s = everywhere.first_within(self._limit(everywhere, asks))
            if start_s is not None and start_s <= now:
                return None
            expected_s = min(latest_s, start_s or latest_s)
            return Hold(policy, min(expected_s, stale_s), expected_s, latest_s)
        limit = self._limit(merged(whole, min), asks)
        firsts = {zone: each.first_within(limit) for zone, each in outlooks.items()}
        starts = {zone: latest_s if first is None else first for zone, first in firsts.items()}
        clean = frozenset(zone for zone, start_s in starts.items() if start_s <= now)
        if clean.issuperset(reach.zones):
            return None
        # With the next step of a forecast a zone may be clean no more.
        changes = [each.start_s + each.step_s for each in outlooks.values()] if clean else starts.values()
        expected_s = min(latest_s, max(now, min(starts.values())))
        until_s = min(latest_s, stale_s, *changes)
        return Hold(policy, until_s, expected_s, latest_s, clean, clean & reach.whole)

    def _free_until_s(self, now: float) -> float:
        """Until when a gang that is not held is not held for sure: with the next step it may be."""
        carbon = self._state.carbon
        zones = [name for name in self._state.nodes.carbon_zones if name]
        outlooks = {name: carbon.outlook(name, now) for name in zones}
        return min(
            (
                min(outlook.start_s + outlook.step_s, carbon.stale_at(name))
                for name, outlook in outlooks.items()
                if outlook is not None
            ),
            default=math.inf,
        )

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
