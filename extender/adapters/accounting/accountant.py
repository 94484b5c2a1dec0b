"""The facade of accounting: the service tells it what happens, it keeps the ledger.

How to wire it:

    ledger = Ledger(settings.ledger)                        # path or postgresql://, raises LedgerError
    accountant = Accountant(ledger, PowerModels(), carbon_zone, strategy="tightly-pack")

    accountant.apply(event, now)                            # every event the store gets, after the store
    accountant.intensity(zone, 212.0 or Missing("stale"), now)      # when the signal changes or ends
    accountant.reading(node, reading or Missing(...), now)          # after each `MeterReader.read`
    accountant.decided(pod, decision, now, score=..., intensity=...)  # every answer to filter
    await accountant.flush(now)                             # every minute or so, in a task of its own
    accountant.close(now)             # on exit, when the flushing task has ended; takes 2 s at most

`now` is the wall clock in seconds since the epoch; `Missing` is `amounts.Missing`. Nothing here blocks:
a flush meters the cluster in slices between other work of the event loop and writes in a thread. A ledger
that does not answer delays only the next write: neither a flush that is cancelled nor `close` waits for it.
All methods but those that name it never raise.

After a restart build a new Accountant on the same ledger and feed it the first lists: until `Synced`
it only listens, then it goes on from the moment the ledger was last written. Pods that still run are
metered through the gap by the model, with carbon unknown (unless the intensity of that time is filled
in with `intensity(zone, value, then)`). Pods that finished meanwhile are booked until the end that their
containers' statuses name. Pods that vanished are booked until the ledger's moment, and an application that
ended so has its end marked as estimated.
Recorded events may be played again from their beginning: those before that moment are not booked twice.

Several replicas may book in one ledger: one of them leads, the others call `flush` with `lead=False` and
hold themselves ready (see `backlog`). Their caller decides who leads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.backlog import Backlog
from extender.adapters.accounting.books import CELL_S, UNASKED, Batch, Decision
from extender.adapters.accounting.intensity import Intensity
from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.adapters.accounting.meter import Meter
from extender.adapters.accounting.power import PowerModels
from extender.adapters.accounting.readings import NodeReading
from extender.core.decisions import FilterDecision
from extender.core.events import (
    Event,
    NodeGone,
    NodeSeen,
    PodBound,
    PodGone,
    PodSeen,
    StagesReported,
    Synced,
)
from extender.core.facts import GangKey, NodeFacts, PodFacts
from extender.support.worker import Worker

CLOSING_S: Final = 2.0
"""`close` takes no longer, whatever the ledger does."""

DAY_S: Final = 86_400.0

NODES_A_SLICE: Final = 2
"""Nodes metered before other work of the event loop gets its turn: about a millisecond when they are full."""

DOWN: Final = Missing("not observed: the service was down")

_log = logging.getLogger(__name__)


class Accountant:
    """Books energy and carbon of everything that runs. Raises `LedgerError` when the books cannot be read.

    `carbon_zone` names the carbon zone of a node (empty: none). `strategy` names how gangs are scheduled
    now; it is written into applications submitted from now on.
    """

    def __init__(
        self,
        ledger: Ledger,
        models: PowerModels,
        carbon_zone: Callable[[NodeFacts], str],
        *,
        strategy: str = "",
        cell_s: float = CELL_S,
    ) -> None:
        books = ledger.load()
        self._ledger = ledger
        self._carbon_zone = carbon_zone
        self._meter = Meter(models, cell_s=cell_s, books=books)
        self._meter.strategy = strategy
        self._from_s = books.until_s
        self._known_nodes = books.nodes
        self._listening: list[tuple[Event, float]] | None = None if books.until_s is None else []
        self._backlog = Backlog(ledger, books.until_s)
        self._said: dict[str, tuple[str, str]] = {}
        self._flushing = asyncio.Lock()
        self._worker = Worker("ledger")
        self.fallbacks: dict[str, str] = {}
        """By node, why its power is not from the best source; bookings name the source that was used."""
        if books.until_s is not None:
            for zone in self._meter.intensity.zones:
                self._meter.intensity_seen(zone, DOWN, books.until_s)
        self.last_error = ""
        """Why the last flush was not written; empty when it was."""

    @property
    def strategy(self) -> str:
        """Strategy of applications that are submitted from now on."""
        return self._meter.strategy

    @strategy.setter
    def strategy(self, name: str) -> None:
        self._meter.strategy = name

    @property
    def ledger(self) -> Ledger:
        """Its ledger, to read."""
        return self._ledger

    @property
    def unwritten(self) -> int:
        """Bookings and decisions that wait for the ledger."""
        return self._backlog.unwritten

    @property
    def dropped(self) -> int:
        """Bookings and decisions that found no room in memory, or that no ledger took."""
        return self._backlog.bookings_dropped + self._backlog.decisions_dropped

    @property
    def standing_by(self) -> bool:
        """Whether another replica may have written last."""
        return self._backlog.standing_by

    @property
    def booked_until_s(self) -> float | None:
        """Until when the ledger is booked, as it was last heard; None while it is empty."""
        return self._backlog.booked_until_s

    def apply(self, event: Event, now: float) -> None:
        """Take an event of the cluster, the same that the store takes."""
        if self._listening is None:
            self._account(event, now)
            return
        if isinstance(event, Synced):
            self._resume(now)
        else:
            self._listening.append((event, now))

    def intensity(self, zone: str, value: Intensity, now: float) -> None:
        """A zone's intensity in gCO2e/kWh from `now` on, or why it is not known any more."""
        self._meter.intensity_seen(zone, value, now)

    def reading(self, node: str, reading: NodeReading | Missing, now: float) -> None:
        """A node's meter was read. Why a better source was not used is kept in `fallbacks`."""
        reasons = (reading.reason,) if isinstance(reading, Missing) else reading.notes
        if reasons:
            self.fallbacks[node] = "; ".join(reasons)
        else:
            self.fallbacks.pop(node, None)
        if self._listening is None:
            self._meter.reading_seen(node, reading, now)

    def scheduled_by(self, app: GangKey, strategy: str) -> None:
        """One application is scheduled by another strategy than the current default."""
        self._meter.strategy_of(app, strategy)

    def decided(
        self,
        pod: PodFacts,
        decision: FilterDecision,
        now: float,
        *,
        strategy: str | None = None,
        score: Callable[[], float | None] = lambda: None,
        intensity: Intensity = UNASKED,
    ) -> None:
        """An answer to filter. One that repeats the pod's last is not logged again, and not scored."""
        said = (decision.outcome.value, decision.node)
        if self._said.get(pod.uid) == said:
            return
        self._said[pod.uid] = said
        app = pod.gang or GangKey(pod.namespace, "")
        name = self.strategy if strategy is None else strategy
        self._meter.decided(
            Decision(now, app, pod.name, decision.node, name, said[0], decision.detail, score(), intensity)
        )

    async def flush(self, now: float, *, lead: bool = True) -> None:
        """Write what was booked until `now`. A failure is kept in `last_error`; the next flush tries again.

        With `lead` False another replica writes: this one drops entries that are in the ledger already,
        and keeps the others for the first flush with `lead` True.
        """
        if self._listening is not None:
            return
        async with self._flushing:
            self._begin(now)
            while not self._meter.settle(NODES_A_SLICE):
                await asyncio.sleep(0)
                if not self._meter.closing:
                    return  # closed in the meantime, for good
            # A write cannot be called back. The worker makes the next one after it, and knows how it ended.
            batches = [self._meter.closed()]
            await asyncio.wrap_future(self._worker.submit(partial(self._write, batches, lead=lead)))

    async def prune(self, before_s: float) -> None:
        """Forget what the ledger has from before this moment, a day at a time: others write in between.

        Raises `LedgerError`; the days until then are forgotten.
        """
        while not await asyncio.wrap_future(self._worker.submit(partial(self._prune_day, before_s))):
            pass

    def _prune_day(self, before_s: float) -> bool:
        """Forget the oldest day; returns whether that was all. Blocks."""
        oldest_s = self._ledger.oldest_s()
        until_s = before_s if oldest_s is None else min(before_s, oldest_s + DAY_S)
        self._ledger.prune(until_s)
        return until_s == before_s

    def close(self, now: float, *, lead: bool = True, patience_s: float | None = None) -> None:
        """Write at once what was booked until `now`, if this replica leads, and close the ledger.

        Takes no longer than `patience_s` (`CLOSING_S`). Batches are written whole or not at all, so the next
        start goes on where the ledger ends.
        """
        patience_s = CLOSING_S if patience_s is None else patience_s
        until_s = time.monotonic() + patience_s
        batches: list[Batch] = []
        if self._listening is None and lead:
            batches = self._last_batches(now, until_s)
        closing = self._worker.submit(partial(self._finish, batches, lead=lead))
        try:
            closing.result(max(0.0, until_s - time.monotonic()))
        except TimeoutError:
            _log.warning(
                "the ledger did not answer within %g s at the end: what it lacks is metered by the model at "
                "the next start",
                patience_s,
            )

    def _last_batches(self, now: float, until_s: float) -> list[Batch]:
        """All that is metered and not written, as far as the time allows."""
        batches: list[Batch] = []
        for _ in range(2 if self._meter.closing else 1):
            self._begin(now)
            while not self._meter.settle(NODES_A_SLICE):
                if time.monotonic() >= until_s:
                    return batches
            batches.append(self._meter.closed())
        return batches

    def _write(self, batches: Sequence[Batch], *, lead: bool) -> None:
        """Take batches in and write all that waits. Blocks; in the worker's thread."""
        for each in batches:
            self._backlog.add(each)
        self._wrote(self._backlog.write(lead=lead))

    def _finish(self, batches: Sequence[Batch], *, lead: bool) -> None:
        """The last write, if there is one, and the end. Blocks; in the worker's thread."""
        try:
            if batches:
                self._write(batches, lead=lead)
        finally:
            self._ledger.close()

    def _begin(self, now: float) -> None:
        """Close the meter's batch, unless a flush that was cancelled left a closed one to settle."""
        if not self._meter.closing:
            self._meter.close(now)

    def _account(self, event: Event, now: float) -> None:
        meter = self._meter
        from_s = self._from_s or 0.0
        # Pods are in the books as they were then; of nodes only the names are.
        before, now = now < from_s, max(now, from_s)
        match event:
            case NodeSeen(node):
                meter.node_seen(node, self._carbon_zone(node), now)
            case NodeGone(name):
                self.fallbacks.pop(name, None)
                meter.node_gone(name, now)
            case PodSeen(pod) if not before:
                meter.pod_seen(pod, now)
                if pod.finished:
                    self._said.pop(pod.uid, None)
            case PodBound(uid, node) if not before:
                meter.pod_bound(uid, node, now)
            case PodGone(uid) if not before:
                meter.pod_gone(uid, now)
                self._said.pop(uid, None)
            case StagesReported(app, reported):
                meter.stages_reported(app, reported, now)
            case _:
                pass

    def _resume(self, now: float) -> None:
        """Everything that exists has been seen: go on from the moment the ledger was written."""
        events, self._listening = self._listening or [], None
        from_s = self._from_s or 0.0
        if now <= from_s:
            self._meter.intensity_retracted(DOWN, from_s)
        if now < from_s:
            # A recording is played again: the books are what it led to, nothing vanished.
            for event, then in events:
                self._account(event, then)
            return
        seen = {event.node.name for event, _ in events if isinstance(event, NodeSeen)}
        for name in self._known_nodes - seen:
            self._meter.node_gone(name, from_s)
        # Nodes that were there before come first: what ended meanwhile drew its power on them.
        for event, _ in events:
            if isinstance(event, NodeSeen) and event.node.name in self._known_nodes:
                self._account(event, from_s)
        for uid, end_s, estimated in self._ended_meanwhile(events, from_s, now):
            self._meter.pod_gone(uid, end_s, estimated=estimated)
        for event, then in events:
            self._account(event, then)

    def _ended_meanwhile(
        self, events: Sequence[tuple[Event, float]], from_s: float, now: float
    ) -> list[tuple[str, float, bool]]:
        """Pods of the books that ended while nothing was observed, in order of their ends.

        Each with whether the end is estimated: of one that vanished, and of one that finished without the
        kubelet's saying when, only the ledger's moment is known. That of its application is then no better.
        """
        ends: dict[str, float | None] = dict.fromkeys(self._meter.pods)
        alive: set[str] = set()
        for event, then in events:
            match event:
                case PodSeen(pod) if not pod.finished:
                    alive.add(pod.uid)
                case PodSeen(pod):
                    ends[pod.uid] = pod.ended_s
                case PodGone(uid) if ends.get(uid) is None:
                    ends[uid] = then
                case _:
                    pass
        pods = self._meter.pods
        ended = {uid: end_s for uid, end_s in ends.items() if uid in pods and uid not in alive}
        unknown = {pods[uid].app for uid, end_s in ended.items() if end_s is None}
        out = [
            (uid, from_s if end_s is None else min(max(end_s, from_s), now), pods[uid].app in unknown)
            for uid, end_s in ended.items()
        ]
        return sorted(out, key=lambda each: each[1])

    def _wrote(self, problem: LedgerError | None) -> None:
        text = "" if problem is None else str(problem)
        if text and text != self.last_error:
            _log.warning("bookings wait for the ledger: %s", text)
        self.last_error = text


def zone_by_label(label: str, default: str = "") -> Callable[[NodeFacts], str]:
    """A `carbon_zone` that reads a node label."""

    def carbon_zone(node: NodeFacts) -> str:
        return node.labels.get(label, default)

    return carbon_zone
