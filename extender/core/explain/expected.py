"""When a waiting gang is expected to start, within which bounds, and from what that is known.

A gang that is held starts by its carbon policy. One that waits for room starts when enough running gangs have
ended: their expected ends are played through in order, and the queue is placed into what they leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from extender.core.carbon.start.hold import Hold
from extender.core.carbon.start.planned import End
from extender.core.gangs.gang import NOWHERE, Admission
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.arrays import IntArray, Rows
from extender.core.policy import FifoMode
from extender.core.queue.queue_pass import Waiting, plan
from extender.core.queue.workspace import Workspace
from extender.core.state import State

_MOST_TRIALS: Final = 60
"""Placements tried for one answer: at 5,000 nodes each takes about half a millisecond, and webhooks wait."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected start in seconds since the epoch; bounds are None where nothing is known of them.

    `source` is one sentence.
    """

    at_s: float
    earliest_s: float | None
    latest_s: float | None
    source: str


def by_hold(hold: Hold, now: float) -> Expected:
    """The start that the carbon policy plans. Beyond the latest start only the want of room delays it."""
    source = f"the carbon policy {hold.policy.value} plans it; the grid's forecast may move it"
    return Expected(max(now, hold.expected_s), now, hold.latest_start_s, source)


@dataclass(slots=True)
class _Leaving:
    """A gang that gives its room back at its end."""

    gang: Admission
    end: End


def by_room(
    state: State, queue: Iterable[Waiting], entry: Waiting, ends: Ends, now: float
) -> Expected | None:
    """The start that follows from the expected ends of what runs; None where these leave too little room."""
    leaving, ahead, uid = _leaving(state, ends, now), _ahead(queue, entry), entry.leader.uid
    found = _play(state, ahead, leaving, lambda end: end.at_s, uid).get(uid)
    if found is None:
        return None
    low = high = None
    if all(each.end.low_s is not None and each.end.high_s is not None for each in leaving):
        low = _play(state, ahead, leaving, lambda end: end.low_s or end.at_s, uid).get(uid)
        high = _play(state, ahead, leaving, lambda end: end.high_s or end.at_s, uid).get(uid)
    at_s, last = found
    source = f"{last.gang.key} is expected to end then: {last.end.text}"
    return Expected(at_s, low[0] if low else None, high[0] if high else None, source)


def starts_by_room(state: State, queue: Iterable[Waiting], ends: Ends, now: float) -> dict[str, float]:
    """Expected starts of gangs that wait for room, by uid of the leader, as far as they are known."""
    able = [each for each in queue if isinstance(each.spec, GangSpec)]
    found = _play(state, able, _leaving(state, ends, now), lambda end: end.at_s)
    return {uid: at_s for uid, (at_s, _) in found.items()}


def _leaving(state: State, ends: Ends, now: float) -> list[_Leaving]:
    return [_Leaving(each, ends(each, now)) for each in state.admissions()]


Ends = Callable[[Admission, float], End]


def _ahead(queue: Iterable[Waiting], entry: Waiting) -> list[Waiting]:
    """Gangs up to this one, in order, that can be placed at all."""
    out: list[Waiting] = []
    for each in queue:
        if isinstance(each.spec, GangSpec):
            out.append(each)
        if each.leader.uid == entry.leader.uid:
            break
    return out


def _play(
    state: State,
    ahead: list[Waiting],
    leaving: list[_Leaving],
    when: Callable[[End], float],
    until: str = "",
) -> dict[str, tuple[float, _Leaving]]:
    """When each of `ahead` has room, and the gang whose end gave it, by uid of the leader.

    It ends with the gang of the leader `until`, or after as many placements as one answer may cost.
    """
    table, policy = state.nodes, state.policy
    space, found, trials = Workspace(table), dict[str, tuple[float, _Leaving]](), 0
    waiting = list(ahead)
    in_order = sorted(leaving, key=lambda one: (when(one.end), one.gang.key))
    for at_s, together in groupby(in_order, key=lambda one: when(one.end)):
        if not waiting or not math.isfinite(at_s):
            break
        # 1. All that end at this moment give their room back.
        last = in_order[0]
        for last in together:
            for rows, used in _amounts(state, last.gang):
                space.give_back(rows, used)
        # 2. The queue is placed into what is free now.
        blocked: set[str] = set()
        for entry in list(waiting):
            if entry.pool in blocked:
                continue
            trials += 1
            if trials > _MOST_TRIALS:
                return found
            packing, _ = plan(table, policy, entry, None, space)
            if packing is None:
                if policy.fifo_for(entry.pool) is FifoMode.STRICT:
                    blocked.add(entry.pool)
                continue
            found[entry.leader.uid] = at_s, last
            if entry.leader.uid == until:
                return found
            assert isinstance(entry.spec, GangSpec)
            leader = table.widened(table.vector(entry.leader.requests))
            space.take(packing, leader, table.vector(entry.spec.worker))
            waiting.remove(entry)
    return found


def _amounts(state: State, admission: Admission) -> list[tuple[Rows, IntArray]]:
    """Amounts that an admitted gang takes, each with its rows: of its pods, and of its open slots."""
    taken: dict[int, tuple[list[int], IntArray]] = {}

    def add(row: int, amount: IntArray) -> None:
        taken.setdefault(id(amount), ([], amount))[0].append(row)

    for uid in (*admission.gang.leaders, *admission.gang.workers):
        seat, claim = state.seats.get(uid), state.claims.get(uid)
        if seat is not None:
            add(seat.row, seat.used)
        elif claim is not None and claim.slot is None and claim.reserved is not None:
            add(claim.row, claim.reserved)
    for slot in admission.slots:
        if slot.reserved is not None and slot.row != NOWHERE:
            add(slot.row, slot.reserved)
    return [(np.array(rows, dtype=np.intp), amount) for rows, amount in taken.values()]
