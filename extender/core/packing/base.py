"""The problem every packer solves and the arithmetic they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Rows = NDArray[np.intp]

UNLIMITED = np.int64(2**62)
"""Room of a node for a worker that requests nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Where to put one leader and `count` workers.

    free          int64[n_resources, n_nodes], base units; negative when over-committed
    leader        int64[n_resources], what the leader requests, pod slot included
    worker        int64[n_resources], what one worker requests, pod slot included
    count         number of workers, >= 0
    leader_rows   nodes the leader may use, in order of preference
    worker_rows   nodes workers may use, in order of preference
    zone          int64[n_nodes], zone number of each node
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


def room_for(free: IntArray, request: IntArray) -> IntArray:
    """Pods of size `request` that fit each node: min over resources of floor(free / request), at least 0.

    free is int64[n_resources, n_nodes]; the result int64[n_nodes]. A resource that is not requested
    does not limit, unless the node is over-committed in it (negative): then nothing fits. A request
    of nothing at all has UNLIMITED room.
    """
    room: IntArray | None = None
    for row, amount in zip(free, request.tolist(), strict=True):
        if amount > 0:
            fits = row // amount
            room = fits if room is None else np.minimum(room, fits, out=room)
    if room is None:
        room = np.full(free.shape[1], UNLIMITED, dtype=np.int64)
    np.maximum(room, 0, out=room)
    for row, amount in zip(free, request.tolist(), strict=True):
        if amount <= 0:
            room[row < 0] = 0
    return room


def fits(free: IntArray, request: IntArray) -> NDArray[np.bool_]:
    """Whether one pod of size `request` fits each node; bool[n_nodes]."""
    return (free >= request[:, None]).all(axis=0)
