"""Work ahead: how many cores are expected to be busy in each carbon zone, step by step.

Running gangs count until their expected end, waiting ones from their expected start for their expected run
time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from extender.core.carbon.plan.horizon import SLOT_S, Floats
from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.gang import NOWHERE, Admission
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.resources import CPU
from extender.core.queries import QueueEntry
from extender.core.store import Store


@dataclass(frozen=True, slots=True)
class WorkAhead:
    """Cores by step of `step_s` seconds from `first_s` on, by carbon zone ("" where none is known)."""

    first_s: float
    step_s: float
    cores: Mapping[str, tuple[float, ...]]


def work_ahead(store: Store, queue: list[QueueEntry], now: float, hours: int = 48) -> WorkAhead:
    """Expected work of all admitted gangs, and of those in `queue` whose start is known."""
    slots = math.ceil(hours * 3600 / SLOT_S)
    first_s = math.floor(now / SLOT_S) * SLOT_S
    cores: dict[str, Floats] = {}

    def add(zone: str, amount: float, from_s: float, until_s: float) -> None:
        row = cores.setdefault(zone, np.zeros(slots))
        start = max(0, math.floor((from_s - first_s) / SLOT_S))
        end = min(slots, math.ceil((min(until_s, first_s + hours * 3600) - first_s) / SLOT_S))
        row[start:end] += amount

    planned = store.entitlements.planned
    for admission in store.state.admissions():
        until_s = planned.end_of(admission, now).at_s
        for zone, amount in _running(store, admission).items():
            add(zone, amount, now, until_s)
    for entry in queue:
        found = None if entry.expected_s is None else _waiting(store, entry)
        if found is None or entry.expected_s is None:
            continue
        leader, spec = found
        amount = (leader.requests.get(CPU, 0) + spec.min_workers * spec.worker.get(CPU, 0)) / 1000
        until_s = entry.expected_s + planned.estimate(leader, spec).seconds
        add(_zone(store, leader, spec), amount, entry.expected_s, until_s)
    return WorkAhead(
        first_s, SLOT_S, {zone: tuple(np.round(row, 2).tolist()) for zone, row in sorted(cores.items())}
    )


def _running(store: Store, admission: Admission) -> dict[str, float]:
    """Cores that the pods of a gang request, and that are reserved for it, by carbon zone of the nodes."""
    table, found = store.state.nodes, dict[str, float]()
    pods = (*admission.gang.leaders.values(), *admission.gang.workers.values())
    taken = [(table.carbon_zone_of(pod.node), pod.requests) for pod in pods if pod.occupies]
    rows = (slot.row for slot in admission.slots if slot.reserved is not None and slot.row != NOWHERE)
    taken += [(table.carbon_zones[int(table.carbon_zone[row])], admission.spec.worker) for row in rows]
    for zone, requests in taken:
        found[zone] = found.get(zone, 0.0) + requests.get(CPU, 0) / 1000
    return found


def _waiting(store: Store, entry: QueueEntry) -> tuple[PodFacts, GangSpec] | None:
    gang = store.state.gangs.get(GangKey(entry.namespace, entry.app_id))
    for leader in gang.leaders.values() if gang is not None else ():
        spec = gang.specs.get(leader.uid) if gang is not None else None
        if leader.name == entry.leader and isinstance(spec, GangSpec):
            return leader, spec
    return None


def _zone(store: Store, leader: PodFacts, spec: GangSpec) -> str:
    """The only carbon zone that the workers may use, or ""."""
    table = store.state.nodes
    rows = np.flatnonzero(table.eligible(spec.worker_terms if spec.min_workers else leader.terms))
    zones: list[int] = np.unique(table.carbon_zone[rows]).tolist()
    return table.carbon_zones[zones[0]] if len(zones) == 1 else ""
