"""The problem every packer solves and the arithmetic they share.

Whether a gang fits is arithmetic on columns, for all leader nodes at once: placing the leader on node d
changes the workers' room on d only, so the gang fits with the leader there iff

    sum(room) - room[d] + room_after_leader[d] >= count

A refusal therefore costs no more than an admission, however many nodes the leader could use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from extender.core.nodes.arrays import IntArray, Rows, fits, room_for


@dataclass(frozen=True, slots=True)
class Problem:
    """Where to put one leader and `count` workers.

    free          int64[n_resources, n_nodes], base units; negative when over-committed
    leader        int64[n_resources], what the leader requests, pod slot included
    worker        int64[n_resources], what one worker requests, pod slot included
    count         number of workers, >= 0
    leader_rows   nodes the leader may use, in order of preference, each once
    worker_rows   nodes workers may use, in order of preference, each once
    zone          int64[n_nodes], zone number of each node, from 0
    capacity      int64[n_resources, n_nodes], what a node offers when it runs nothing of ours;
                  only the zone score of the single-zone packers reads it
    room          int64[n_nodes], workers that fit each node (see `room_for`), 0 where the node is
                  not in worker_rows may be left as is: packers only read worker_rows
    """

    free: IntArray
    leader: IntArray
    worker: IntArray
    count: int
    leader_rows: Rows
    worker_rows: Rows
    zone: IntArray
    capacity: IntArray
    room: IntArray


@dataclass(frozen=True, slots=True)
class Packing:
    """A complete placement: the leader's row and the row of each worker slot, in slot order."""

    leader_row: int
    worker_rows: Rows


Packer = Callable[[Problem], Packing | None]
"""Solves a problem completely, or answers None: nothing partial is ever returned."""

Fill = Callable[[Rows, IntArray, int], tuple[Rows, IntArray]]
"""Spreads `count` workers over nodes (their rows, their rooms, sum of the rooms >= count): the rows
used and how many go to each, in slot order."""


def usable_room(problem: Problem) -> IntArray:
    """int64[n_nodes]: room that counts. At most `count`, so that sums cannot overflow; 0 off worker_rows."""
    usable = np.zeros_like(problem.room)
    usable[problem.worker_rows] = np.minimum(problem.room[problem.worker_rows], problem.count)
    return usable


def leaders_with_room(problem: Problem, usable: IntArray, spare: IntArray) -> Rows:
    """Leader rows, in order, on which the leader fits and leaves room for all workers.

    usable  int64[n_nodes], see `usable_room`
    spare   int64[n_nodes], usable room in reach of a leader on that node, less `count`
    """
    rows = problem.leader_rows
    rows = rows[(fits(problem.free, problem.leader) & (spare >= 0))[rows]]
    # Where the node's own room is not needed, the leader may take all of it: no division.
    shortage = usable[rows] - spare[rows]
    feasible = shortage <= 0
    tight = np.flatnonzero(~feasible)
    if len(tight):
        feasible[tight] = _room_left(problem, rows[tight]) >= shortage[tight]
    return rows[feasible]


def first_leader(problem: Problem) -> int | None:
    """The first leader row with which the whole gang fits."""
    usable = usable_room(problem)
    spare = int(usable.sum()) - problem.count
    if spare < 0:
        return None
    rows = leaders_with_room(problem, usable, np.full_like(usable, spare))
    return int(rows[0]) if len(rows) else None


def leader_in_a_zone(problem: Problem) -> int | None:
    """The first leader row with which the whole gang fits in the row's zone."""
    usable = usable_room(problem)
    # Float sums of whole numbers are exact below 2**53; n_nodes * count is far from that.
    totals = np.bincount(problem.zone, weights=usable).astype(np.int64)
    rows = leaders_with_room(problem, usable, (totals - problem.count)[problem.zone])
    return int(rows[0]) if len(rows) else None


def room_beside(problem: Problem, *leader_rows: int) -> IntArray:
    """int64[n_nodes]: the workers' room, on `leader_rows` as if the leader were there already."""
    room = problem.room.copy()
    rows = np.array(leader_rows, dtype=np.intp)
    room[rows] = _room_left(problem, rows)
    return room


def _room_left(problem: Problem, leader_rows: Rows) -> IntArray:
    return room_for(problem.free[:, leader_rows] - problem.leader[:, None], problem.worker)
