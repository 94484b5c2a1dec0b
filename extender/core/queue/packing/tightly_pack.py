"""tightly-pack: fill the first node until the next worker does not fit, then the next node."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.arrays import IntArray, Rows
from extender.core.queue.packing.base import Packing, Problem, first_leader, room_beside


def tightly_pack(problem: Problem) -> Packing | None:
    """Use as few of the preferred nodes as possible."""
    leader_row = first_leader(problem)
    if leader_row is None:
        return None
    rows = problem.worker_rows
    rows, numbers = fill_in_order(rows, room_beside(problem, leader_row)[rows], problem.count)
    return Packing(leader_row, np.repeat(rows, numbers))


def fill_in_order(rows: Rows, room: IntArray, count: int) -> tuple[Rows, IntArray]:
    """Fill nodes completely, in order; the last one takes what is left."""
    if count == 0:
        return rows[:0], room[:0]
    reached = np.cumsum(np.minimum(room, count))
    last = int(np.searchsorted(reached, count))
    numbers = room[: last + 1].copy()
    numbers[last] = count - (int(reached[last - 1]) if last else 0)
    return rows[: last + 1], numbers
