"""Chooses the node of one pod: a worker of a gang, with or without a slot, or a pod outside gangs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from extender.core.decisions import FilterDecision
from extender.core.facts import PodFacts
from extender.core.gangs.membership import Bond
from extender.core.gangs.reservation import NOWHERE, Gang, Slot
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
    """A gang's worker: a reserved slot where it is, a reserved slot moved, or free room above the minimum.

    Only workers above the minimum are restrained: the others were admitted with their leader.
    """
    expires_s = now + state.policy.hold_ttl_s
    gang = state.gang_of(pod)
    tie = state.bond(pod)
    if tie is Bond.ALONE:
        return place_single(state, free_room, pod, offered, now)
    refusal = _left_over(gang, pod) if tie is Bond.LEFT_OVER else _leader_missing(gang)
    if refusal is not None:
        return refusal
    assert gang is not None
    assert gang.spec is not None
    slot = _open_slot(state, gang, pod, offered)
    if slot is not None:
        state.claim_slot(gang, pod, slot, slot.row, expires_s)
        return FilterDecision(Outcome.SLOT_TAKEN, state.nodes.names[slot.row])
    # The last slots first: packers fill from the front, so the last ones are the least packed.
    free_slot = next((slot for slot in reversed(gang.slots) if slot.open), None)
    if free_slot is None and state.workers_counted(gang, pod.profile) >= gang.spec.max_workers:
        of_profile = f" of resource profile {pod.profile}" if pod.odd_size else ""
        return FilterDecision(
            Outcome.GANG_FULL,
            detail=f"the gang already has its maximum of {gang.spec.max_workers} workers{of_profile}",
        )
    if free_slot is None:
        refusal = free_room.above_minimum(gang, pod, now)
        if refusal is not None:
            return refusal
    row = choose_row(state, gang, pod, offered)
    if row is None:
        detail = (
            "this worker is above the gang's minimum and no offered node has free, unreserved room"
            if free_slot is None
            else "the node of the slot reserved for this worker is not offered, and no other has room"
        )
        return _no_room(state, pod, detail)
    if free_slot is not None:
        state.claim_slot(gang, pod, free_slot, row, expires_s)
        return FilterDecision(Outcome.SLOT_MOVED, state.nodes.names[row])
    state.claim_room(pod, row, expires_s)
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


def _leader_missing(gang: Gang | None) -> FilterDecision | None:
    if gang is None or not gang.leaders:
        ended = gang is not None and gang.leader_ended
        return FilterDecision(Outcome.LEADER_ENDED if ended else Outcome.GANG_UNKNOWN)
    if gang.owner is not None:
        return None
    if any(leader.waiting for leader in gang.leaders.values()):
        return FilterDecision(Outcome.GANG_NOT_ADMITTED)
    if any(leader.occupies and not leader.deleting for leader in gang.leaders.values()):
        return FilterDecision(
            Outcome.WAITING_FOR_CONFIGURATION,
            detail="the driver runs without a reservation, and what its application asks for is not known",
        )
    return FilterDecision(Outcome.LEADER_ENDED)


def _open_slot(state: State, gang: Gang, pod: PodFacts, offered: Offered) -> Slot | None:
    """The first open slot on an offered node that can hold the pod at its real size."""
    size = state.nodes.vector(pod.requests)
    taken = state.nominations.taken(pod)
    for slot in gang.slots:
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


def choose_row(state: State, gang: Gang | None, pod: PodFacts, offered: Offered | None) -> int | None:
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
    packer = _packer(state, gang)
    if gang is not None:
        own = rows_of(state, gang)
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


def _packer(state: State, gang: Gang | None) -> str:
    """The packer a gang was placed with: its own, else its pool's."""
    if gang is None or gang.spec is None or gang.owner is None:
        return state.policy.packer
    pool = pool_of(gang.owner.terms, state.policy.pool_label)
    return gang.spec.packer or state.policy.packer_for(pool)


def rows_of(state: State, gang: Gang) -> IntArray:
    """Rows of existing nodes a gang is on: its leader, its slots, its extra workers."""
    rows = {slot.row for slot in gang.slots if slot.row != NOWHERE}
    for uid in (gang.owner_uid, *gang.workers):
        seat, claim = state.seats.get(uid), state.claims.get(uid)
        if seat is not None:
            rows.add(seat.row)
        elif claim is not None:
            rows.add(claim.row)
    return np.array(sorted(row for row in rows if state.nodes.alive(row)), dtype=np.int64)


def follow_workers(state: State, gang: Gang) -> None:
    """Let open slots be large enough for the workers seen so far, on nodes where these may run.

    Spark's configuration cannot show what user code, webhooks, sidecars or admission add, so a worker pod
    that requests more than was computed is believed. One that requests less is not: others may need it all.
    Node selector, affinity and tolerations are those of the youngest worker: the next one will be like it.
    """
    if gang.spec is None or gang.owner is None:
        return
    seen = [
        pod
        for pod in gang.workers.values()
        if not pod.deleting and not pod.odd_size and state.bond(pod) is Bond.MEMBER
    ]
    if seen:
        terms = max(seen, key=lambda pod: (pod.created_s, pod.uid)).terms
        if terms != gang.spec.worker_terms:
            gang.spec = replace(gang.spec, worker_terms=terms)
    if not any(slot.open for slot in gang.slots):
        return
    worker = largest([gang.spec.worker, *(pod.requests for pod in seen)])
    if worker != largest([gang.spec.worker]):
        gang.spec = replace(gang.spec, worker=worker)
        state.dirty[gang.key] = None
        for slot in gang.slots:
            if slot.open:
                state.put(slot, slot.row, state.nodes.accountable(worker))
    move_open_slots(state, gang)


def move_open_slots(state: State, gang: Gang) -> None:
    """Move open slots off nodes that are gone, closed to the gang's workers, over-committed, or promised.

    Promised is room that is made by evictions for pods of the leader's priority or above.

    A slot for which there is no room stays where it is while its node may come back, and is reserved
    NOWHERE when the node is over-committed by others, so that it does not hide the shortage.
    """
    spec = gang.spec
    if spec is None or gang.owner is None:
        return
    table = state.nodes
    slots = [slot for slot in gang.slots if slot.open]
    state.owed.pop(gang.key, None)
    rows = np.array([slot.row for slot in slots], dtype=np.intp)
    probe = PodFacts(
        uid="",
        namespace=gang.key.namespace,
        name="",
        requests=spec.worker,
        terms=spec.worker_terms,
        priority=gang.owner.priority,
        gang=gang.key,
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
        row = choose_row(state, gang, probe, None)
        if row is not None:
            state.move_slot(gang, slot, row)
            continue
        state.owed[gang.key] = None
        if over and table.alive(slot.row):
            state.move_slot(gang, slot, NOWHERE)
