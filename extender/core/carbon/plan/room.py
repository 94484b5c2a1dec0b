"""Room ahead: what is free in each place, by resource and slot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Place = tuple[int, ...]
"""Rows of the table that together serve one application: nodes it may use within one carbon zone."""


class Room:
    """Free amounts, float64[rows, resources, slots]. They may fall below 0: what runs is never denied."""

    def __init__(self, capacity: Floats, slots: int) -> None:
        self.capacity = capacity
        self.free: Floats = np.repeat(capacity[:, :, None], slots, axis=2)

    def copy(self) -> Room:
        """Another table with the same free amounts."""
        other = Room(self.capacity, 0)
        other.free = self.free.copy()
        return other

    @property
    def slots(self) -> int:
        """Number of slots."""
        return self.free.shape[2]

    def take(self, place: Place, need: Floats, first: int, end: int) -> None:
        """Write an amount into the slots first..end-1; in a place of several rows where most is free."""
        if len(place) == 1:
            self.free[place[0], :, first:end] -= need[:, None]
            return
        for share, row in zip(self._shares(place, need, first, end), place, strict=True):
            self.free[row, :, first:end] -= share * need[:, None]

    def _shares(self, place: Place, need: Floats, first: int, end: int) -> Sequence[float]:
        """Parts of an amount by row: in proportion to the room that each has over all the slots."""
        asked = need > 0
        least = [
            max(0.0, float((self.free[row][asked, first:end].min(axis=1) / need[asked]).min()))
            for row in place
        ]
        total = sum(least)
        return [each / total for each in least] if total > 0 else [1 / len(place)] * len(place)

    def fits(self, place: Place, need: Floats) -> Bools:
        """In which slots an amount is free."""
        asked = np.flatnonzero(need > 0)
        free = self.free[place[0]] if len(place) == 1 else self.free[list(place)].sum(axis=0)
        room: Bools = (free[asked] >= need[asked, None] - 1e-9).all(axis=0)
        return room

    def holds(self, place: Place, need: Floats) -> bool:
        """Whether an amount could ever be free in a place: it is not more than all of it."""
        return bool((self.capacity[list(place)].sum(axis=0) >= need - 1e-9).all())


def startable(fits: Bools, ends: NDArray[np.int64]) -> Bools:
    """Start slots s from which all slots s..ends[s]-1 have room."""
    full = np.zeros(len(fits) + 1, dtype=np.int64)
    np.cumsum(~fits, out=full[1:])
    starts = np.arange(len(ends))
    result: Bools = full[ends] == full[starts]
    return result
