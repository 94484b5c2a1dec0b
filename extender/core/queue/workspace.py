"""What is left of the cluster while a queue is planned, and the order in which nodes are preferred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from extender.core.nodes.arrays import IntArray, Rows, room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.order import by_cost, by_label_priority, zone_ordered
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms
from extender.core.policy import LabelPriority
from extender.core.queue.packing import Packing

_CPU: Final = 0
_MEMORY: Final = 1


@dataclass(slots=True)
class _Left:
    """Rooms of one size in a workspace, as of a state of the table and of its first `seen` touched rows."""

    room: IntArray
    total: int
    version: int
    seen: int = 0


class Workspace:
    """Free amounts while gangs are planned one after the other; the table itself is not changed.

    Orders and rooms are kept from gang to gang while the table stays as it is: planning a queue anew is
    what costs most when anything changed.
    """

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._touched: list[int] = []
        self._left: dict[tuple[bytes, PlacementTerms], _Left] = {}
        self._orders: dict[tuple[PlacementTerms, LabelPriority | None], Rows] = {}
        self._orders_version = -1
        self.free: IntArray = table.free

    def take(self, packing: Packing, leader: IntArray, worker: IntArray) -> None:
        """Subtract a placement."""
        self._add(packing, leader, worker, -1)

    def put_back(self, packing: Packing, leader: IntArray, worker: IntArray) -> None:
        """Take back a placement that `take` subtracted."""
        self._add(packing, leader, worker, 1)

    def give(self, row: int, used: IntArray) -> None:
        """Suppose that a bound pod were gone."""
        if not self._touched:
            self.free = self._table.free.copy()
        self.free[:, row] += self._table.widened(used)
        self._touched.append(row)

    def give_back(self, rows: Rows, used: IntArray) -> None:
        """Suppose that this amount were free on each of these rows, as often as a row is named."""
        if not self._touched:
            self.free = self._table.free.copy()
        numbers = np.bincount(rows, minlength=self.free.shape[1])
        self.free += self._table.widened(used)[:, None] * numbers
        self._touched.extend(np.flatnonzero(numbers).tolist())

    def _add(self, packing: Packing, leader: IntArray, worker: IntArray, sign: int) -> None:
        rows, numbers = np.unique(packing.worker_rows, return_counts=True)
        workers = sign * self._table.widened(worker)[:, None] * numbers
        if not self._touched:
            self.free = self._table.free.copy()
        self.free[:, packing.leader_row] += sign * self._table.widened(leader)
        self.free[:, rows] += workers
        self._touched.append(packing.leader_row)
        self._touched.extend(rows.tolist())

    def rooms(self, vector: IntArray, terms: PlacementTerms) -> tuple[IntArray, int]:
        """As NodeTable.rooms, on what is left here. Valid until more is taken."""
        table = self._table
        if not self._touched:
            return table.rooms(vector, terms)
        key = (vector.tobytes(), terms)
        left = self._left.get(key)
        if left is None or left.version != table.version:
            room, total = table.rooms(vector, terms)
            left = self._left[key] = _Left(room.copy(), total, table.version)
        if left.seen < len(self._touched):
            touched = set(self._touched[left.seen :])
            rows = np.fromiter(touched, dtype=np.intp, count=len(touched))
            fresh = np.minimum(room_for(self.free[:, rows], vector), ROOM_LIMIT)
            fresh[~table.eligible(terms)[rows]] = 0
            left.total += int(fresh.sum()) - int(left.room[rows].sum())
            left.room[rows] = fresh
            left.seen = len(self._touched)
        return left.room, left.total

    def preferred(self, terms: PlacementTerms, priority: LabelPriority | None) -> Rows:
        """As `preferred`: of the table, whatever was taken here."""
        if self._orders_version != self._table.version:
            self._orders.clear()
            self._orders_version = self._table.version
        rows = self._orders.get((terms, priority))
        if rows is None:
            rows = self._orders[terms, priority] = preferred(self._table, terms, priority)
        return rows


def preferred(table: NodeTable, terms: PlacementTerms, priority: LabelPriority | None) -> Rows:
    """Eligible rows in order of preference: fullest zone, fullest node, name; cost; then the label priority.

    Like the archived Palantir extender, zones are compared by the free room of all nodes that match
    selector and affinity, usable now or not, and the order is not recomputed between the gangs of a pass.
    """
    rows = zone_ordered(
        table.order(),
        table.eligible(terms),
        table.matching(terms),
        table.zone,
        table.free[_MEMORY],
        table.free[_CPU],
        len(table.zones),
    )
    if table.cost is not None:
        rows = by_cost(rows, table.cost())
    if priority is not None:
        rows = by_label_priority(rows, table.label_ranks(priority.label, priority.values))
    return rows
