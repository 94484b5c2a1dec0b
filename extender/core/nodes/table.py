"""NodeTable: the cluster as columns, one row a node.

Arrays are int64[n_resources, n_rows] (resource-major: feasibility reads one resource of all nodes at
a time). `used` is what bound, unfinished pods request; `reserved` is room promised to pods that are not
bound yet; `free = allocatable - used - reserved` is kept up to date with every change. A row outlives its
node while pods are still accounted on it; such a row is not alive and offers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from extender.core.aging import AgingCache
from extender.core.facts import NodeFacts
from extender.core.nodes.arrays import BoolArray, IntArray, Rows
from extender.core.nodes.classes import TaintClasses
from extender.core.nodes.fit_counts import RoomCache
from extender.core.nodes.labels import LabelColumns
from extender.core.nodes.order import FreeOrder
from extender.core.nodes.resources import BASE_COLUMNS, CPU, MEMORY, NOT_OFFERED, Resources, one_pod
from extender.core.nodes.terms import PlacementTerms

ZONE_LABELS = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
NO_ZONE = "default"
WATTS_LABEL = "carbon-scheduler/watts-per-core"
"""Label with the power of one busy core in watts (idle share included); absent or unreadable: not known."""
_MOST_WATTS = 10_000.0
_AMOUNTS = ("allocatable", "used", "reserved", "free", "daemons")
_PER_NODE = ("zone", "class_of", "carbon_zone", "milliwatts_per_core")

_MOST_MASK_BYTES = 64 << 20
_MOST_AMOUNTS = 1 << 20
"""Amounts in the vectors of requests that are kept: pods may request as many resources as they like."""

FloatArray = NDArray[np.float64]


class _Vectors(NamedTuple):
    """A pod's request as the two vectors that are made of it, and how many amounts it had."""

    needed: IntArray
    accountable: IntArray
    amounts: int


class NodeTable:
    """All nodes, what they offer, what is used and reserved on them, and who may use them.

    `carbon_zone` are numbers of `carbon_zones` (0: none), `milliwatts_per_core` 0 where not known. `cost`
    gives float64[n_rows], added to the place of a node in the order of preference; `zone_cost` float64 by
    carbon zone, by which a gang is tried in one after the other. None changes nothing.

    Columns exist for what nodes offer and for nothing else, so that no pod can make the table wider.
    `columns_epoch` counts the changes of columns: amounts of pods that were seen before are then counted
    again (`State.recount`).
    """

    def __init__(self, carbon_zone_of: Callable[[Mapping[str, str]], str] = lambda _: "") -> None:
        self._carbon_zone_of = carbon_zone_of
        self.columns: list[str] = list(BASE_COLUMNS)
        self.names: list[str] = []
        self.row_of: dict[str, int] = {}
        self.facts: list[NodeFacts | None] = []
        self.allocatable: IntArray = np.zeros((len(self.columns), 0), dtype=np.int64)
        self.used: IntArray = self.allocatable.copy()
        self.reserved: IntArray = self.allocatable.copy()
        self.free: IntArray = self.allocatable.copy()
        self.daemons: IntArray = self.allocatable.copy()
        self.zone: IntArray = np.zeros(0, dtype=np.int64)
        self.zones: list[str] = []
        self.class_of: IntArray = np.zeros(0, dtype=np.int64)
        self.classes = TaintClasses()
        self.carbon_zone: IntArray = np.zeros(0, dtype=np.int64)
        self.carbon_zones: list[str] = [""]
        self.milliwatts_per_core: IntArray = np.zeros(0, dtype=np.int64)
        self.cost: Callable[[], FloatArray] | None = None
        self.zone_cost: Callable[[], FloatArray] | None = None
        self.version = 0
        self.rows_epoch = 0
        self.capacity_gains = 0
        self.capacity_losses = 0
        self.columns_epoch = 0
        self._zone_numbers: dict[str, int] = {}
        self._column_numbers = {name: number for number, name in enumerate(self.columns)}
        self._labels = LabelColumns(self.facts)
        self._masks: AgingCache[tuple[PlacementTerms, bool], BoolArray] = AgingCache(
            _MOST_MASK_BYTES, lambda mask: mask.nbytes
        )
        self._vectors: AgingCache[frozenset[tuple[str, int]], _Vectors] = AgingCache(
            _MOST_AMOUNTS, lambda vectors: vectors.amounts
        )
        self._label_ranks: dict[tuple[str, tuple[str, ...]], IntArray] = {}
        self._order: FreeOrder | None = None
        self._capacity: tuple[tuple[int, int, int], IntArray] | None = None
        self._rooms = RoomCache()
        self._dead = 0

    # -- rows ------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.names) - self._dead

    def upsert(self, node: NodeFacts) -> bool:
        """Add or change a node. Returns whether anything that matters changed."""
        row = self.row(node.name)
        before = self.facts[row]
        if before == node:
            return False
        self._add_columns(node.allocatable)
        if before is None:
            self._dead -= 1
        self.facts[row] = node
        allocatable = self._spread(node.allocatable)
        if not np.array_equal(allocatable, self.allocatable[:, row]):
            self.capacity_gains += bool((allocatable > self.allocatable[:, row]).any())
            self.capacity_losses += bool((allocatable < self.allocatable[:, row]).any())
            self.allocatable[:, row] = allocatable
            self._recount(row)
        self._classify(row, node, before)
        return True

    def remove(self, name: str) -> None:
        """Forget a node; pods still accounted on it keep their row until they go."""
        row = self.row_of.get(name)
        if row is None or self.facts[row] is None:
            return
        self.facts[row] = None
        self._dead += 1
        self.allocatable[:, row] = 0
        self.classes.leave(int(self.class_of[row]))
        self.class_of[row] = -1
        self._labels.changed(row)
        self.capacity_losses += 1
        self._masks.clear()
        self._label_ranks.clear()
        self._recount(row)

    def row(self, name: str) -> int:
        """Row of a node; a node that was never seen gets a row that is not alive."""
        row = self.row_of.get(name)
        return self._new_row(name) if row is None else row

    def carbon_zone_of(self, node: str) -> str:
        """Carbon zone of a node; empty when it has none or is not known."""
        row = self.row_of.get(node, -1)
        return self.carbon_zones[int(self.carbon_zone[row])] if row >= 0 else ""

    def alive(self, row: int) -> bool:
        """Whether the row's node exists."""
        return self.facts[row] is not None

    def mask(self, names: Sequence[str]) -> BoolArray:
        """bool[n_rows]: the nodes of these names that exist. Unknown and repeated names do no harm."""
        mask = np.zeros(len(self.names) + 1, dtype=np.bool_)
        mask[self.rows(names)] = True
        mask = mask[:-1]
        mask &= self.class_of >= 0
        return mask

    def rows(self, names: Sequence[str]) -> Rows:
        """Row of each name, -1 for a name that was never seen."""
        return np.fromiter(map(self.row_of.get, names, repeat(-1)), dtype=np.intp, count=len(names))

    # -- amounts ---------------------------------------------------------------------------------

    def vector(self, requests: Resources) -> IntArray:
        """What one pod with these requests needs, its pod slot included: int64[n_resources]. Do not modify.

        A pod that requests something no node offers needs NOT_OFFERED, which fits nowhere.
        """
        return self._vectors_of(requests).needed

    def accountable(self, requests: Resources) -> IntArray:
        """The same, of what nodes offer only: what a pod uses, or what is reserved for it, on its node.

        Amounts of the resources that no node offers cannot be overdrawn. They are counted as soon as a node
        offers the resource (`columns_epoch`). Do not modify.
        """
        return self._vectors_of(requests).accountable

    def amounts(self, resources: Resources) -> IntArray:
        """int64[n_resources] of these amounts, without a pod slot. Every resource must have a column."""
        return self._spread(resources)

    def uncounted(self, requests: Resources) -> dict[str, int]:
        """The part of `requests` for which there is no column, so that `accountable` leaves it out."""
        return {
            name: amount for name, amount in requests.items() if amount and name not in self._column_numbers
        }

    def not_offered(self, requests: Resources) -> list[str]:
        """Resources that are requested and that no node offers, by name."""
        return sorted(
            name
            for name, amount in requests.items()
            if amount
            and ((number := self._column_numbers.get(name)) is None or not self.allocatable[number].any())
        )

    def _vectors_of(self, requests: Resources) -> _Vectors:
        key = frozenset(requests.items())
        known = self._vectors.get(key)
        if known is None:
            pod = one_pod(requests)
            there = {name: amount for name, amount in pod.items() if name in self._column_numbers}
            accountable = needed = self._spread(there)
            if len(there) < len(pod):
                needed = self._spread(there | {NOT_OFFERED: 1})
                needed.flags.writeable = False
            accountable.flags.writeable = False
            known = _Vectors(needed, accountable, len(pod))
            self._vectors.put(key, known)
        return known

    def widened(self, vector: IntArray) -> IntArray:
        """The vector with a zero for every column that was added after it was made."""
        missing = len(self.columns) - len(vector)
        return vector if not missing else np.concatenate([vector, np.zeros(missing, dtype=np.int64)])

    def use(self, row: int, vector: IntArray, sign: int = 1) -> None:
        """Account (or with sign -1 release) a bound pod."""
        self._change(self.used, row, vector, sign)

    def reserve(self, row: int, vector: IntArray) -> None:
        """Keep room for a pod that is not bound yet."""
        self._change(self.reserved, row, vector, 1)

    def release(self, row: int, vector: IntArray) -> None:
        """Give reserved room back."""
        self._change(self.reserved, row, vector, -1)

    def turn_reserved_into_used(self, row: int, reserved: IntArray, used: IntArray) -> None:
        """A pod whose room was reserved is bound. If it has that size, nothing becomes free or taken."""
        reserved, used = self.widened(reserved), self.widened(used)
        self.reserved[:, row] -= reserved
        self.used[:, row] += used
        if not np.array_equal(reserved, used):
            self.free[:, row] += reserved - used
            self._touch(row)

    def use_for_good(self, row: int, vector: IntArray, sign: int = 1) -> None:
        """Account (or with sign -1 release) a daemon's share of what is used: gangs will never have it."""
        self.daemons[:, row] += sign * self.widened(vector)
        self.capacity_losses += sign > 0
        self.capacity_gains += sign < 0

    @property
    def capacity_epoch(self) -> int:
        """Grows with every change of what nodes offer when they run nothing but daemons, and to whom.

        `capacity_gains` and `capacity_losses` say which way: what fits an empty cluster fits after a gain.
        """
        return self.capacity_gains + self.capacity_losses

    def replace_accounts(self, used: IntArray, reserved: IntArray, daemons: IntArray) -> None:
        """Take these amounts (int64[n_resources, n_rows] each) for what was accounted: a recount."""
        self.used[:], self.reserved[:], self.daemons[:] = used, reserved, daemons
        self.free[:] = self.allocatable - used - reserved
        self.capacity_gains += 1
        self.capacity_losses += 1
        self.version += 1
        self._order = None
        self._rooms.forget()

    def capacity(self) -> IntArray:
        """int64[n_resources, n_rows]: what nodes offer when they run nothing but daemons. Do not modify."""
        state = (self.capacity_epoch, self.columns_epoch, len(self.names))
        if self._capacity is None or self._capacity[0] != state:
            self._capacity = (state, self.allocatable - self.daemons)
        return self._capacity[1]

    def lost(self, name: str) -> bool:
        """Whether a node is gone or does not answer: nobody knows when pods on it will end."""
        row = self.row_of.get(name)
        facts = self.facts[row] if row is not None else None
        return facts is None or not facts.ready

    # -- who may use what ------------------------------------------------------------------------

    def eligible(self, terms: PlacementTerms) -> BoolArray:
        """bool[n_rows]: nodes that are ready, not cordoned, and accept these terms. Do not modify."""
        return self._mask(terms, open_only=True)

    def matching(self, terms: PlacementTerms) -> BoolArray:
        """bool[n_rows]: nodes that match selector and affinity, usable now or not. Do not modify."""
        return self._mask(terms, open_only=False)

    def _mask(self, terms: PlacementTerms, *, open_only: bool) -> BoolArray:
        mask = self._masks.get((terms, open_only))
        if mask is None:
            if open_only:
                mask = self._mask(terms, open_only=False) & self.classes.usable(terms, self.class_of)
            else:
                mask = self._labels.matching(terms) & (self.class_of >= 0)
            self._masks.put((terms, open_only), mask)
        return mask

    def rooms(self, vector: IntArray, terms: PlacementTerms) -> tuple[IntArray, int]:
        """Pods of this size that fit each eligible node now (int64[n_rows]), and their total.

        Kept per (size, terms) and refreshed only in rows that changed, so that asking again costs
        microseconds. Do not modify.
        """
        return self._rooms.get(self.widened(vector), terms, self.eligible, self.free)

    def order(self) -> Rows:
        """All rows by free memory, free cpu, name, ascending: the fullest node first."""
        if self._order is None:
            self._order = FreeOrder(self.names)
        return self._order.rows(self.free[self._column_numbers[MEMORY]], self.free[self._column_numbers[CPU]])

    def label_ranks(self, label: str, values: tuple[str, ...]) -> IntArray:
        """int64[n_rows]: position of each node's label value in `values`; unknown or absent: last."""
        key = (label, values)
        ranks = self._label_ranks.get(key)
        if ranks is None:
            position = {value: rank for rank, value in enumerate(values)}
            last = len(values)
            ranks = np.fromiter(
                (
                    last if node is None else position.get(node.labels.get(label, ""), last)
                    for node in self.facts
                ),
                dtype=np.int64,
                count=len(self.facts),
            )
            self._label_ranks[key] = ranks
        return ranks

    def overcommitted(self) -> list[str]:
        """Names of nodes on which more is used and reserved than they offer, in any resource."""
        rows = np.flatnonzero((self.free < 0).any(axis=0) & (self.class_of >= 0))
        return [self.names[row] for row in rows]

    # -- inside ----------------------------------------------------------------------------------

    def _change(self, column: IntArray, row: int, vector: IntArray, sign: int) -> None:
        vector = self.widened(vector)
        if sign > 0:
            column[:, row] += vector
            self.free[:, row] -= vector
        else:
            column[:, row] -= vector
            self.free[:, row] += vector
        self._touch(row)

    def _recount(self, row: int) -> None:
        self.free[:, row] = self.allocatable[:, row] - self.used[:, row] - self.reserved[:, row]
        self._touch(row)

    def _touch(self, row: int) -> None:
        self.version += 1
        if self._order is not None:
            self._order.touch((row,))
        self._rooms.touch(row)

    def _spread(self, resources: Resources) -> IntArray:
        vector = np.zeros(len(self.columns), dtype=np.int64)
        for name, amount in resources.items():
            vector[self._column_numbers[name]] = amount
        return vector

    def _add_columns(self, names: Collection[str]) -> None:
        """Columns for what a node offers: those that stand idle are taken before the arrays grow."""
        new = [name for name in names if name not in self._column_numbers]
        if not new:
            return
        for number in self._idle_columns():
            if not new:
                break
            if self.columns[number] in names:
                continue  # idle until now: this node offers it
            del self._column_numbers[self.columns[number]]
            self.columns[number] = new.pop(0)
            self._column_numbers[self.columns[number]] = number
        for name in new:
            self._column_numbers[name] = len(self.columns)
            self.columns.append(name)
        if new:
            for array in _AMOUNTS:
                old: IntArray = getattr(self, array)
                setattr(self, array, np.vstack([old, np.zeros((len(new), old.shape[1]), dtype=np.int64)]))
        self._vectors.clear()
        self._rooms.forget()
        self.version += 1
        self.columns_epoch += 1

    def _idle_columns(self) -> list[int]:
        """Columns of extended resources that no node offers any more and of which nothing is counted."""
        busy = np.zeros(len(self.columns), dtype=np.bool_)
        for array in (self.allocatable, self.used, self.reserved, self.daemons):
            busy |= array.any(axis=1)
        busy[: len(BASE_COLUMNS)] = True
        return np.flatnonzero(~busy).tolist()

    def _new_row(self, name: str) -> int:
        row = self._recycle()
        if row is None:
            row = len(self.names)
            self.names.append(name)
            self.facts.append(None)
            if row >= self._storage():
                self._grow(max(64, 2 * row))
            self._show(row + 1)
        else:
            del self.row_of[self.names[row]]
            self.names[row] = name
        self.row_of[name] = row
        self.class_of[row] = -1
        self._labels.changed(row)
        self._dead += 1
        self.rows_epoch += 1
        self._masks.clear()
        self._label_ranks.clear()
        self._rooms.touch(row)
        self._order = None
        self.version += 1
        return row

    def _recycle(self) -> int | None:
        """A row whose node is gone and on which nothing is accounted any more."""
        if self._dead < 64 or self._dead < len(self.names) // 8:
            return None
        idle = (self.class_of < 0) & ~self.used.any(axis=0) & ~self.reserved.any(axis=0)
        rows = np.flatnonzero(idle)
        for row in rows:
            if self.facts[row] is None:
                self._dead -= 1
                return int(row)
        return None

    # Arrays are views of larger buffers, so that adding 5,000 nodes does not copy 5,000 times.
    def _storage(self) -> int:
        base = self.zone.base
        return len(self.zone) if base is None else len(base)

    def _grow(self, size: int) -> None:
        rows = len(self.zone)
        for array in _AMOUNTS:
            old: IntArray = getattr(self, array)
            buffer = np.zeros((len(self.columns), size), dtype=np.int64)
            buffer[:, :rows] = old
            setattr(self, array, buffer[:, :rows])
        for array in _PER_NODE:
            old = getattr(self, array)
            buffer = np.zeros(size, dtype=np.int64)
            buffer[:rows] = old
            setattr(self, array, buffer[:rows])

    def _show(self, rows: int) -> None:
        for array in _AMOUNTS:
            view: IntArray = getattr(self, array)
            base = view.base
            if base is None or base.shape[0] != len(self.columns) or base.shape[1] < rows:
                base = np.zeros((len(self.columns), max(64, 2 * rows)), dtype=np.int64)
                base[:, : view.shape[1]] = view
            setattr(self, array, base[:, :rows])
        for array in _PER_NODE:
            setattr(self, array, getattr(self, array).base[:rows])

    def _classify(self, row: int, node: NodeFacts, before: NodeFacts | None) -> None:
        if (
            before is not None
            and before.labels == node.labels
            and before.taints == node.taints
            and before.unschedulable == node.unschedulable
            and before.ready == node.ready
        ):
            return
        if self.class_of[row] >= 0:
            self.classes.leave(int(self.class_of[row]))
        self.class_of[row] = self.classes.join(node)
        self._labels.changed(row)
        zone = next((node.labels[key] for key in ZONE_LABELS if key in node.labels), NO_ZONE)
        number = self._zone_numbers.setdefault(zone, len(self.zones))
        if number == len(self.zones):
            self.zones.append(zone)
        self.zone[row] = number
        carbon_zone = self._carbon_zone_of(node.labels)
        if carbon_zone not in self.carbon_zones:
            self.carbon_zones.append(carbon_zone)
        self.carbon_zone[row] = self.carbon_zones.index(carbon_zone)
        self.milliwatts_per_core[row] = _milliwatts(node.labels.get(WATTS_LABEL, ""))
        self.version += 1
        self.capacity_gains += 1
        self.capacity_losses += before is not None
        self._masks.clear()
        self._label_ranks.clear()
        self._rooms.touch(row)


def _milliwatts(text: str) -> int:
    """Watts of a label as milliwatts; 0 when they are not known."""
    try:
        watts = float(text)
    except ValueError:
        return 0
    return round(watts * 1000) if 0 < watts <= _MOST_WATTS else 0
