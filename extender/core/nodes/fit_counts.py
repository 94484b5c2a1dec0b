"""How many pods of a size fit each node, kept up to date row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.aging import AgingCache
from extender.core.nodes.arrays import IntArray, room_for
from extender.core.nodes.terms import PlacementTerms

ROOM_LIMIT: Final = 1 << 31
"""Rooms are cut here, so that totals over any cluster fit int64."""

_MOST_BYTES: Final = 128 << 20
_LONGEST_LOG: Final = 4096


class _Shape:
    __slots__ = ("room", "seen", "total")

    def __init__(self, room: IntArray, total: int, seen: int) -> None:
        self.room = room
        self.total = total
        self.seen = seen


class RoomCache:
    """Room per (size, terms). `touch` records changed rows; `get` recomputes only those. It ages."""

    def __init__(self) -> None:
        self._shapes: AgingCache[tuple[bytes, PlacementTerms], _Shape] = AgingCache(
            _MOST_BYTES, lambda shape: shape.room.nbytes
        )
        self._log: list[int] = []
        self._start = 0

    def touch(self, row: int) -> None:
        """The free amounts of a row changed, or who may use it, or it is new at the end."""
        self._log.append(row)
        if len(self._log) > _LONGEST_LOG:
            dropped = len(self._log) // 2
            del self._log[:dropped]
            self._start += dropped

    def forget(self) -> None:
        """Columns changed: start over."""
        self._shapes.clear()
        self._start += len(self._log)
        self._log.clear()

    def get(
        self,
        vector: IntArray,
        terms: PlacementTerms,
        eligible: Callable[[PlacementTerms], NDArray[np.bool_]],
        free: IntArray,
    ) -> tuple[IntArray, int]:
        """Room of each row (0 where not eligible) and the total."""
        key = (vector.tobytes(), terms)
        shape = self._shapes.get(key)
        now = self._start + len(self._log)
        if shape is None or shape.seen < self._start or now - shape.seen > free.shape[1] // 4 + 16:
            room = np.minimum(room_for(free, vector), ROOM_LIMIT)
            room[~eligible(terms)] = 0
            shape = _Shape(room, int(room.sum()), now)
            self._shapes.put(key, shape)
        elif shape.seen < now:
            if len(shape.room) < free.shape[1]:
                shape.room = np.concatenate(
                    [shape.room, np.zeros(free.shape[1] - len(shape.room), dtype=np.int64)]
                )
            rows = np.unique(np.array(self._log[shape.seen - self._start :], dtype=np.intp))
            fresh = np.minimum(room_for(free[:, rows], vector), ROOM_LIMIT)
            fresh[~eligible(terms)[rows]] = 0
            shape.total += int(fresh.sum()) - int(shape.room[rows].sum())
            shape.room[rows] = fresh
            shape.seen = now
        return shape.room, shape.total
