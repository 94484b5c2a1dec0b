"""Order of preference of nodes: the fullest zone first, in it the fullest node.

Filling up what is already in use leaves whole nodes empty for large applications and for whoever
removes nodes. Every tie is broken, so that the same state gives the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.nodes.arrays import BoolArray, IntArray, Rows, stable_argsort

_EXACT: Final = 2**53


class FreeOrder:
    """All rows by free memory, free cpu, then name, ascending; repaired where rows were touched.

    A row's key is one complex number, because numpy sorts and searches those by their real part, then
    by their imaginary part: memory in the one, cpu and the rank of the name in the other. Both are
    exact up to 2**53 (9 PB of memory on a node; 10**9 cores with 8,192 nodes).
    """

    def __init__(self, names: Sequence[str]) -> None:
        by_name = sorted(range(len(names)), key=names.__getitem__)
        self._rank: IntArray = np.empty(len(names), dtype=np.int64)
        self._rank[by_name] = np.arange(len(names))
        self._keys: NDArray[np.complex128] = np.empty(len(names), dtype=np.complex128)
        self._rows: Rows | None = None
        self._touched: set[int] = set()

    def touch(self, rows: Iterable[int]) -> None:
        """The free amounts of these rows changed, or may have."""
        self._touched.update(rows)

    def rows(self, free_memory: IntArray, free_cpu: IntArray) -> Rows:
        """All rows in order. Amounts are int64[n_rows] as they are now; do not modify the result."""
        rows = self._rows
        if rows is None or len(self._touched) > len(rows) // 4:
            self._rekey(np.arange(len(self._rank)), free_memory, free_cpu)
            rows = np.argsort(self._keys)
        elif self._touched:
            moved = np.fromiter(self._touched, dtype=np.intp, count=len(self._touched))
            self._rekey(moved, free_memory, free_cpu)
            rows = self._merge(rows, moved)
        else:
            return rows
        rows.flags.writeable = False
        self._rows = rows
        self._touched.clear()
        return rows

    def _rekey(self, rows: Rows, free_memory: IntArray, free_cpu: IntArray) -> None:
        size = max(1, len(self._rank))
        limit = _EXACT // size - 1
        self._keys.real[rows] = free_memory[rows]
        self._keys.imag[rows] = np.clip(free_cpu[rows], -limit, limit) * size + self._rank[rows]

    def _merge(self, rows: Rows, moved: Rows) -> Rows:
        stays = np.ones(len(rows), dtype=np.bool_)
        stays[moved] = False
        kept = rows[stays[rows]]
        keys = self._keys[moved]
        rising = np.argsort(keys)
        places = np.searchsorted(self._keys[kept], keys[rising])
        return np.insert(kept, places, moved[rising])


def zone_ordered(
    rows: Rows,
    eligible: BoolArray,
    counted: BoolArray,
    zone: IntArray,
    free_memory: IntArray,
    free_cpu: IntArray,
    n_zones: int,
) -> Rows:
    """The eligible ones of `rows`, zone by zone, in the order they come in inside a zone.

    Zones ascend by the free memory of their counted nodes, then by free cpu, then by whose first row
    comes first. `eligible`, `counted`, `zone` and the free amounts are by row number.
    """
    rows = rows[eligible[rows]]
    if n_zones < 2 or not len(rows):
        return rows
    zones = zone[rows]
    memory, cpu = np.zeros(n_zones, dtype=np.int64), np.zeros(n_zones, dtype=np.int64)
    np.add.at(memory, zone[counted], free_memory[counted])
    np.add.at(cpu, zone[counted], free_cpu[counted])
    first = np.full(n_zones, len(rows), dtype=np.intp)
    first[zones[::-1]] = np.arange(len(rows) - 1, -1, -1)  # the last assignment stays: the first row
    rank = np.empty(n_zones, dtype=np.int64)
    rank[np.lexsort((first, cpu, memory))] = np.arange(n_zones)
    return rows[stable_argsort(rank[zones])]


def by_label_priority(rows: Rows, ranks: IntArray) -> Rows:
    """`rows` by the rank of their node (int64 by row number, >= 0), otherwise in the order they come in."""
    return rows[stable_argsort(ranks[rows])]


def by_cost(rows: Rows, cost: NDArray[np.float64]) -> Rows:
    """`rows` by their place among each other (0..1) plus the cost of their node (float64 by row number)."""
    if not len(rows):
        return rows
    place = np.arange(len(rows)) / len(rows)
    return rows[np.argsort(place + cost[rows], kind="stable")]
