"""distribute-evenly: one worker per node and round, in order; a node that is full is left out."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.arrays import IntArray, Rows
from extender.core.queue.packing.base import Packing, Problem, first_leader, room_beside


def distribute_evenly(problem: Problem) -> Packing | None:
    """Use as many of the preferred nodes as possible, so that losing one loses few workers."""
    leader_row = first_leader(problem)
    if leader_row is None:
        return None
    rows = problem.worker_rows
    return Packing(leader_row, deal(rows, room_beside(problem, leader_row)[rows], problem.count))


def deal(rows: Rows, room: IntArray, count: int) -> Rows:
    """Slots of `count` workers dealt round robin over nodes whose rooms sum to `count` or more."""
    if count == 0:
        return rows[:0]
    open_nodes = np.flatnonzero(room > 0)
    rows, room = rows[open_nodes], np.minimum(room[open_nodes], count)
    if len(rows) >= count:
        return rows[:count]
    # takers[j]: nodes that still take a worker in round j (from 0); the last round may be cut short.
    takers = len(rows) - np.cumsum(np.bincount(room, minlength=count + 1))[:count]
    dealt = np.cumsum(takers)
    last = int(np.searchsorted(dealt, count))
    numbers = np.minimum(room, last)
    in_last = np.flatnonzero(room > last)[: count - (int(dealt[last - 1]) if last else 0)]
    numbers[in_last] += 1
    starts = np.cumsum(numbers) - numbers
    rounds = np.arange(count) - np.repeat(starts, numbers)
    return np.repeat(rows, numbers)[np.argsort(rounds, kind="stable")]
