"""Accounting beside the store: every event and answer is booked, and nothing ever waits for the books."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Final

import aiohttp

from extender.adapters.accounting.accountant import DAY_S, Accountant
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import UNASKED
from extender.adapters.accounting.exporters import CpuUsage, Dcgm, Kepler, Scaphandre
from extender.adapters.accounting.intensity import Intensity
from extender.adapters.accounting.ledger import Ledger, LedgerError, LedgerUnusable
from extender.adapters.accounting.power import PowerModels
from extender.adapters.accounting.prometheus import Prometheus
from extender.adapters.accounting.rapl import Rapl
from extender.adapters.accounting.readings import Meter, MeterReader
from extender.core import queries
from extender.core.decisions import FilterDecision
from extender.core.events import (
    CarbonSeen,
    Event,
    NodeGone,
    NodeSeen,
    PodBound,
    PodGone,
    PodSeen,
    Synced,
    Tick,
)
from extender.core.facts import PodFacts
from extender.core.leadership import Standstill
from extender.core.store import Store
from extender.settings.root import Settings
from extender.support.passwords import without_passwords
from extender.support.problems import Problems
from extender.support.worker import Worker

UNKNOWN: Final = Missing("unknown or stale")

OPENING_S: Final = 2.0
"""The start of the service waits no longer for the ledger."""

LAPSE_FLUSHES: Final = 3
"""A ledger that was not written for so many intervals has no writer any more."""

MOST_ENDS: Final = 20_000
"""Ends of pods kept while the ledger cannot be opened."""

_OPENING: Final = "the ledger cannot be opened yet"
_METERS: Final = "power was not read"
_LEDGER: Final = "the ledger was not written"
_PRUNING: Final = "old bookings were not deleted"
_log = logging.getLogger(__name__)


class Bookkeeper:
    """Keeps the ledger of one store. A failure in it never reaches the scheduling: it is logged, shown in
    `problem`, and tried again.

    Of several replicas that share a ledger one writes: the one that wrote last, until another one leads
    (`Leadership`), or until the ledger has stood still for `LAPSE_FLUSHES` intervals.

    Raises `LedgerUnusable` when it can never work. A ledger that cannot be reached, or does not answer within
    `patience_s` (`OPENING_S`), is opened later.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Callable[[], float],
        *,
        patience_s: float | None = None,
    ) -> None:
        assert settings.accounting.ledger is not None
        self._settings = settings
        self._store = store
        self._clock = clock
        self._told: dict[str, float | None] = {}
        self._problems = Problems(_log, "accounting: %s: %s")
        self._ledger_mark: Standstill[float | None] = Standstill(None, clock())
        self._pruned_s: float | None = None
        self._arrivals = Arrivals()
        self.accountant: Accountant | None = None
        patience_s = OPENING_S if patience_s is None else patience_s
        self._opening: Future[Accountant] | None = self._open()
        try:
            self.accountant = self._opening.result(patience_s)
            self._opening = None
        except TimeoutError:
            self._report(_OPENING, LedgerError(f"it has not answered for {patience_s:g} s"))
        except LedgerUnusable:
            raise
        except LedgerError as problem:
            self._opening = None
            self._report(_OPENING, problem)

    @property
    def problem(self) -> str:
        """Why something is not in the ledger; empty while everything is."""
        parts = [f"{what}: {why}" for what, why in self._problems.current.items()]
        books = self.accountant
        if books is not None and books.last_error:
            parts.append(without_passwords(books.last_error))
        if books is not None and books.dropped:
            parts.append(f"{books.dropped} bookings and decisions were dropped")
        return "; ".join(parts)

    @property
    def writes(self) -> bool:
        """Whether this replica wrote the ledger last; another one that shares it does otherwise."""
        return self.accountant is not None and not self.accountant.standing_by

    @property
    def unwritten(self) -> int:
        """Bookings and decisions that wait for the ledger."""
        return 0 if self.accountant is None else self.accountant.unwritten

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """By node, why its power is not from the best source."""
        return {} if self.accountant is None else self.accountant.fallbacks

    # -- what happens ------------------------------------------------------------------------------

    def after(self, event: Event, now: float) -> None:
        """The store has taken an event."""
        try:
            if self.accountant is None:
                self._arrivals.apply(event, now)
                return
            self.accountant.apply(event, now)
            if isinstance(event, CarbonSeen | Tick):
                self._tell_intensities(self.accountant, now)
        except Exception as problem:
            self._report(f"{type(event).__name__} was not booked", problem)

    def answered(self, pod: PodFacts, decision: FilterDecision, now: float) -> None:
        """The store has answered filter."""
        if self.accountant is None:
            return
        try:
            zone = queries.carbon_zone_of(self._store, decision.node) if decision.node else ""
            intensity: Intensity = UNASKED
            if zone:
                value = queries.intensities(self._store).get(zone)
                intensity = UNKNOWN if value is None else value
            score = partial(queries.choice_score, self._store, pod, decision)
            self.accountant.decided(pod, decision, now, score=score, intensity=intensity)
        except Exception as problem:
            self._report("a decision was not logged", problem)

    # -- reading and writing -----------------------------------------------------------------------

    async def run(self) -> None:
        """Read meters and write the ledger at each interval, for ever. Ends only by cancellation."""
        async with aiohttp.ClientSession() as session:
            meters = None
            try:
                meters = _meters(self._settings, session)
            except Exception as problem:
                self._report(_METERS, problem)
            while True:
                await asyncio.sleep(self._settings.accounting.flush_s)
                await self.turn(meters)

    async def turn(self, meters: MeterReader | None = None) -> None:
        """One interval: read the meters, write what was booked."""
        if self.accountant is None:
            await self._open_later()
        if self.accountant is None:
            return
        lead = self.leads()
        if meters is not None and lead:
            try:
                readings = await meters.read(queries.node_names(self._store))
                now = self._clock()
                for node, reading in readings.nodes.items():
                    self.accountant.reading(node, reading, now)
                self._problems.solved(_METERS)
            except Exception as problem:
                self._report(_METERS, problem)
        try:
            await self.accountant.flush(self._clock(), lead=lead)
            self._problems.solved(_LEDGER)
        except Exception as problem:
            self._report(_LEDGER, problem)
        await self._prune(self.accountant)

    async def _prune(self, books: Accountant) -> None:
        """Delete what is too old, once a day, if it is this replica that writes the ledger."""
        keep_days, written_s, now = self._settings.accounting.keep_days, books.booked_until_s, self._clock()
        if keep_days is None or written_s is None or not self.writes or books.last_error:
            return
        if self._pruned_s is not None and now - self._pruned_s < DAY_S:
            return
        try:
            await books.prune(written_s - keep_days * DAY_S)
            self._pruned_s = now
            self._problems.solved(_PRUNING)
        except Exception as problem:
            self._report(_PRUNING, problem)

    def leads(self) -> bool:
        """Whether this replica writes the ledger now."""
        books, now = self.accountant, self._clock()
        if books is None:
            return False
        # At the start the ledger's own moment says how long it has stood; later our clock does.
        stood_s = self._ledger_mark.age_s(books.booked_until_s, now, first_s=books.booked_until_s)
        lapsed = stood_s >= LAPSE_FLUSHES * self._settings.accounting.flush_s
        return not books.standing_by or self._store.leadership.leads(now) or lapsed

    def close(self) -> None:
        """Write what was booked until now, if it is ours to write, and close the ledger: in 2 s at most."""
        try:
            if self.accountant is not None:
                self.accountant.close(self._clock(), lead=self.leads())
        except Exception:
            _log.exception("the ledger was not closed in order")

    def _open(self) -> Future[Accountant]:
        """Begin to open the ledger, on a thread that nothing has to wait for."""
        return Worker("opening of the ledger").submit(self._opened)

    def _opened(self) -> Accountant:
        """An accountant on the ledger. Blocks; raises `LedgerError`."""
        settings, zone_of = self._settings, self._store.policy.carbon.zone_of
        assert settings.accounting.ledger is not None
        return Accountant(
            Ledger(settings.accounting.ledger),
            PowerModels(pue=settings.accounting.pue),
            lambda node: zone_of(node.labels),
            strategy=_strategy(settings),
        )

    async def _open_later(self) -> None:
        """Try the ledger again; the accountant gets the present state first."""
        opening = self._opening or self._open()
        self._opening = opening
        try:
            books = await asyncio.wrap_future(opening)
            for event, then in self._arrivals.taken(synced=queries.synced(self._store), now=self._clock()):
                books.apply(event, then)
            self.accountant = books
            self._problems.solved(_OPENING)
        except Exception as problem:
            self._report(_OPENING, problem)
        self._opening = None

    def _tell_intensities(self, books: Accountant, now: float) -> None:
        intensities = queries.intensities(self._store)
        if intensities == self._told:
            return
        for zone, value in intensities.items():
            if zone not in self._told or self._told[zone] != value:
                books.intensity(zone, UNKNOWN if value is None else value, now)
        self._told = dict(intensities)

    def _report(self, what: str, problem: Exception) -> None:
        known = isinstance(problem, LedgerError)
        self._problems.report(what, problem, logging.ERROR, None if known else problem)


class Arrivals:
    """The latest state of each node and pod, while there is no accountant to take it.

    Of pods that ended, and may be in the ledger, the end is kept, of the last `MOST_ENDS` at least.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[Event, float]] = {}
        self._pods: dict[str, tuple[PodSeen, float]] = {}
        self._ends: dict[str, tuple[PodSeen | PodGone, float]] = {}

    def apply(self, event: Event, now: float) -> None:
        """Something happened in the cluster."""
        match event:
            case NodeSeen(node):
                self._nodes[node.name] = (event, self._nodes.get(node.name, (event, now))[1])
            case NodeGone(name):
                self._nodes.pop(name, None)
            case PodSeen(pod) if pod.finished:
                self._end(pod.uid, event, now)
            case PodSeen(pod):
                known = self._pods.get(pod.uid)
                since_s = known[1] if known is not None and known[0].pod.node == pod.node else now
                self._pods[pod.uid] = (event, since_s)
            case PodBound(uid, node) if uid in self._pods:
                pod = self._pods[uid][0].pod
                if not pod.node:
                    self._pods[uid] = (PodSeen(replace(pod, node=node)), now)
            case PodGone(uid):
                self._end(uid, event, now)
            case _:
                pass

    def _end(self, uid: str, event: PodSeen | PodGone, now: float) -> None:
        self._pods.pop(uid, None)
        self._ends.setdefault(uid, (event, now))  # that a finished pod is deleted later says nothing new
        if len(self._ends) > MOST_ENDS:
            del self._ends[next(iter(self._ends))]

    def taken(self, *, synced: bool, now: float) -> list[tuple[Event, float]]:
        """All of it in order of time, as the first lists would have told it; nothing is kept."""
        events: list[tuple[Event, float]] = [
            *self._nodes.values(),
            *self._pods.values(),
            *self._ends.values(),
        ]
        events.sort(key=lambda each: each[1])
        self._nodes, self._pods, self._ends = {}, {}, {}
        return [*events, (Synced(), now)] if synced else events


def _meters(settings: Settings, session: aiohttp.ClientSession) -> MeterReader | None:
    cpu: list[tuple[str, Meter]] = []
    gpu: list[tuple[str, Meter]] = []
    url, node = settings.accounting.prometheus_url, settings.accounting.rapl_node
    if url is not None:
        prometheus = Prometheus(url, session)
        cpu += [("kepler", Kepler(prometheus)), ("scaphandre", Scaphandre(prometheus))]
        gpu.append(("dcgm", Dcgm(prometheus)))
    if node is not None:
        cpu.append(("rapl", Rapl(node, time.monotonic)))
    if url is not None:
        cpu.append(("cpu-usage", CpuUsage(Prometheus(url, session))))
    return MeterReader(cpu, gpu) if cpu or gpu else None


def _strategy(settings: Settings) -> str:
    """Name under which applications are booked: the packer, and what of carbon is used."""
    parts = [settings.pools.packer]
    if settings.scoring.carbon_weight:
        parts.append("carbon-score")
    if settings.holds.policy is not None and settings.holds.policy != "none":
        parts.append(settings.holds.policy.value)
    if settings.cap.enabled and settings.holds.policy != "cap":
        parts.append("cap")
    return "+".join(parts)
