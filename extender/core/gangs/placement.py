"""Chooses the node of one pod: a worker of a gang, with or without a slot, or a pod outside gangs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from extender.core.decisions import FilterDecision
from extender.core.facts import PodFacts
from extender.core.gangs.gang import NOWHERE, Admission, Gang, Slot
from extender.core.gangs.membership import Bond
from extender.core.gangs.phases import Phase
from extender.core.nodes.arrays import IntArray
from extender.core.nodes.resources import largest
from extender.core.offers import Offered
from extender.core.outcomes import Outcome, no_node_offers
from extender.core.queue.free_room import FreeRoom
from extender.core.queue.packing import SINGLE_ZONE
from extender.core.queue.queue_pass import pool_of
from extender.core.queue.workspace import preferred
from extender.core.state import State

_FIRST_CHOICES: Final = 4
"""Nodes looked for one by one in the request, before all of its names are looked up."""
_LEAST_FRAGMENTING: Final = frozenset({"minimal-fragmentation", "single-az-minimal-fragmentation"})


def place_single(
    state: State, free_room: FreeRoom, pod: PodFacts, offered: Offered, now: float
) -> FilterDecision:
    """A pod outside any gang: the first node in order with free, unreserved room."""
    refusal = free_room.single(pod, now)
    if refusal is not None:
        return refusal
    row = choose_row(state, None, pod, offered)
    if row is None:
        return _no_room(state, pod, "no offered node has free, unreserved room for this pod")
    state.claim_room(pod, row, now + state.policy.hold_ttl_s)
    return FilterDecision(Outcome.SINGLE_PLACED, state.nodes.names[row])


def place_worker(
    state: State, free_room: FreeRoom, pod: PodFacts, offered: Offered, now: float
) -> FilterDecision:
    """A gang's worker: an open slot where it is, an open slot moved, or free room above the minimum.

    Only elastic workers may be refused for what others need: the minimum was admitted with the leader.
    """
    gang = state.gang_of(pod)
    # 1. A worker that no gang binds is placed by itself; one of a run that is over is refused.
    tie = state.bond(pod)
    if tie is Bond.ALONE:
        return place_single(state, free_room, pod, offered, now)
    if tie is Bond.LEFT_OVER:
        return _left_over(gang, pod)
    # 2. Its gang must be admitted.
    if gang is None or gang.admission is None:
        return _not_admitted(gang)
    admission = gang.admission
    expires_s = now + state.policy.hold_ttl_s
    # 3. It takes an open slot of an offered node.
    slot = _open_slot(state, admission, pod, offered)
    if slot is not None:
        state.claim_slot(admission, pod, slot, slot.row, expires_s)
        return FilterDecision(Outcome.SLOT_TAKEN, state.nodes.names[slot.row])
    # 4. An open slot elsewhere moves to it. The last slots first: packers fill from the front, so the last
    #    ones are the least packed.
    slot = next((slot for slot in reversed(admission.slots) if slot.open), None)
    if slot is None:
        return _place_elastic(state, free_room, admission, pod, offered, now)
    row = choose_row(state, admission, pod, offered)
    if row is None:
        return _no_room(
            state,
            pod,
            "the node of the slot reserved for this worker is not offered, and no other has room",
        )
    state.claim_slot(admission, pod, slot, row, expires_s)
    return FilterDecision(Outcome.SLOT_MOVED, state.nodes.names[row])


def _place_elastic(
    state: State, free_room: FreeRoom, admission: Admission, pod: PodFacts, offered: Offered, now: float
) -> FilterDecision:
    """A worker above its gang's minimum: free room, unless gangs before it or the grid need that."""
    most = admission.spec.max_workers
    if state.workers_counted(admission.gang, pod.profile) >= most:
        of_profile = f" of resource profile {pod.profile}" if pod.odd_size else ""
        return FilterDecision(
            Outcome.GANG_FULL,
            detail=f"the gang already has its maximum of {most} workers{of_profile}",
        )
    refusal = free_room.above_minimum(admission, pod, now)
    if refusal is not None:
        return refusal
    row = choose_row(state, admission, pod, offered)
    if row is None:
        detail = "this worker is above the gang's minimum and no offered node has free, unreserved room"
        return _no_room(state, pod, detail)
    state.claim_room(pod, row, now + state.policy.hold_ttl_s)
    return FilterDecision(Outcome.EXTRA_ADMITTED, state.nodes.names[row])


def _no_room(state: State, pod: PodFacts, detail: str) -> FilterDecision:
    """A refusal for want of room; a resource that no node offers is named instead."""
    missing = state.nodes.not_offered(pod.requests)
    return FilterDecision(Outcome.NO_ROOM, detail=no_node_offers(missing) if missing else detail)


def _left_over(gang: Gang | None, pod: PodFacts) -> FilterDecision:
    owner = pod.owner_ref
    text = "its owner" if owner is None else f"{owner.kind} {owner.name} (uid {owner.uid}), which owns it,"
    known = gang is not None and (gang.leaders or gang.leader_ended)
    outcome = Outcome.LEADER_ENDED if known else Outcome.GANG_UNKNOWN
    return FilterDecision(outcome, detail=f"{text} is not there; nothing is started for a run that is over")


def _not_admitted(gang: Gang | None) -> FilterDecision:
    """Why a worker's gang has no room: its leader waits, runs without a reservation, ended or is unknown."""
    if gang is None or not gang.leaders:
        ended = gang is not None and gang.leader_ended
        return FilterDecision(Outcome.LEADER_ENDED if ended else Outcome.GANG_UNKNOWN)
    if gang.phase in (Phase.WAITING, Phase.HELD):
        return FilterDecision(Outcome.GANG_NOT_ADMITTED)
    if gang.phase is Phase.UNRESERVED:
        return FilterDecision(
            Outcome.WAITING_FOR_CONFIGURATION,
            detail="the driver runs without a reservation, and what its application asks for is not known",
        )
    return FilterDecision(Outcome.LEADER_ENDED)


def _open_slot(state: State, admission: Admission, pod: PodFacts, offered: Offered) -> Slot | None:
    """The first open slot on an offered node that can hold the pod at its real size."""
    size = state.nodes.vector(pod.requests)
    taken = state.nominations.taken(pod)
    for slot in admission.slots:
        if not slot.open or slot.row == NOWHERE:
            continue
        if slot.row in taken and slot.reserved is not None:
            left = state.nodes.free[:, slot.row] + state.nodes.widened(slot.reserved) - taken[slot.row]
            if (state.nodes.widened(size) > left).any():
                continue  # the room is made for a pod that comes before this one
        if slot.reserved is not None and slot.reserved is not size:
            more = state.nodes.widened(size) - state.nodes.widened(slot.reserved)
            if (more > np.maximum(state.nodes.free[:, slot.row], 0)).any():
                continue
        if offered.has(slot.row):
            return slot
    return None


def choose_row(
    state: State, admission: Admission | None, pod: PodFacts, offered: Offered | None
) -> int | None:
    """The best row with free, unreserved room for a pod among those offered (None: all eligible).

    Order: the packer's node order. The least-fragmenting packers prefer nodes the application is on
    already, then the smallest room (Palantir's rule for rescheduled executors).
    """
    table, policy = state.nodes, state.policy
    room, total = table.rooms(table.vector(pod.requests), pod.terms)
    if not total:
        return None
    rows = preferred(table, pod.terms, policy.worker_label_priority)
    rows = rows[room[rows] > 0]
    for row, promised in state.nominations.taken(pod).items():
        if (table.widened(table.vector(pod.requests)) > table.free[:, row] - promised).any():
            rows = rows[rows != row]
    packer = _packer(state, admission)
    if admission is not None:
        own = rows_of(state, admission)
        if policy.same_zone_workers and packer in SINGLE_ZONE:
            zones = np.unique(table.zone[own])
            if len(zones) == 1:
                rows = rows[table.zone[rows] == zones[0]]
        if packer in _LEAST_FRAGMENTING:
            rows = rows[np.lexsort((room[rows], ~np.isin(rows, own)))]
    if offered is None:
        return int(rows[0]) if len(rows) else None
    for row in rows[:_FIRST_CHOICES].tolist():
        if offered.has(row):
            return row
    rows = rows[offered.mask[rows]]
    return int(rows[0]) if len(rows) else None


def _packer(state: State, admission: Admission | None) -> str:
    """The packer a gang was placed with: its own, else its pool's."""
    if admission is None:
        return state.policy.packer
    pool = pool_of(admission.leader.terms, state.policy.pool_label)
    return admission.spec.packer or state.policy.packer_for(pool)


def rows_of(state: State, admission: Admission) -> IntArray:
    """Rows of existing nodes a gang is on: its leader, its slots, its elastic workers."""
    rows = {slot.row for slot in admission.slots if slot.row != NOWHERE}
    for uid in (admission.leader.uid, *admission.gang.workers):
        seat, claim = state.seats.get(uid), state.claims.get(uid)
        if seat is not None:
            rows.add(seat.row)
        elif claim is not None:
            rows.add(claim.row)
    return np.array(sorted(row for row in rows if state.nodes.alive(row)), dtype=np.int64)


def follow_workers(state: State, admission: Admission) -> None:
    """Let open slots be large enough for the workers seen so far, on nodes where these may run.

    Spark's configuration cannot show what user code, webhooks, sidecars or admission add, so a worker pod
    that requests more than was computed is believed. One that requests less is not: others may need it all.
    Node selector, affinity and tolerations are those of the youngest worker: the next one will be like it.
    """
    seen = [
        pod
        for pod in admission.gang.workers.values()
        if not pod.deleting and not pod.odd_size and state.bond(pod) is Bond.MEMBER
    ]
    if seen:
        terms = max(seen, key=lambda pod: (pod.created_s, pod.uid)).terms
        if terms != admission.spec.worker_terms:
            admission.spec = replace(admission.spec, worker_terms=terms)
    if not admission.has_open_slot:
        return
    worker = largest([admission.spec.worker, *(pod.requests for pod in seen)])
    if worker != largest([admission.spec.worker]):
        admission.spec = replace(admission.spec, worker=worker)
        state.todo.write[admission.key] = None
        for slot in admission.open_slots():
            state.put(slot, slot.row, state.nodes.accountable(worker))
    move_open_slots(state, admission)


def move_open_slots(state: State, admission: Admission) -> None:
    """Move open slots off nodes that are gone, closed to the gang's workers, over-committed, or promised.

    Promised is room that is made by evictions for pods of the leader's priority or above.

    A slot for which there is no room stays where it is while its node may come back. It is put NOWHERE
    when others over-commit its node, so that it does not hide the shortage.
    """
    table, spec = state.nodes, admission.spec
    slots = list(admission.open_slots())
    state.todo.place.pop(admission.key, None)
    rows = np.array([slot.row for slot in slots], dtype=np.intp)
    probe = PodFacts(
        uid="",
        namespace=admission.key.namespace,
        name="",
        requests=spec.worker,
        terms=spec.worker_terms,
        priority=admission.leader.priority,
        gang=admission.key,
    )
    taken = state.nominations.taken(probe)
    fine = (
        (rows != NOWHERE) & table.eligible(spec.worker_terms)[rows] & (table.free[:, rows] >= 0).all(axis=0)
    )
    for row, promised in taken.items():
        if (table.free[:, row] < promised).any():
            fine &= rows != row
    if fine.all():
        return
    for slot in (slots[index] for index in np.flatnonzero(~fine).tolist()):
        over = slot.row != NOWHERE and bool((table.free[:, slot.row] < taken.get(slot.row, 0)).any())
        if slot.row != NOWHERE and table.eligible(spec.worker_terms)[slot.row] and not over:
            continue  # the slots moved before made room on this node
        row = choose_row(state, admission, probe, None)
        if row is not None:
            state.move_slot(admission, slot, row)
            continue
        state.todo.place[admission.key] = None
        if over and table.alive(slot.row):
            state.move_slot(admission, slot, NOWHERE)
