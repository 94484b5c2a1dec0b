"""Whether a gang would fit if nothing but daemons ran: remembered by shape, as long as no change matters.

A gang that does not fit waits for room, or for nodes; this tells which of the two. Gangs alike have one
answer. What fits still fits after nodes gain capacity, and what does not fit still does not after they lose
some, so a node that joins costs only the gangs that are too large. Only feasibility is judged, no placement
is made.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from extender.core.aging import AgingCache
from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms
from extender.core.policy import Policy
from extender.core.queue.packing import Problem, feasible

_MOST_ANSWERS: Final = 16_384


class Shape(NamedTuple):
    """Everything that decides whether a gang fits."""

    leader: frozenset[tuple[str, int]]
    leader_terms: PlacementTerms
    worker: frozenset[tuple[str, int]]
    worker_terms: PlacementTerms
    min_workers: int
    packer: str
    pool: str


def shape_of(leader: PodFacts, spec: GangSpec, pool: str) -> Shape:
    """The shape of a gang."""
    return Shape(
        frozenset(leader.requests.items()),
        leader.terms,
        frozenset(spec.worker.items()),
        spec.worker_terms,
        spec.min_workers,
        spec.packer,
        pool,
    )


class _Answer(NamedTuple):
    """Whether a shape fits, and how often capacity had been lost (if it fits) or gained (if not) by then."""

    fits: bool
    changes: int


class EmptyCluster:
    """Answers for the nodes of a table as they would be with nothing but daemons on them."""

    def __init__(self, table: NodeTable, policy: Policy) -> None:
        self._table = table
        self._policy = policy
        self._answers: AgingCache[Shape, _Answer] = AgingCache(_MOST_ANSWERS)

    def fits(self, leader: PodFacts, spec: GangSpec, pool: str) -> bool:
        """Whether the gang could be placed."""
        shape = shape_of(leader, spec, pool)
        known = self._answers.get(shape)
        if known is None or known.changes != self._changes(known.fits):
            fits = self._judge(leader, spec, pool)
            known = _Answer(fits, self._changes(fits))
            self._answers.put(shape, known)
        return known.fits

    def _changes(self, fits: bool) -> int:
        return self._table.capacity_losses if fits else self._table.capacity_gains

    def _judge(self, leader: PodFacts, spec: GangSpec, pool: str) -> bool:
        table = self._table
        capacity, worker = table.capacity(), table.vector(spec.worker)
        problem = Problem(
            free=capacity,
            leader=table.vector(leader.requests),
            worker=worker,
            count=spec.min_workers,
            leader_rows=np.flatnonzero(table.eligible(leader.terms)),
            worker_rows=np.flatnonzero(table.eligible(spec.worker_terms)),
            zone=table.zone,
            capacity=table.allocatable,
            room=np.minimum(room_for(capacity, worker), ROOM_LIMIT),
        )
        return feasible(spec.packer or self._policy.packer_for(pool), problem)
