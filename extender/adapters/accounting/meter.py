"""The meter: what happens in the cluster in, bookings out. Pure: no clock, no I/O.

Each node is metered up to the last change that touched it, so that an event costs one node and not the
cluster. A batch is closed at a moment and settled node by node afterwards; energy after that moment goes
to the next batch even while the first is still being settled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.baseline import BaselineClock, progress_rate
from extender.adapters.accounting.books import (
    CELL_S,
    NOBODY,
    ApplicationRow,
    Batch,
    Books,
    Decision,
    IntensityRow,
    Kind,
    PodRow,
    StageKey,
    StageTime,
)
from extender.adapters.accounting.intensity import Intensity, IntensityHistory
from extender.adapters.accounting.journal import Journal
from extender.adapters.accounting.power import PowerModels
from extender.adapters.accounting.readings import NodeReading
from extender.adapters.accounting.stages import StageTasks
from extender.adapters.accounting.tenancy import Share, Tenancy
from extender.core.facts import GangKey, NodeFacts, PodFacts, Role
from extender.core.stages.events import StageEvent

READING_HOLDS_S = 120.0
"""A reading is used this long; then the model answers, and the bookings say so."""

SEEN_AT_ONCE_S = 10.0
"""A pod that is bound when first seen and younger than this started now; else its start is not known."""

STARTED_UNSEEN = Missing("was running when it was first seen: its start is not known")


@dataclass(slots=True)
class _Application:
    key: GangKey
    strategy: str
    submitted_s: float
    started_s: float | None = None
    clock: BaselineClock | Missing = STARTED_UNSEEN
    pods: int = 0
    running: int = 0
    waiting: int = 0
    leaders_running: int = 0
    leaders_waiting: int = 0
    nodes: Counter[str] = field(default_factory=Counter[str])
    stages: StageTasks = field(default_factory=StageTasks)

    def count(self, pod: PodRow, by: int) -> None:
        self.pods += by
        self.nodes[pod.node] += by
        leads, runs = pod.role is Role.LEADER, bool(pod.node)
        if leads and runs:
            self.leaders_running += by
        elif leads:
            self.leaders_waiting += by
        elif runs:
            self.running += by
        else:
            self.waiting += by

    @property
    def rate(self) -> float:
        return progress_rate(
            self.running, self.waiting, leader_waits=self.leaders_waiting > 0 and self.leaders_running == 0
        )

    def row(
        self, at_s: float, ended_s: float | None = None, *, end_estimated: bool = False
    ) -> ApplicationRow:
        baseline_s = self.clock if isinstance(self.clock, Missing) else self.clock.at(at_s)
        life = (self.submitted_s, self.started_s, ended_s)
        return ApplicationRow(self.key, self.strategy, *life, baseline_s, end_estimated)


class Meter:
    """Accumulates bookings. Times are seconds since the epoch; one earlier than the last books nothing.

    `books` are what a ledger knew when it was opened: pods that ran then are metered on from there.
    """

    def __init__(self, models: PowerModels, *, cell_s: float = CELL_S, books: Books | None = None) -> None:
        books = books or Books()
        self.models = models
        self.strategy = ""
        self.intensity = IntensityHistory()
        self._journal = Journal(self.intensity, cell_s)
        self._tenancies: dict[str, Tenancy] = {}
        self._pods: dict[str, PodRow] = {}
        self._applications: dict[GangKey, _Application] = {}
        self._open = Batch(books.until_s, books.until_s or 0.0)
        self._opened_s = books.until_s or 0.0
        self._closing: Batch | None = None
        self._unsettled: list[str] = []
        self._restore(books)

    def _restore(self, books: Books) -> None:
        if books.until_s is None:
            return
        until_s = books.until_s
        for step in books.intensities:
            self.intensity.set(*step)
        for row in books.applications:
            clock = row.baseline_s
            self._applications[row.app] = _Application(
                row.app,
                row.strategy,
                row.submitted_s,
                row.started_s,
                clock if isinstance(clock, Missing) else BaselineClock(until_s, clock),
            )
        for pod in books.pods:
            self._settle_in(pod, until_s)
        for application in self._applications.values():
            self._turn(application, until_s)

    @property
    def pods(self) -> Mapping[str, PodRow]:
        """Living pods by uid."""
        return self._pods

    @property
    def closing(self) -> bool:
        """Whether a batch is closed and not taken yet."""
        return self._closing is not None

    # -- what happens -------------------------------------------------------------------------

    def node_seen(self, node: NodeFacts, zone: str, at_s: float) -> None:
        """A node was added or changed. `zone` is its carbon zone."""
        tenancy = self._tenancy(node.name, at_s)
        if tenancy.facts is None:
            self._open.nodes[node.name] = True
        elif tenancy.zone == zone and tenancy.facts == node:
            return
        self._advance(tenancy, at_s)
        tenancy.facts, tenancy.zone = node, zone
        tenancy.model, tenancy.pue = self.models.of(node), self.models.pue
        tenancy.changed()

    def node_gone(self, name: str, at_s: float) -> None:
        """A node was deleted. Its pods draw nothing until they are gone, too, or it is back."""
        self._open.nodes[name] = False
        tenancy = self._tenancies.get(name)
        if tenancy is None or tenancy.facts is None:
            return
        self._advance(tenancy, at_s)
        del self._tenancies[name]
        if tenancy.pods:
            self._tenancies[name] = Tenancy(name, at_s, pods=tenancy.pods)

    def pod_seen(self, pod: PodFacts, at_s: float) -> None:
        """A pod was added or changed."""
        if pod.finished:
            self.pod_gone(pod.uid, at_s)
            return
        known = self._pods.get(pod.uid)
        node = pod.node or (known.node if known is not None else "")
        if known is not None and known.node == node and known.requests == pod.requests:
            return
        if pod.gang is None and not node:
            return
        app = pod.gang or GangKey(pod.namespace, "")
        row = PodRow(pod.uid, app, pod.name, pod.role, node, dict(pod.requests))
        if pod.gang is not None and app not in self._applications:
            self._enter(row, min(at_s, pod.created_s or at_s), at_s)
        self._move_out(pod.uid, at_s)
        self._settle_in(row, at_s)
        self._open.pods[pod.uid] = row
        self._counted(app, at_s)

    def pod_bound(self, uid: str, node: str, at_s: float) -> None:
        """A waiting pod got its node."""
        known = self._pods.get(uid)
        if known is None or known.node:
            return
        row = PodRow(uid, known.app, known.name, known.role, node, known.requests)
        self._move_out(uid, at_s)
        self._settle_in(row, at_s)
        self._open.pods[uid] = row
        self._counted(row.app, at_s)

    def pod_gone(self, uid: str, at_s: float, *, estimated: bool = False) -> None:
        """A pod finished or was deleted. `estimated`: it was not seen; it ran at least until then."""
        pod = self._move_out(uid, at_s)
        if pod is None:
            return
        self._open.pods[uid] = None
        self._counted(pod.app, at_s, end_estimated=estimated)

    def reading_seen(self, node: str, reading: NodeReading | Missing, at_s: float) -> None:
        """A node was measured; the reading holds until the next, at most `READING_HOLDS_S`."""
        tenancy = self._tenancies.get(node)
        if tenancy is None:
            return
        self._advance(tenancy, at_s)
        if isinstance(reading, Missing):
            tenancy.reading = None
        else:
            tenancy.reading, tenancy.reading_until_s = reading, at_s + READING_HOLDS_S
        tenancy.changed()

    def intensity_seen(self, zone: str, value: Intensity, from_s: float) -> None:
        """From `from_s` on, until the next word, the zone has this intensity. The past may be filled in."""
        if self.intensity.set(zone, from_s, value):
            self._open.intensities.append(IntensityRow(zone, from_s, value))

    def intensity_retracted(self, value: Intensity, from_s: float) -> None:
        """Take the values of all zones from `from_s` on back where nothing newer replaced them."""
        self.intensity.retract(from_s, value)
        rows = self._open.intensities
        rows[:] = [row for row in rows if (row.start_s, row.value) != (from_s, value)]

    def stages_reported(self, app: GangKey, events: Iterable[StageEvent], at_s: float) -> None:
        """Take reported stages of an application. Task time before the ledger was opened is in it already."""
        application = self._applications.get(app)
        if application is None:
            return
        for time in application.stages.hear(events, at_s):
            per_s = time.task_s / (time.end_s - time.start_s)
            start_s = max(time.start_s, application.submitted_s, self._opened_s)
            for cell_s, from_s, to_s in self._journal.cells(start_s, time.end_s):
                key = StageKey(app, time.stage, cell_s)
                self._open.stages.setdefault(key, StageTime(time.name)).task_s += per_s * (to_s - from_s)

    def strategy_of(self, app: GangKey, strategy: str) -> None:
        """The application is scheduled by this strategy; it counts for all of its bookings."""
        if (application := self._applications.get(app)) is not None:
            application.strategy = strategy

    def decided(self, decision: Decision) -> None:
        """A decision for the log."""
        self._open.decisions.append(decision)

    # -- closing a batch ----------------------------------------------------------------------

    def close(self, at_s: float) -> None:
        """Begin a batch's end: what happened until `at_s` will be in it. Then `settle` until True."""
        if self._closing is not None:
            raise RuntimeError("a batch is being closed already: settle it and take it with closed()")
        closing = self._open
        at_s = closing.until_s = max(at_s, closing.until_s)
        closing.applications |= {key: each.row(at_s) for key, each in self._applications.items()}
        self._closing, self._open = closing, Batch(at_s, at_s)
        self._unsettled = list(self._tenancies)

    def settle(self, at_most: int) -> bool:
        """Meter up to so many nodes until the closing moment; True when none is left."""
        assert self._closing is not None
        for _ in range(min(at_most, len(self._unsettled))):
            tenancy = self._tenancies.get(self._unsettled.pop())
            if tenancy is not None:
                self._advance(tenancy, self._closing.until_s)
        return not self._unsettled

    def closed(self) -> Batch:
        """The closed batch, once settled."""
        batch = self._closing
        if batch is None or self._unsettled:
            raise RuntimeError("no settled batch: close() one and settle() it first")
        self._closing = None
        needed_s = batch.until_s
        for application in self._applications.values():
            if not isinstance(application.clock, Missing):
                needed_s = min(needed_s, application.clock.at(batch.until_s))
                application.clock.forget_before(batch.until_s)
        self.intensity.forget_before(needed_s)
        return batch

    # -- accounts -----------------------------------------------------------------------------

    def _enter(self, first: PodRow, submitted_s: float, at_s: float) -> None:
        known = not first.node or at_s - submitted_s <= SEEN_AT_ONCE_S
        clock = BaselineClock(submitted_s, submitted_s) if known else STARTED_UNSEEN
        self._applications[first.app] = _Application(first.app, self.strategy, submitted_s, clock=clock)

    def _settle_in(self, pod: PodRow, at_s: float) -> None:
        self._pods[pod.uid] = pod
        if (application := self._applications.get(pod.app)) is not None:
            application.count(pod, 1)
        if pod.node:
            tenancy = self._tenancy(pod.node, at_s)
            self._advance(tenancy, at_s)
            tenancy.pods[pod.uid] = pod
            tenancy.changed()

    def _move_out(self, uid: str, at_s: float) -> PodRow | None:
        pod = self._pods.pop(uid, None)
        if pod is None:
            return None
        if (application := self._applications.get(pod.app)) is not None:
            application.count(pod, -1)
        tenancy = self._tenancies.get(pod.node)
        if tenancy is not None:
            self._advance(tenancy, at_s)
            del tenancy.pods[uid]
            tenancy.changed()
            if tenancy.facts is None and not tenancy.pods:
                del self._tenancies[pod.node]
        return pod

    def _counted(self, app: GangKey, at_s: float, *, end_estimated: bool = False) -> None:
        application = self._applications.get(app)
        if application is None:
            return
        self._turn(application, at_s)
        if application.started_s is None and application.running + application.leaders_running:
            application.started_s = at_s
        if application.pods == 0:
            self._open.applications[app] = application.row(at_s, ended_s=at_s, end_estimated=end_estimated)
            del self._applications[app]

    @staticmethod
    def _turn(application: _Application, at_s: float) -> None:
        if not isinstance(application.clock, Missing):
            application.clock.turn(at_s, application.rate)

    def _tenancy(self, name: str, at_s: float) -> Tenancy:
        tenancy = self._tenancies.get(name)
        if tenancy is None:
            tenancy = self._tenancies[name] = Tenancy(name, at_s)
        return tenancy

    def _advance(self, tenancy: Tenancy, to_s: float) -> None:
        """Book what the node drew since it was last looked at."""
        stops = [tenancy.reading_until_s] if tenancy.reading is not None else []
        if self._closing is not None:
            stops.append(self._closing.until_s)
        while tenancy.since_s < to_s:
            start_s = tenancy.since_s
            if tenancy.reading is not None and tenancy.reading_until_s <= start_s:
                tenancy.reading = None
                tenancy.changed()
            end_s = min([to_s, *(stop for stop in stops if stop > start_s)])
            closing = self._closing
            batch = closing if closing is not None and end_s <= closing.until_s else self._open
            if tenancy.facts is not None:
                source, shares = tenancy.shares()
                for share in shares:
                    self._book(batch, tenancy, source, share, start_s, end_s)
            tenancy.since_s = end_s

    def _book(
        self, batch: Batch, tenancy: Tenancy, source: str, share: Share, start_s: float, end_s: float
    ) -> None:
        place, post = (tenancy.name, tenancy.zone), self._journal.post
        stretch = (start_s, end_s)
        post(batch.bookings, share.app, place, Kind.ACTUAL, source, stretch, share.watts, share.cores)
        application = None if share.app == NOBODY else self._applications.get(share.app)
        if application is None or isinstance(application.clock, Missing):
            return
        for moved in application.clock.pieces(start_s, end_s):
            length_s = moved.moved_end_s - moved.moved_start_s
            if length_s <= 0:
                continue
            power_w = share.watts if share.leads else share.watts * (moved.end_s - moved.start_s) / length_s
            stretch = (moved.moved_start_s, moved.moved_end_s)
            post(batch.bookings, share.app, place, Kind.BASELINE, source, stretch, power_w)
