"""Puts the state in order after a step raised half-way: amounts follow from what is known of pods and slots.

A claim, a seat or a slot may have been changed without the others that belong to it. What cannot be kept is
given back, and the columns of the NodeTable are recounted, so that no other gang is planned on wrong amounts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extender.core.gangs.gang import NOWHERE, Admission
from extender.core.gangs.phases import restore

if TYPE_CHECKING:
    from extender.core.state import State


def repair(state: State, now: float) -> None:
    """Make claims, slots, phases and the amounts of all nodes agree again."""
    for uid in list(state.claims):
        _check_claim(state, uid)
    for gang in state.gangs.values():
        if gang.admission is not None:
            _check_slots(state, gang.admission)
        restore(gang, now)
    recount(state)


def _check_claim(state: State, uid: str) -> None:
    claim = state.claims[uid]
    gang, slot = state.gang_of(claim.pod), claim.slot
    stray = slot is not None and (gang is None or slot.pod_uid != uid or slot not in gang.slots)
    if stray or uid in state.seats or uid in state.ended:
        del state.claims[uid]


def _check_slots(state: State, admission: Admission) -> None:
    gang, leader, spec = admission.gang, admission.leader, admission.spec
    known = gang.leaders.get(leader.uid)
    placed = known is not None and (bool(known.node) or leader.uid in state.claims)
    if not placed or len(admission.slots) != spec.min_workers:
        for slot in admission.slots:
            state.claims.pop(slot.pod_uid, None)
        gang.admission = None
        state.claims.pop(leader.uid, None)
        state.todo.write.pop(gang.key, None)
        return
    for slot in admission.slots:
        if slot.pod_uid and slot.pod_uid not in state.claims:
            pod = gang.workers.get(slot.pod_uid)
            if pod is not None and state.counts(gang, pod):
                slot.reserved = None
                continue
            slot.pod_uid = ""
        if slot.row == NOWHERE:
            slot.reserved = None
        elif slot.reserved is None:
            slot.reserved = state.nodes.accountable(spec.worker)


def recount(state: State) -> None:
    """Count the columns of the NodeTable again from seats, claims and slots."""
    table = state.nodes
    used, reserved, daemons = (np.zeros_like(table.used) for _ in range(3))
    for seat in state.seats.values():
        used[:, seat.row] += table.widened(seat.used)
        if seat.daemon:
            daemons[:, seat.row] += table.widened(seat.used)
    for claim in state.claims.values():
        if claim.slot is None and claim.reserved is not None:
            reserved[:, claim.row] += table.widened(claim.reserved)
    for gang in state.gangs.values():
        for slot in gang.slots:
            if slot.reserved is not None:
                reserved[:, slot.row] += table.widened(slot.reserved)
    table.replace_accounts(used, reserved, daemons)
