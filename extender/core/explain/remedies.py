"""Changes that would let a waiting gang start now, each tried on a copy of the free room.

A change is listed only if the queue pass finds a placement with it: there is no advice by rule of thumb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

import numpy as np

from extender.core.gangs.spec import GangSpec
from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms, Toleration
from extender.core.policy import FifoMode, Policy
from extender.core.queue.packing import SINGLE_ZONE, Problem, feasible
from extender.core.queue.queue_pass import QueuePass, Waiting
from extender.core.queue.too_large import amount

MOST: Final = 3
_MOST_NODES: Final = 1_000
_STEPS: Final = {CPU: 500, MEMORY: 256 << 20}
_PACKER_WITHOUT_ZONE: Final = "tightly-pack"


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, and what it gives. `by` says who can make it: `user` (the application) or `operator`."""

    change: str
    gives: str
    by: str


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Obstacles to a start beside the want of room: a hold, and the gang before it in its pool."""

    held: bool
    before: Waiting | None
    at_once: str = "it starts now"


class Trial:
    """Tries changes of one waiting gang on a pass that nothing is decided from."""

    def __init__(self, table: NodeTable, policy: Policy, on: QueuePass, entry: Waiting) -> None:
        assert isinstance(entry.spec, GangSpec)
        self._table = table
        self._policy = policy
        self._pass = on
        self._entry = entry
        self._spec = entry.spec
        self.fits_now = on.suppose(entry) is not None

    def remedies(self, obstacles: Obstacles, most: int = MOST) -> tuple[Remedy, ...]:
        """The first `most` changes that help, those that the application's owner can make first."""
        return tuple(islice(self._all(obstacles), most))

    def _all(self, obstacles: Obstacles) -> Iterator[Remedy]:
        if obstacles.held:
            if self.fits_now:
                change = "set carbon-scheduler/carbon-policy: none on the driver"
                yield Remedy(change, obstacles.at_once, "user")
            return
        if obstacles.before is not None:
            yield from self._past(obstacles.before)
        else:
            yield from self._smaller()
            if self._first():
                yield Remedy("give the driver a higher priority (priorityClassName)", "it starts now", "user")
        yield from self._more_nodes(obstacles.before)

    # -- what the owner of the application can change ------------------------------------------------

    def _smaller(self) -> Iterator[Remedy]:
        spec = self._spec
        yield from self._elsewhere()
        fewer = _most_that(1, spec.min_workers - 1, lambda number: self._fits(min_workers=number))
        if fewer:
            change = f"ask for {fewer} instead of {spec.min_workers} executors as the minimum"
            yield Remedy(change, f"it starts now with {fewer} executors", "user")
        for resource, step in _STEPS.items():
            asked = spec.worker.get(resource, 0)
            steps = _most_that(1, (asked - 1) // step, partial(self._fits_sized, resource))
            if steps:
                less = amount(resource, steps * step)
                change = f"ask for {less} instead of {amount(resource, asked)} of {resource} an executor"
                yield Remedy(change, f"it starts now with all {spec.min_workers} executors", "user")

    def _fits_sized(self, resource: str, steps: int) -> bool:
        return self._fits(worker={**self._spec.worker, resource: steps * _STEPS[resource]})

    def _elsewhere(self) -> Iterator[Remedy]:
        """Terms and packers that exclude nodes with room."""
        entry, spec = self._entry, self._spec
        everywhere = [
            replace(each, node_selector=(), affinity=None) for each in (entry.leader.terms, spec.worker_terms)
        ]
        if everywhere != [entry.leader.terms, spec.worker_terms] and self._fits(*everywhere):
            names = _named(spec.worker_terms) or _named(entry.leader.terms)
            yield Remedy(f"remove {names}", "it starts now on the nodes that this excludes", "user")
        tolerant = [
            replace(each, tolerations=(Toleration(operator="Exists"),))
            for each in (entry.leader.terms, spec.worker_terms)
        ]
        if self._fits(*tolerant):
            yield Remedy("tolerate the taints of the nodes with room", "it starts now on them", "user")
        packer = spec.packer or self._policy.packer_for(entry.pool)
        if packer in SINGLE_ZONE and self._fits(packer=_PACKER_WITHOUT_ZONE):
            change = f"set carbon-scheduler/packer: {_PACKER_WITHOUT_ZONE} instead of {packer}"
            yield Remedy(change, "it starts now over several zones", "user")

    def _past(self, before: Waiting) -> Iterator[Remedy]:
        """Ways past the gang before it."""
        if self._first():
            change = f"give the driver a priority above {before.leader.priority}, which {before.key} has"
            yield Remedy(change, "it starts now, before the gang that waits", "user")
        if self.fits_now and self._policy.fifo_for(self._entry.pool) is not FifoMode.BACKFILL:
            pool = self._entry.pool or "the default pool"
            gives = "it starts now beside the gang that waits"
            yield Remedy(f"run {pool} with queue order `backfill`", gives, "operator")
        if isinstance(before.spec, GangSpec):
            other = Trial(self._table, self._policy, self._pass, before)
            for each in islice(other._smaller(), 1):
                yield replace(each, change=f"{before.key}: {each.change}", gives=f"{before.key} starts now")

    def _first(self) -> bool:
        return self._pass.suppose(self._entry, first=True) is not None

    def _fits(
        self,
        leader_terms: PlacementTerms | None = None,
        worker_terms: PlacementTerms | None = None,
        **spec: object,
    ) -> bool:
        entry = self._entry
        changed: GangSpec = replace(self._spec, **spec)  # type: ignore[arg-type]
        if worker_terms is not None:
            changed = replace(changed, worker_terms=worker_terms)
        leader = entry.leader if leader_terms is None else replace(entry.leader, terms=leader_terms)
        return self._pass.suppose(replace(entry, leader=leader, spec=changed)) is not None

    # -- what the operator of the cluster can change -------------------------------------------------

    def _more_nodes(self, before: Waiting | None) -> Iterator[Remedy]:
        """How many more nodes like the largest one that it may use, empty but for daemons, give it room."""
        entry = before if before is not None and isinstance(before.spec, GangSpec) else self._entry
        found = more_nodes(self._table, self._policy, entry)
        if found is not None:
            name, number = found
            size = self._table.facts[self._table.row_of[name]]
            assert size is not None
            offers = f"{amount(CPU, size.allocatable.get(CPU, 0))} CPU"
            who = "it starts" if entry is self._entry else f"{entry.key}, which is before it, starts"
            nodes = "1 node" if number == 1 else f"{number} nodes"
            yield Remedy(f"add {nodes} like {name} ({offers})", f"{who} when they are ready", "operator")


def more_nodes(table: NodeTable, policy: Policy, entry: Waiting) -> tuple[str, int] | None:
    """The node to add more of, and how many: empty nodes beside what is free now. None where none helps."""
    spec, leader = entry.spec, entry.leader
    assert isinstance(spec, GangSpec)
    capacity = table.capacity()
    worker = table.widened(table.vector(spec.worker))
    size = table.widened(table.vector(leader.requests))
    rows = np.flatnonzero(table.eligible(spec.worker_terms) & table.eligible(leader.terms))
    if not len(rows):
        return None
    model = int(rows[int(np.argmax(np.minimum(room_for(capacity[:, rows], worker), ROOM_LIMIT)))])

    def enough(number: int) -> bool:
        added = np.repeat(capacity[:, model : model + 1], number, axis=1)
        free = np.concatenate([np.maximum(table.free, 0), added], axis=1)
        new = np.arange(len(table.names), len(table.names) + number)
        problem = Problem(
            free=free,
            leader=size,
            worker=worker,
            count=spec.min_workers,
            leader_rows=np.concatenate([np.flatnonzero(table.eligible(leader.terms)), new]),
            worker_rows=np.concatenate([np.flatnonzero(table.eligible(spec.worker_terms)), new]),
            zone=np.concatenate([table.zone, np.repeat(table.zone[model], number)]),
            capacity=np.concatenate([table.allocatable, added], axis=1),
            room=np.minimum(room_for(free, worker), ROOM_LIMIT),
        )
        return feasible(spec.packer or policy.packer_for(entry.pool), problem)

    if not enough(_MOST_NODES):
        return None
    low, high = 0, _MOST_NODES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return table.names[model], high


def _most_that(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The largest number low..high for which something holds that holds for all smaller ones; 0 if none."""
    if high < low or not holds(low):
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def _named(terms: PlacementTerms) -> str:
    """Selector and affinity for people."""
    parts = [f"{key}={value}" for key, value in terms.node_selector]
    texts = [f"the node selector {', '.join(parts)}"] if parts else []
    keys = sorted({each.key for term in terms.affinity or () for each in (*term.expressions, *term.fields)})
    if keys:
        texts.append(f"the node affinity for {', '.join(keys)}")
    return " and ".join(texts)
