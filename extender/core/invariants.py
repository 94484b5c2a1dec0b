"""What must always hold, checked against the accounts: used by every simulated step and property test.

The design's numbering: 1 no node over-committed, 2 leader only with all its workers' room, 3 one pod one
slot, 6 no hold outlives its leader.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from extender.core.gangs.gang import NOWHERE, Gang
from extender.core.gangs.phases import phase_of
from extender.core.nodes.arrays import IntArray
from extender.core.state import State


def violations(state: State) -> list[str]:
    """Every broken invariant in words; empty when all hold."""
    out = _accounts(state)
    out += [f"node {name} is over-committed" for name in state.nodes.overcommitted()]
    seen: Counter[str] = Counter()
    for gang in state.gangs.values():
        out += _gang(state, gang)
        seen.update(slot.pod_uid for slot in gang.slots if slot.pod_uid)
    out += [f"pod {uid} has {number} slots" for uid, number in seen.items() if number > 1]
    for uid, claim in state.claims.items():
        if uid in state.ended:
            out.append(f"pod {uid} is gone and still holds a claim")
        if claim.slot is not None and claim.slot.pod_uid != uid:
            out.append(f"the claim of {uid} names a slot of {claim.slot.pod_uid or 'nobody'}")
    return out


def _gang(state: State, gang: Gang) -> list[str]:
    out: list[str] = []
    if gang.phase is not phase_of(gang):
        out.append(f"gang {gang.key} is in phase {gang.phase}, its members say {phase_of(gang)}")
    admission = gang.admission
    if admission is None:
        return out
    owner = admission.leader
    if gang.leaders.get(owner.uid) is not owner:
        out.append(f"gang {gang.key} has slots without a leader")
    if owner.finished or owner.deleting:
        out.append(f"gang {gang.key} is reserved for a leader that has ended")
    if len(admission.slots) != admission.spec.min_workers:
        out.append(f"gang {gang.key} has {len(gang.slots)} slots, not its minimum")
    if not owner.node and owner.uid not in state.claims:
        out.append(f"gang {gang.key} is reserved for a leader without a place")
    for slot in gang.slots:
        if slot.pod_uid and slot.pod_uid not in state.claims:
            pod = gang.workers.get(slot.pod_uid)
            if pod is None or not state.counts(gang, pod):
                out.append(f"a slot of {gang.key} is kept for {slot.pod_uid}, which does not run")
            elif slot.reserved is not None:
                out.append(f"a slot of {gang.key} holds room for {slot.pod_uid}, which is bound")
        elif slot.reserved is None and slot.row != NOWHERE:
            out.append(f"an open slot of {gang.key} holds nothing")
    seated = {slot.pod_uid for slot in gang.slots}
    if any(slot.open for slot in gang.slots) and any(
        state.counts(gang, pod) and pod.uid not in seated for pod in gang.workers.values()
    ):
        out.append(f"gang {gang.key} holds a slot open while a worker of it has none")
    return out


def _accounts(state: State) -> list[str]:
    """The NodeTable against a recount from seats, claims and slots."""
    table = state.nodes
    used, reserved = np.zeros_like(table.used), np.zeros_like(table.reserved)
    for seat in state.seats.values():
        used[:, seat.row] += table.widened(seat.used)
    for claim in state.claims.values():
        if claim.slot is None and claim.reserved is not None:
            reserved[:, claim.row] += table.widened(claim.reserved)
    for gang in state.gangs.values():
        for slot in gang.slots:
            if slot.reserved is not None:
                reserved[:, slot.row] += table.widened(slot.reserved)
    out: list[str] = []
    checks: tuple[tuple[str, IntArray, IntArray], ...] = (
        ("used", used, table.used),
        ("reserved", reserved, table.reserved),
        ("free", table.allocatable - used - reserved, table.free),
    )
    for name, counted, kept in checks:
        wrong = np.flatnonzero((counted != kept).any(axis=0))
        out += [
            f"{name} of node {table.names[row]} is {kept[:, row]}, counted {counted[:, row]}" for row in wrong
        ]
    return out


def snapshot(state: State) -> dict[str, Any]:
    """The state by names, without claims: what a process rebuilt from the API must have too (invariant 5)."""
    table = state.nodes
    nodes = {
        name: (
            dict(zip(table.columns, table.used[:, row].tolist(), strict=True)),
            dict(zip(table.columns, table.reserved[:, row].tolist(), strict=True)),
        )
        for name, row in table.row_of.items()
        if table.alive(row)
    }
    gangs = {
        str(gang.key): (
            gang.leader.uid,
            gang.spec.min_workers,
            gang.spec.max_workers,
            dict(gang.spec.worker),
            sorted("" if slot.row == NOWHERE else table.names[slot.row] for slot in gang.slots),
            sorted(slot.pod_uid for slot in gang.slots),
        )
        for gang in state.admissions()
    }
    return {"nodes": nodes, "gangs": gangs}
