"""Stages of running applications from outside their drivers: event logs, else the drivers' REST API.

It polls no application whose agent reports. A failure here is a problem with a text, seen in
`health`; it never reaches the scheduling. Work on files runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import aiohttp

from extender.adapters.api.ports import StageSourcesHealth
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.spark.driver_rest import DriverPod, DriverRest, driver_pod, session
from extender.adapters.spark.eventlog.follow import LogDirectory, LogsFollower, Round
from extender.adapters.spark.patience import Patience
from extender.adapters.spark.polls import Polls
from extender.adapters.spark.stage_events import slices
from extender.adapters.webhooks.ports import Perform
from extender.core import queries
from extender.core.carbon.width.stage_deferral import TRUSTED_FOR_S
from extender.core.events import StagesReported
from extender.core.facts import GangKey, PodFacts
from extender.core.stages.events import StageEvent
from extender.engine import Engine
from extender.settings.stages import StageSettings
from extender.support.backoff import Sleep
from extender.support.problems import Problems

T = TypeVar("T")

_MOST_APPLICATIONS: Final = 500
_MOST_LOOKUPS: Final = 50
_AT_ONCE: Final = 8
_SOON_S: Final = 0.2
_BREATH_S: Final = 0.0005
_ANSWER_S: Final = 5.0
_STUCK_AFTER_S: Final = 60.0
_SILENT_AFTER_S: Final = 60.0
_MOST_PROBLEMS: Final = 20

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asked:
    """The REST API of the driver in a pod."""

    uid: str
    rest: DriverRest
    patience: Patience


class StageSources:
    """Follows the running Spark applications of a store of which no agent has reported for a minute.

    It applies events to the store on the event loop, in slices. `clock` gives seconds since the epoch.
    Call `run`.
    """

    def __init__(
        self,
        settings: StageSettings,
        client: ApiClient,
        engine: Engine,
        perform: Perform,
        clock: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._client = client
        self._engine = engine
        self._perform = perform
        self._clock = clock
        self._sleep = sleep
        self._logs: LogsFollower[GangKey] | None = None
        if settings.event_logs.directory is not None:
            directory = LogDirectory(settings.event_logs.directory)
            self._logs = LogsFollower(directory, time.monotonic, lambda: time.sleep(_BREATH_S))
        self._agents: dict[GangKey, float] = {}
        self._pods: dict[str, DriverPod | None] = {}
        self._looking = asyncio.Lock()
        self._round: Round[GangKey] = Round()
        self._looked: frozenset[GangKey] = frozenset()
        self._log_spoke_s: dict[GangKey, float] = {}
        self._reading_since_s: float | None = None
        self._busy = threading.Lock()
        self._closed = False
        self._asked: dict[GangKey, _Asked] = {}
        self._polls: Polls[GangKey] = Polls()
        self._left_out = 0
        self._events = 0
        self._problems = Problems(_log, "%s: no stages are read: %s")

    @property
    def enabled(self) -> bool:
        """Whether the settings ask for anything."""
        return self._logs is not None or self._settings.driver_rest.enabled

    @property
    def health(self) -> StageSourcesHealth:
        """As it is now."""
        problems = dict(self._problems.current)
        since_s = self._reading_since_s
        if since_s is not None and self._clock() - since_s > _STUCK_AFTER_S:
            problems["stages.event_logs.directory"] = (
                f"a read has not come back for {self._clock() - since_s:.0f} s; is the file system there?"
            )
        return StageSourcesHealth(
            followed=len(self._round.followed),
            answering=sum(not each.rest.problem for each in self._asked.values()),
            left_out=self._left_out,
            events=self._events,
            nonsense=self._round.nonsense,
            problems=dict(list(problems.items())[:_MOST_PROBLEMS]),
        )

    async def run(self) -> None:
        """Follow and ask for ever. Ends only by cancellation."""
        settings = self._settings
        self._closed = False
        try:
            async with session(_ANSWER_S) as http, asyncio.TaskGroup() as group:
                if self._logs is not None:
                    group.create_task(self._repeat(self.read_logs, settings.event_logs.interval_s))
                if settings.driver_rest.enabled:
                    group.create_task(
                        self._repeat(lambda: self.ask_drivers(http), settings.driver_rest.interval_s)
                    )
        finally:
            self._close()

    def agent_reported(self, key: GangKey) -> None:
        """An agent tells of this application: nothing else is asked about it for a minute."""
        self._agents[key] = self._clock()

    async def _repeat(self, work: Callable[[], Awaitable[bool]], interval_s: float) -> None:
        while True:
            more = False
            try:
                more = await work()
            except Exception:
                _log.exception("stages are not read this time; trying again in %.0f s", interval_s)
            await self._sleep(_SOON_S if more else interval_s)

    # -- which applications ------------------------------------------------------------------------

    async def _wanted(self) -> dict[GangKey, tuple[PodFacts, DriverPod]]:
        """Spark applications whose driver runs and whose agent does not report."""
        store, heard_s = self._engine.store, self._clock() - _SILENT_AFTER_S
        self._agents = {
            key: at_s
            for key, at_s in self._agents.items()
            if queries.gang_is_known(store, key) and at_s > heard_s
        }
        leaders = queries.running_leaders(store)
        running = {key: pod for key, pod in leaders.items() if key not in self._agents}
        self._left_out = max(0, len(running) - _MOST_APPLICATIONS)
        kept = dict(list(running.items())[:_MOST_APPLICATIONS])
        async with self._looking:
            uids = {pod.uid for pod in kept.values()}
            self._pods = {uid: pod for uid, pod in self._pods.items() if uid in uids}
            unknown = [pod for pod in kept.values() if pod.uid not in self._pods]
            await _in_turn([self._look_up(pod) for pod in unknown[:_MOST_LOOKUPS]])
        known = {key: (pod, self._pods.get(pod.uid)) for key, pod in kept.items()}
        return {key: (pod, driver) for key, (pod, driver) in known.items() if driver is not None}

    async def _look_up(self, pod: PodFacts) -> None:
        """The core keeps neither addresses nor labels of pods: one GET for each driver that is followed."""
        with suppress(ApiError):
            body = await self._client.get(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}")
            self._pods[pod.uid] = driver_pod(body, pod.uid)

    # -- event logs --------------------------------------------------------------------------------

    async def read_logs(self) -> bool:
        """One round over the logs; says whether more can be read at once."""
        logs = self._logs
        assert logs is not None
        wanted = {key: driver.app_id for key, (_, driver) in (await self._wanted()).items()}
        if not wanted and not self._looked:
            return False

        def read() -> Round[GangKey]:
            with self._busy:
                try:
                    return logs.round(wanted)
                finally:
                    if self._closed:
                        logs.close()

        self._reading_since_s = self._clock()
        try:
            done = await _on_thread(read)
        finally:
            self._reading_since_s = None
        before, self._round, self._looked = self._round, done, frozenset(wanted)
        self._note("stages.event_logs.directory", done.directory_problem)
        for key in {*before.problems, *done.problems}:
            self._note(f"event log of {key}", done.problems.get(key, ""))
        now = self._clock()
        spoke = {portion.key for portion in done.portions} | done.calm
        self._log_spoke_s = {
            key: now if key in spoke else self._log_spoke_s.get(key, now) for key in done.followed
        }
        for portion in done.portions:
            await self._hand_over(portion.key, portion.events, restarted=portion.restarted)
        for key in done.calm:
            await self._hand_over(key, ())
        return done.behind

    def _told_by_log(self, key: GangKey) -> bool:
        """Whether an application's log can be read, and does not come so late that it is of no use."""
        if key in self._round.ended:
            return True
        heard_s = self._log_spoke_s.get(key, -math.inf)
        return key in self._round.followed and self._clock() - heard_s <= TRUSTED_FOR_S

    def _close(self) -> None:
        """Give up polls and close the logs. A read that is under way closes them when it comes back."""
        self._closed = True
        self._polls.close()
        if self._logs is not None and self._busy.acquire(blocking=False):
            with suppress(Exception):  # file systems behind fsspec raise errors of their own kinds
                self._logs.close()
            self._busy.release()

    # -- REST API of drivers -----------------------------------------------------------------------

    async def ask_drivers(self, http: aiohttp.ClientSession) -> bool:
        """One round over the drivers of which no log tells either. Never more at once.

        Slow drivers are left behind: what they say comes when it comes.
        """
        wanted = await self._wanted()
        if self._logs is not None:
            wanted = {
                key: each
                for key, each in wanted.items()
                if key in self._looked and not self._told_by_log(key)
            }
        for key in [key for key in self._asked if key not in wanted]:
            del self._asked[key]
            self._note(f"driver of {key}", "")
        now = self._clock()
        due: dict[GangKey, Callable[[], Awaitable[None]]] = {}
        for key, (pod, driver) in wanted.items():
            asked = self._asked.get(key)
            if not driver.host:
                self._pods.pop(pod.uid, None)  # it has no address yet: look again next time
            elif asked is None or asked.patience.due_s <= now:
                due[key] = partial(self._ask, key, pod, driver, http)
        await self._polls.round(due)
        return False

    async def _ask(self, key: GangKey, pod: PodFacts, driver: DriverPod, http: aiohttp.ClientSession) -> None:
        asked = self._asked.get(key)
        if asked is None or asked.uid != pod.uid:
            port = self._settings.driver_rest.port
            rest = DriverRest(http, driver.host, port, driver.app_id)
            asked = self._asked[key] = _Asked(pod.uid, rest, Patience(self._clock()))
        began_s = self._clock()
        events = await asked.rest.poll()
        if self._asked.get(key) is not asked:
            return  # meanwhile it ended, or tells of itself in another way
        self._note(f"driver of {key}", asked.rest.problem, logging.INFO)  # its UI may not be up yet
        if asked.rest.problem:
            asked.patience.failed(self._clock())
        else:
            asked.patience.worked(self._clock(), self._clock() - began_s)
        if events or not asked.rest.problem:
            await self._hand_over(key, events)

    # -- what comes of it --------------------------------------------------------------------------

    async def _hand_over(
        self, key: GangKey, events: Sequence[StageEvent], *, restarted: bool = False
    ) -> None:
        """Give events to the store. None are a sign of life: what is known of the stages still holds.

        `restarted`: the stages known before are void. An event that the store cannot take is a defect of this
        project, and no reason to stop reading other applications.
        """
        try:
            for portion in slices(events):
                self._perform(self._engine.observe(StagesReported(key, portion, restarted), self._clock()))
                restarted = False
                await asyncio.sleep(0)
        except Exception:
            _log.exception("the stages of %s could not be taken; nothing is known of them now", key)
        self._events += len(events)

    def _note(self, name: str, problem: str, level: int = logging.WARNING) -> None:
        if problem:
            self._problems.report(name, problem, level)
        else:
            self._problems.solved(name)


async def _in_turn(works: Sequence[Awaitable[None]]) -> None:
    """Await all, a few at once."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Awaitable[None]) -> None:
        async with gate:
            await work

    await asyncio.gather(*(one(work) for work in works))


async def _on_thread(work: Callable[[], T]) -> T:
    """The result of blocking work.

    The thread is a daemon, unlike those of an executor: a file system that hangs must not keep the process
    from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, problem: BaseException | None) -> None:
        if done.done():
            return
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except BaseException as error:
            problem = error
        with suppress(RuntimeError):  # the loop is closed: no caller waits any more
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name="event-logs", daemon=True).start()
    return await done
