"""Types of the arrays that describe the cluster, and how many pods of a size fit each node."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Rows = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

UNLIMITED: Final = np.int64(2**62)
"""Room of a node for a worker that requests nothing."""

_RADIX_LIMIT: Final = 1 << 16


def room_for(free: IntArray, request: IntArray) -> IntArray:
    """Pods of size `request` that fit each node: min over resources of floor(free / request), at least 0.

    free is int64[n_resources, n_nodes]; the result int64[n_nodes]. A resource that is not requested
    does not limit, unless the node is over-committed in it (negative): then nothing fits. A request
    of nothing at all has UNLIMITED room.
    """
    room = np.full(free.shape[1], UNLIMITED)
    row: IntArray
    for row, amount in zip(free, request.tolist(), strict=True):
        if amount > 0:
            np.minimum(room, row // amount, out=room)
        elif (over_committed := row < 0).any():
            room[over_committed] = 0
    return np.maximum(room, 0, out=room)


def fits(free: IntArray, request: IntArray) -> BoolArray:
    """Whether one pod of size `request` fits each node; bool[n_nodes]."""
    fitting = np.ones(free.shape[1], dtype=np.bool_)
    row: IntArray
    for row, amount in zip(free, request.tolist(), strict=True):
        fitting &= row >= amount
    return fitting


def stable_argsort(keys: IntArray) -> Rows:
    """Stable argsort of non-negative integers. Small ones take numpy's radix sort, ten times as fast."""
    if len(keys) and keys.max() < _RADIX_LIMIT:
        return np.argsort(keys.astype(np.uint16), kind="stable")
    return np.argsort(keys, kind="stable")
