"""Drivers: their reports become events of the store, and its decisions become answers."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import FastAPI

from extender.adapters.api.drivers import create_driver_app
from extender.adapters.api.ports import BadReport, Caller, Refused
from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.sources import TooMany
from extender.adapters.kubernetes.tokens import PodIdentity, ReviewFailed, TokenReviews, Unproven
from extender.adapters.spark.agent.wire import Batch, BatchRefused, Reply, decode_batch, encode_reply
from extender.adapters.spark.stage_events import slices, stage_events
from extender.adapters.webhooks.ports import Perform
from extender.core import queries
from extender.core.events import StagesReported
from extender.core.facts import GangKey
from extender.core.policy import Switches
from extender.core.stages.store import spark_priorities
from extender.engine import Engine
from extender.settings.root import Settings

_MOST_APPLICATIONS: Final = 5_000
_MOST_DRIVERS: Final = 4  # contexts of one application, one after the other, that are kept apart
_LONGEST_ID: Final = 128
_COUNTED_OUT: Final = 2**53
_MOST_LOST: Final = 1_000_000  # updates between two reports
_READ_AT_ONCE: Final = 500  # updates: a millisecond

_HOW_TO_BIND: Final = (
    "the token is not bound to a pod: mount a projected volume with a serviceAccountToken in the driver "
    "(docs/agent.md) and name its path in CARBON_SCHEDULER_TOKEN_FILE"
)


class Observe(Protocol):
    """Counts what drivers do."""

    def reviewed(self, result: str) -> None:
        """The API server was asked about a token."""
        ...

    def batch(self, result: str) -> None:
        """A report was `taken`, `repeated` or `refused`."""
        ...

    def updates_lost(self, by: str, number: int) -> None:
        """Updates were dropped by an `agent`, or left out here as `nonsense`."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the answer to drivers: seconds between reports, whether agents may report, features."""

    interval_s: float
    listen: bool
    allowed: Switches


@dataclass(slots=True)
class _Process:
    """How far one driver process has come. `first` is the batch that it was heard of with."""

    first: int
    batch: int
    dropped: int


class DriverReports:
    """Takes the reports of agents and answers them.

    A report that came before is answered and changes nothing. An agent sends its batches one
    after the other, each until it is answered, so their numbers only rise.
    """

    def __init__(
        self,
        engine: Engine,
        perform: Perform,
        clock: Callable[[], float],
        observe: Observe,
        options: Options,
        heard: Callable[[GangKey], None] = lambda _key: None,
    ) -> None:
        self._engine = engine
        self._perform = perform
        self._clock = clock
        self._observe = observe
        self._options = options
        self._told_of = heard
        self._heard: OrderedDict[GangKey, OrderedDict[str, _Process]] = OrderedDict()

    async def take(self, key: GangKey, body: bytes) -> bytes:
        """Take one report of an application; returns the answer's JSON. Raises `BadReport`.

        A long one is taken in portions, so that filter and bind are answered in between. The caller sees to
        it that an application has one report under way at a time.
        """
        if not self._options.listen:
            return encode_reply(Reply(off=True))
        try:
            batch = decode_batch(body)
            if not 0 < len(batch.driver) <= _LONGEST_ID or not _counts(batch.batch, batch.dropped):
                raise BatchRefused(
                    f"driver must have 1 to {_LONGEST_ID} characters; batch and dropped count from 0, and "
                    f"not to {_COUNTED_OUT}"
                )
        except BatchRefused as problem:
            self._observe.batch("refused")
            raise BadReport(str(problem)) from None
        now = self._clock()
        self._told_of(key)
        restarted = self._restarts(key, batch)
        process = self._process(key, batch)
        if batch.batch > process.batch:
            process.batch = batch.batch
            try:
                await self._apply(key, batch, now, restarted=restarted)
            except BaseException:
                # Its known stages are gone: the answer to the next report requests all again.
                self._heard.pop(key, None)
                raise
            self._observe.batch("taken")
        else:
            self._observe.batch("repeated")
        # An agent begins with batch 1: of one that goes on, an extender before this one heard the beginning.
        beginning = process.first
        return encode_reply(self._reply(key, now, resend=batch.batch == beginning > 1))

    def _restarts(self, key: GangKey, batch: Batch) -> bool:
        """Whether a batch is the first of another SparkContext than the one heard before."""
        processes = self._heard.get(key)
        return bool(processes) and batch.driver not in processes

    async def _apply(self, key: GangKey, batch: Batch, now: float, *, restarted: bool) -> None:
        lost = 0
        for start in range(0, max(1, len(batch.events)), _READ_AT_ONCE):
            events, nonsense = stage_events(batch.events[start : start + _READ_AT_ONCE])
            lost += nonsense
            for portion in slices(events):
                self._perform(self._engine.observe(StagesReported(key, portion, restarted), now))
                restarted = False
                await asyncio.sleep(0)
        self._observe.updates_lost("nonsense", lost)

    def _process(self, key: GangKey, batch: Batch) -> _Process:
        """The driver process that sends a batch."""
        processes = self._heard.setdefault(key, OrderedDict())
        self._heard.move_to_end(key)
        if len(self._heard) > _MOST_APPLICATIONS:
            self._heard.popitem(last=False)
        process = processes.setdefault(batch.driver, _Process(batch.batch, batch=-1, dropped=0))
        processes.move_to_end(batch.driver)
        if len(processes) > _MOST_DRIVERS:
            processes.popitem(last=False)
        lost = max(0, batch.dropped - process.dropped)
        self._observe.updates_lost("agent", min(lost, _MOST_LOST))  # one liar must not spoil the sum of all
        process.dropped = max(process.dropped, batch.dropped)
        return process

    def _reply(self, key: GangKey, now: float, *, resend: bool) -> Reply:
        allowed, switches = self._options.allowed, queries.switches(self._engine.store)
        priorities: dict[int, int] = {}
        target = None
        if allowed.stage_order and switches.stage_order:
            priorities = spark_priorities(queries.priorities(self._engine.store, key))
        if allowed.executor_target and switches.executor_target:
            target = queries.target(self._engine.store, key, now)
        return Reply(
            interval_s=self._options.interval_s,
            priorities=priorities,
            target_executors=None if target is None else max(1, target),  # Spark accepts no target of 0
            resend=resend,
        )


def _counts(*numbers: int) -> bool:
    return all(0 <= number < _COUNTED_OUT for number in numbers)


def driver_application(
    settings: Settings,
    client: ApiClient,
    engine: Engine,
    perform: Perform,
    observe: Observe,
    clock: Callable[[], float],
    heard: Callable[[GangKey], None] = lambda _key: None,
) -> FastAPI:
    """The receiver of reports on `drivers.port`. `heard` is called for each report of an application."""
    options = Options(settings.drivers.report_interval_s, settings.drivers.agent, settings.stages.allowed())
    reports = DriverReports(engine, perform, clock, observe, options, heard)
    reviews = TokenReviews(client, settings.drivers.audiences, time.monotonic, observe.reviewed)
    identify = Identification(reviews, settings.drivers.audiences)
    return create_driver_app(
        engine.store, identify, reports, clock, max_body_bytes=settings.drivers.max_report_bytes
    )


class Identification:
    """Tokens to pods, in the words of the API."""

    def __init__(self, reviews: TokenReviews, audiences: tuple[str, ...]) -> None:
        self._reviews = reviews
        self._invalid = (
            "the API server does not accept this token for "
            f"{' or '.join(audiences)}: mount a projected token of that audience (docs/agent.md), and see "
            "that it has not expired"
        )

    async def __call__(self, token: str, source: str) -> Caller | Refused:
        """The pod behind a token. Never raises."""
        try:
            answer = await self._reviews.identify(token, source)
        except ReviewFailed as problem:
            return Refused(503, str(problem), problem.retry_after_s)
        except TooMany as problem:
            return Refused(429, str(problem), problem.retry_after_s)
        match answer:
            case PodIdentity():
                return Caller(answer.namespace, answer.name, answer.uid)
            case Unproven.UNBOUND:
                return Refused(403, _HOW_TO_BIND)
            case Unproven.INVALID:
                return Refused(401, self._invalid)
