"""The queue pass: waiting gangs planned together, oldest first, on one copy of the free amounts.

A pass is lazy (a gang is judged when somebody asks, together with the gangs before it) and is kept
until the state it was made from changes, so that a repeated refusal is a dictionary lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import numpy as np

from extender.core.carbon.entitlement import Entitlements
from extender.core.carbon.start.hold import Hold
from extender.core.facts import GangKey, PodFacts
from extender.core.faults import Faults, Subject
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes.arrays import BoolArray, Rows
from extender.core.nodes.resources import largest
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms
from extender.core.nominations import Nominations
from extender.core.offers import Offered
from extender.core.outcomes import Outcome, no_node_offers
from extender.core.policy import FifoMode, Policy
from extender.core.queue.empty_cluster import EmptyCluster, Shape, shape_of
from extender.core.queue.packing import Packer, Packing, Problem, packer_named
from extender.core.queue.too_large import why_too_large
from extender.core.queue.workspace import Workspace

_V = TypeVar("_V")
_ANYWHERE: Final[frozenset[int]] = frozenset()


def rank_of(pod: PodFacts) -> tuple[float, float, str]:
    """Place in a queue: priority (higher first), creation time, uid."""
    return (-pod.priority, pod.created_s, pod.uid)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A gang in the queue: its leader, what it asks for (or why that is not known), its pool."""

    key: GangKey
    leader: PodFacts
    spec: GangSpec | SpecProblem
    pool: str

    @property
    def rank(self) -> tuple[float, float, str]:
        """Priority (higher first), creation time, uid."""
        return rank_of(self.leader)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Plan or refusal of a waiting gang. `blocker` is the earlier gang it waits for.

    `any_nodes` says that a refusal does not depend on which nodes were offered for the leader;
    `offered` are the nodes it was judged on (None: all).
    """

    outcome: Outcome
    packing: Packing | None = None
    detail: str = ""
    blocker: GangKey | None = None
    any_nodes: bool = True
    offered: BoolArray | None = None

    def holds_for(self, offered: Offered) -> bool:
        """Whether the verdict is the same when these nodes are offered."""
        if self.packing is not None:
            return offered.has(self.packing.leader_row)
        return self.any_nodes or (self.offered is not None and np.array_equal(self.offered, offered.mask))


_NOT_JUDGED: Final = Verdict(Outcome.INTERNAL_ERROR)


def pool_of(terms: PlacementTerms, label: str) -> str:
    """The pool a pod is bound to: the one value its affinity or node selector requires for `label`."""
    for term in terms.affinity or ():
        for requirement in term.expressions:
            if requirement.key == label and requirement.operator == "In" and len(requirement.values) == 1:
                return requirement.values[0]
    return dict(terms.node_selector).get(label, "")


def plan(
    table: NodeTable,
    policy: Policy,
    waiting: Waiting,
    offered: BoolArray | None,
    space: Workspace,
    within: frozenset[int] = _ANYWHERE,
) -> tuple[Packing | None, bool]:
    """Place one gang; also tells whether a refusal holds whatever nodes are offered for the leader.

    `within` are numbers of the carbon zones to stay in (empty: all). A leader that cannot run in any of them
    may run elsewhere: its workers are what draws power.
    """
    spec = waiting.spec
    assert isinstance(spec, GangSpec)
    leader, terms = table.vector(waiting.leader.requests), waiting.leader.terms
    worker = table.vector(spec.worker)
    leader = table.widened(leader)
    room, total = space.rooms(worker, spec.worker_terms)
    if total < spec.min_workers:
        return None, True
    _, leader_total = space.rooms(leader, terms)
    if leader_total < 1:
        return None, True
    worker_rows = space.preferred(spec.worker_terms, policy.worker_label_priority)
    leader_rows = space.preferred(terms, policy.leader_label_priority)
    if within:
        worker_rows = in_zones(table, worker_rows, within)
        kept = in_zones(table, leader_rows, within)
        leader_rows = kept if len(kept) or not spec.min_workers else leader_rows
    if offered is not None:
        leader_rows = leader_rows[offered[leader_rows]]
    packer = packer_named(spec.packer or policy.packer_for(waiting.pool))
    problem = Problem(
        free=space.free,
        leader=leader,
        worker=worker,
        count=spec.min_workers,
        leader_rows=leader_rows,
        worker_rows=worker_rows,
        zone=table.zone,
        capacity=table.allocatable,
        room=room,
    )
    packing = cleanest_zone(table, packer, problem)
    return (packer(problem) if packing is None else packing), offered is None


def in_zones(table: NodeTable, rows: Rows, zones: Iterable[int]) -> Rows:
    """Those of `rows` that lie in these carbon zones."""
    wanted = np.zeros(len(table.carbon_zones), dtype=np.bool_)
    wanted[list(zones)] = True
    return rows[wanted[table.carbon_zone[rows]]]


def cleanest_zone(table: NodeTable, packer: Packer, problem: Problem) -> Packing | None:
    """The gang within one carbon zone, the cleanest that holds it whole; None where no single one does.

    Only where carbon has a weight. Of equally clean zones the one whose nodes come first in the packer's
    order is tried first; where all are equal, as while nothing is known, the packer alone decides.
    """
    if table.zone_cost is None:
        return None
    costs = table.zone_cost()
    rows = problem.worker_rows if problem.count else problem.leader_rows
    zones, first = np.unique(table.carbon_zone[rows], return_index=True)
    if len(np.unique(costs[zones])) < 2:
        return None
    for zone in zones[np.lexsort((first, costs[zones]))].tolist():
        packing = packer(
            replace(
                problem,
                leader_rows=in_zones(table, problem.leader_rows, (zone,)),
                worker_rows=in_zones(table, problem.worker_rows, (zone,)),
            )
        )
        if packing is not None:
            return packing
    return None


def _held(hold: Hold) -> Verdict:
    """A gang that waits for carbon waits because it wants to: it does not hold up the gangs behind it."""
    return Verdict(Outcome.HELD_FOR_CARBON, detail=hold.detail)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a pass knew of a gang's pool, and how many shapes it had refused, before it judged the gang."""

    blocker: Waiting | None
    kept: frozenset[int] | None
    refused: int


def _restore(known: dict[str, _V], key: str, before: _V | None) -> None:
    if before is None:
        known.pop(key, None)
    else:
        known[key] = before


class QueuePass:
    """Verdicts of all waiting gangs for one state of the cluster.

    Room only shrinks in the course of a pass, so a gang like one that was refused is refused unseen. `now`
    moves on while the pass is kept: what was judged holds until `valid_until`, and what is judged later is
    judged by the time of then (a gang that joined may be younger than the pass).
    """

    def __init__(
        self,
        table: NodeTable,
        policy: Policy,
        queue: Sequence[Waiting],
        offered: Mapping[str, BoolArray],
        capacity: EmptyCluster,
        entitlements: Entitlements,
        faults: Faults,
        nominations: Nominations,
        there: Callable[[Waiting], int],
        now: float,
    ) -> None:
        self._table = table
        self._entitlements = entitlements
        self._faults = faults
        self._capacity = capacity
        self._policy = policy
        self._queue = list(queue)
        self._offered = dict(offered)
        self._nominations = nominations
        self._there = there
        self.now = now
        self._space = Workspace(table)
        self._blockers: dict[str, Waiting] = {}
        self._kept: dict[str, frozenset[int]] = {}
        self._refused: dict[tuple[Shape, frozenset[int]], Outcome] = {}
        self._next = 0
        self._marks: list[_Mark] = []
        self._admitted: set[str] = set()
        self._places = {waiting.leader.uid: place for place, waiting in enumerate(self._queue)}
        self.verdicts: dict[str, Verdict] = {}
        self.valid_until = float("inf")

    @property
    def queue(self) -> Sequence[Waiting]:
        """Waiting gangs in order."""
        return self._queue

    def judged(self, uid: str) -> Verdict | None:
        """The verdict on a leader, if it was judged already; judges nothing."""
        return self.verdicts.get(uid)

    def place(self, uid: str) -> int | None:
        """Position in the queue, from 0."""
        return self._places.get(uid)

    def last_rank(self) -> tuple[float, float, str] | None:
        """Rank of the youngest gang in the pass."""
        return self._queue[-1].rank if self._queue else None

    def append(self, waiting: Waiting) -> None:
        """A gang younger than all others joins: what is planned stays as it is."""
        self._places[waiting.leader.uid] = len(self._queue)
        self._queue.append(waiting)

    def change(self, waiting: Waiting) -> bool:
        """A gang asks for something else (its configuration came); whether the pass can go on with that."""
        place = self._places.get(waiting.leader.uid)
        if place is None or place < self._next or self._queue[place].rank != waiting.rank:
            return False
        self._queue[place] = waiting
        return True

    def blocker(self, pool: str) -> PodFacts | None:
        """The leader of the gang that younger ones of a pool must wait for, if there is one."""
        while pool not in self._blockers and self._next < len(self._queue):
            self.verdict(self._queue[self._next].leader.uid)
        waiting = self._blockers.get(pool)
        return waiting.leader if waiting is not None else None

    def verdict(self, uid: str) -> Verdict | None:
        """Plan or refusal for a leader; None when it is not in the queue."""
        place = self._places.get(uid)
        if place is None:
            return None
        while self._next <= place:
            waiting = self._queue[self._next]
            self._marks.append(
                _Mark(self._blockers.get(waiting.pool), self._kept.get(waiting.pool), len(self._refused))
            )
            self._next += 1
            if waiting.leader.uid not in self._admitted:
                self.verdicts[waiting.leader.uid] = self._guarded(waiting)
        return self.verdicts[uid]

    def admitted(self, uid: str) -> None:
        """A gang was admitted as planned: its room is taken for good, whatever is planned again."""
        self._admitted.add(uid)

    def verdict_on(self, uid: str, offered: BoolArray) -> Verdict | None:
        """Plan or refusal of a leader when exactly these nodes are offered for it.

        Gangs before it keep their plans; what was planned after it is planned again when somebody needs it.
        """
        self._offered[uid] = offered
        place = self._places.get(uid)
        if place is not None:
            self._go_back_to(place)
        return self.verdict(uid)

    def suppose(self, waiting: Waiting, *, first: bool = False) -> Packing | None:
        """Where a gang like this would be placed now instead of the one that its leader leads.

        It comes after the gangs before it, or (`first`) before all others. Nothing is taken, and neither the
        carbon policies nor the order of the pool are asked. Call it on a pass that nothing is decided from.
        """
        place = self._places.get(waiting.leader.uid, 0)
        while not first and self._next < place:
            self.verdict(self._queue[self._next].leader.uid)
        alone = first or self._policy.fifo_for(waiting.pool) is FifoMode.OFF
        space = Workspace(self._table) if alone else self._space
        return self._plan(waiting, None, space, _ANYWHERE)[0]

    def _go_back_to(self, place: int) -> None:
        """Take back what was judged from this place on, the latest first."""
        while self._next > place:
            self._next -= 1
            waiting, mark = self._queue[self._next], self._marks.pop()
            if waiting.leader.uid in self._admitted:
                continue
            verdict = self.verdicts.pop(waiting.leader.uid)
            if verdict.packing is not None and self._policy.fifo_for(waiting.pool) is not FifoMode.OFF:
                assert isinstance(waiting.spec, GangSpec)
                table = self._table
                leader, worker = table.vector(waiting.leader.requests), table.vector(waiting.spec.worker)
                self._space.put_back(verdict.packing, table.widened(leader), worker)
            _restore(self._blockers, waiting.pool, mark.blocker)
            _restore(self._kept, waiting.pool, mark.kept)
            while len(self._refused) > mark.refused:
                self._refused.popitem()

    def _guarded(self, waiting: Waiting) -> Verdict:
        """A gang that cannot be judged keeps no other one waiting, and is judged again later."""
        subject = Subject.gang(waiting.key)
        judge = partial(self._judge, waiting)
        verdict = self._faults.guard(subject, "queue", self.now, judge, _NOT_JUDGED, reads_only=True)
        if verdict is _NOT_JUDGED:
            fault = self._faults.of(subject)
            self.valid_until = min(self.valid_until, self.now if fault is None else fault.retry_s)
        return verdict

    def _judge(self, waiting: Waiting) -> Verdict:
        mode = self._policy.fifo_for(waiting.pool)
        blocker = self._blockers.get(waiting.pool)
        spec = waiting.spec
        if isinstance(spec, SpecProblem):
            return self._not_readable(waiting, spec, mode)
        start = self._entitlements.start(waiting.leader, spec, self.now)
        self.valid_until = min(self.valid_until, start.valid_until_s)
        hold = start.hold
        if hold is not None and not hold.zones:
            return _held(hold)
        if blocker is not None:
            if not self._fits_empty(waiting):
                return self._exceeds_cluster(waiting, spec)
            return Verdict(Outcome.EARLIER_GANG_WAITS, blocker=blocker.key)
        zones = hold.zones if hold is not None else _ANYWHERE
        if hold is not None:
            # What gets free in a clean zone is for the first of those that wait for it. A gang that is not
            # held, or not any more, goes where it likes: nobody is late because others wait by choice.
            zones -= self._kept.get(waiting.pool, _ANYWHERE)
            if not zones:
                return _held(hold)
        shape = (shape_of(waiting.leader, spec, waiting.pool), zones)
        nominated = bool(self._nominations) and bool(self._nominations.of(waiting.key))
        special = nominated or bool(self._there(waiting))
        refused = None if special else self._refused.get(shape)
        if refused is Outcome.NO_ROOM:
            return self._no_room(waiting, mode, hold)
        if refused is not None:
            return self._exceeds_cluster(waiting, spec)
        alone = mode is FifoMode.OFF
        space = Workspace(self._table) if alone else self._space
        offered = self._offered.get(waiting.leader.uid)
        packing, any_nodes = self._plan(waiting, offered, space, shape[1])
        if packing is not None:
            if not alone:
                leader = self._table.widened(self._table.vector(waiting.leader.requests))
                space.take(packing, leader, self._table.vector(spec.worker))
            return Verdict(Outcome.ADMITTED, packing, offered=offered)
        fits_empty = self._fits_empty(waiting)
        if any_nodes and not alone and not special:
            self._refused[shape] = Outcome.NO_ROOM if fits_empty else Outcome.EXCEEDS_CLUSTER
        if not fits_empty:
            return self._exceeds_cluster(waiting, spec)
        return replace(self._no_room(waiting, mode, hold), any_nodes=any_nodes, offered=offered)

    def _plan(
        self, waiting: Waiting, offered: BoolArray | None, space: Workspace, within: frozenset[int]
    ) -> tuple[Packing | None, bool]:
        """Place one gang beside what is promised to nominated pods of its priority or above.

        A leader that was started again needs room for the workers that do not run already.
        """
        there = self._there(waiting)
        if there and isinstance(waiting.spec, GangSpec):
            least = max(0, waiting.spec.min_workers - there)
            waiting = replace(waiting, spec=replace(waiting.spec, min_workers=least))
        promised = [
            (each.row, self._nominations.size(each)) for each in self._nominations.before(waiting.leader)
        ]
        for row, size in promised:
            space.give(row, -size)
        answer = plan(self._table, self._policy, waiting, offered, space, within)
        for row, size in promised:
            space.give(row, size)
        return answer

    def _exceeds_cluster(self, waiting: Waiting, spec: GangSpec) -> Verdict:
        """Refused for good, unless nodes join; the resource that is too small is named, with the amount."""
        missing = self._table.not_offered(largest([waiting.leader.requests, spec.worker]))
        detail = no_node_offers(missing) if missing else why_too_large(self._table, waiting.leader, spec)
        return Verdict(Outcome.EXCEEDS_CLUSTER, detail=detail)

    def _no_room(self, waiting: Waiting, mode: FifoMode, hold: Hold | None) -> Verdict:
        if hold is None:
            # One that was held, and is not due, keeps nobody waiting.
            if not self._entitlements.planned.behind(waiting.leader.uid):
                self._block(waiting, mode)
            return Verdict(Outcome.NO_ROOM)
        if self._enforced(waiting, mode):
            self._kept[waiting.pool] = self._kept.get(waiting.pool, _ANYWHERE) | hold.whole
        return _held(hold)  # there may be room, but not where it is clean

    def _not_readable(self, waiting: Waiting, problem: SpecProblem, mode: FifoMode) -> Verdict:
        """Spark's configuration comes a moment after the pod: for that long the gang keeps its place."""
        if problem.outcome is Outcome.WAITING_FOR_CONFIGURATION and waiting.pool not in self._blockers:
            grace_ends = waiting.leader.created_s + self._policy.configuration_grace_s
            if self.now < grace_ends:
                self._block(waiting, mode)
                self.valid_until = min(self.valid_until, grace_ends)
        return Verdict(problem.outcome, detail=problem.detail)

    def _block(self, waiting: Waiting, mode: FifoMode) -> None:
        if self._enforced(waiting, mode):
            self._blockers[waiting.pool] = waiting

    def _enforced(self, waiting: Waiting, mode: FifoMode) -> bool:
        """Whether a gang that cannot start keeps younger ones of its pool from what it waits for."""
        if mode is not FifoMode.STRICT_AFTER_AGE:
            return mode is FifoMode.STRICT
        enforced_s = waiting.leader.created_s + self._policy.enforce_after_for(waiting.pool)
        if self.now < enforced_s:
            self.valid_until = min(self.valid_until, enforced_s)
        return self.now >= enforced_s

    def _fits_empty(self, waiting: Waiting) -> bool:
        assert isinstance(waiting.spec, GangSpec)
        return self._capacity.fits(waiting.leader, waiting.spec, waiting.pool)
