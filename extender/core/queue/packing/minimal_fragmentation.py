"""minimal-fragmentation: few nodes, each filled completely, and mostly empty nodes left alone."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.arrays import IntArray, Rows, stable_argsort
from extender.core.queue.packing.base import Packing, Problem, first_leader, room_beside


def minimal_fragmentation(problem: Problem) -> Packing | None:
    """Leave as little unusable room behind as possible."""
    leader_row = first_leader(problem)
    if leader_row is None:
        return None
    rows = problem.worker_rows
    rows, numbers = fill_sparing(rows, room_beside(problem, leader_row)[rows], problem.count)
    return Packing(leader_row, np.repeat(rows, numbers))


def fill_sparing(rows: Rows, room: IntArray, count: int) -> tuple[Rows, IntArray]:
    """Largest rooms first, each filled; the rest goes where it fits best.

    When the largest room could take all workers, nodes with room for (count + largest) // 2 or more are
    spared if the others suffice: they stay free for a larger application.
    """
    largest = int(room.max(initial=0))
    if count < largest:
        small = room < (count + largest) // 2
        if int(np.minimum(room[small], count).sum()) >= count:
            rows, room = rows[small], room[small]
    return _largest_first(rows, room, count)


def _largest_first(rows: Rows, room: IntArray, count: int) -> tuple[Rows, IntArray]:
    if count == 0:
        return rows[:0], room[:0]
    order = stable_argsort(room.max() - room)
    falling: IntArray = room[order]
    reached = np.cumsum(np.minimum(falling, count))
    full = int(np.searchsorted(reached, count))  # nodes before this one are filled
    rest = count - (int(reached[full - 1]) if full else 0)
    # The rest fits on node `full` and maybe on smaller ones: the smallest, the preferred one of its size.
    rising = -falling
    smallest = int(rising[np.searchsorted(rising, -rest, side="right") - 1])
    best = max(full, int(np.searchsorted(rising, smallest)))
    chosen, numbers = order[: full + 1].copy(), falling[: full + 1].copy()
    chosen[full], numbers[full] = order[best], rest
    return rows[chosen], numbers
