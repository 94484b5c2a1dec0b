"""Accounting beside the store: every event and answer is booked, and nothing ever waits for the books."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import aiohttp

from extender.accounting.accountant import Accountant
from extender.accounting.amounts import Missing
from extender.accounting.exporters import CpuUsage, Dcgm, Kepler, Scaphandre
from extender.accounting.ledger import Ledger, LedgerConflict
from extender.accounting.power import PowerModels
from extender.accounting.prometheus import Prometheus
from extender.accounting.rapl import Rapl
from extender.accounting.readings import Meter, MeterReader
from extender.core.decisions import FilterDecision
from extender.core.events import CarbonSeen, Event, Instruction, Tick
from extender.core.facts import PodFacts
from extender.core.offers import Offer
from extender.core.store import Store
from extender.settings import Settings

_log = logging.getLogger(__name__)


class Bookkeeper:
    """Keeps the ledger of one store. A defect in it stops the bookkeeping, never the scheduling.

    `stopped` says why nothing is booked any more; empty while it is.
    """

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float]) -> None:
        zone_of = store.policy.carbon.zone_of
        assert settings.ledger is not None
        self.accountant = Accountant(
            Ledger(settings.ledger),
            PowerModels(pue=settings.pue),
            lambda node: zone_of(node.labels),
            strategy=_strategy(settings),
        )
        self.stopped = ""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._told: dict[str, float | None] = {}

    def after(self, event: Event, now: float) -> None:
        """The store has taken an event."""
        if self.stopped:
            return
        try:
            self.accountant.apply(event, now)
            if isinstance(event, CarbonSeen | Tick):
                self._tell_intensities(now)
        except Exception:
            self._stop("a defect in accounting; see the log")
            _log.exception("accounting: %s", type(event).__name__)

    def answered(self, pod: PodFacts, decision: FilterDecision, now: float) -> None:
        """The store has answered filter."""
        if self.stopped:
            return
        state = self._store.state
        row = state.nodes.row_of.get(decision.node, -1)
        zone = state.nodes.carbon_zones[int(state.nodes.carbon_zone[row])] if row >= 0 else ""
        value = state.intensities.get(zone) if zone else None
        try:
            if not zone:
                self.accountant.decided(pod, decision, now)
            else:
                known = Missing("unknown or stale") if value is None else value
                self.accountant.decided(pod, decision, now, intensity=known)
        except Exception:
            self._stop("a defect in accounting; see the log")
            _log.exception("accounting: an answer")

    async def run(self) -> None:
        """Read meters and write the ledger at each interval, for ever. Ends only by cancellation."""
        settings = self._settings
        async with aiohttp.ClientSession() as session:
            meters = _meters(settings, session)
            while True:
                await asyncio.sleep(settings.flush_s)
                if self.stopped:
                    continue
                if meters is not None:
                    names = list(self._store.state.nodes.row_of)
                    readings = await meters.read(names)
                    now = self._clock()
                    for node, reading in readings.nodes.items():
                        self.accountant.reading(node, reading, now)
                try:
                    await self.accountant.flush(self._clock())
                except LedgerConflict as problem:
                    self._stop(str(problem))

    def close(self) -> None:
        """Write what was booked until now and close the ledger."""
        try:
            self.accountant.close(self._clock())
        except Exception:
            _log.exception("the ledger was not closed in order")

    def _tell_intensities(self, now: float) -> None:
        intensities = self._store.state.intensities
        if intensities == self._told:
            return
        for zone, value in intensities.items():
            if zone not in self._told or self._told[zone] != value:
                self.accountant.intensity(zone, Missing("unknown or stale") if value is None else value, now)
        self._told = dict(intensities)

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        _log.error("accounting has stopped: %s", reason)


class AccountedStore(Store):
    """A store whose events and answers are booked. Without a bookkeeper it is only a store."""

    books: Bookkeeper | None = None

    def apply(self, event: Event, now: float) -> list[Instruction]:
        """As the store; then the books."""
        instructions = super().apply(event, now)
        if self.books is not None:
            self.books.after(event, now)
        return instructions

    def filter(self, pod: PodFacts, offer: Offer, now: float) -> FilterDecision:
        """As the store; then the books."""
        decision = super().filter(pod, offer, now)
        if self.books is not None:
            self.books.answered(pod, decision, now)
        return decision


def _meters(settings: Settings, session: aiohttp.ClientSession) -> MeterReader | None:
    cpu: list[tuple[str, Meter]] = []
    gpu: list[tuple[str, Meter]] = []
    if settings.prometheus_url is not None:
        prometheus = Prometheus(settings.prometheus_url, session)
        cpu += [("kepler", Kepler(prometheus)), ("scaphandre", Scaphandre(prometheus))]
        gpu.append(("dcgm", Dcgm(prometheus)))
    if settings.rapl_node is not None:
        cpu.append(("rapl", Rapl(settings.rapl_node, time.monotonic)))
    if settings.prometheus_url is not None:
        cpu.append(("cpu-usage", CpuUsage(Prometheus(settings.prometheus_url, session))))
    return MeterReader(cpu, gpu) if cpu or gpu else None


def _strategy(settings: Settings) -> str:
    """Name under which applications are booked: the packer, and what of carbon is used."""
    parts = [settings.packer]
    if settings.carbon_weight:
        parts.append("carbon-score")
    if settings.carbon_policy is not None and settings.carbon_policy != "none":
        parts.append(settings.carbon_policy.value)
    if settings.cap and settings.carbon_policy != "cap":
        parts.append("cap")
    return "+".join(parts)
