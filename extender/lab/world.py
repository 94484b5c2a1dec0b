"""The demo's world, put together: API server, schedulers, kubelets, Spark, and the checks around them."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Self

from extender.core.outcomes import FOR_GOOD
from extender.lab.apiserver import ApiServer
from extender.lab.checks import Checker
from extender.lab.cluster import Driver, Kubelets, Pace, Tasks, add_nodes
from extender.lab.extender_client import ExtenderClient
from extender.lab.records import GangRecord
from extender.lab.registry import CONFIG_MAP, POD, Change, Object, Registry, uid_of
from extender.lab.scheduler import Attempt, Scheduler
from extender.lab.spark import OUR_SCHEDULER, SparkApplication, config_maps, driver_pod
from extender.lab.workload import ForeignPod, Submission

_SOON = "waiting-for-configuration"
_NOTES_KEPT = 200
_FIRST_BACKOFF_S, _MOST_BACKOFF_S = 1.0, 2.0


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling: when (seconds since the start), what kind, about whom, in which words."""

    at_s: float
    kind: str
    name: str
    text: str


@dataclass
class World:
    """A cluster that is alive. Use as an asynchronous context manager, then `schedule_with` an extender.

    `clock` gives seconds since the epoch; `tell` hears notes as they are made.
    """

    nodes: Sequence[Object]
    pace: Pace = field(default_factory=Pace)
    clock: Callable[[], float] = time.time
    draw: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - not a secret
    tell: Callable[[Note], None] = lambda _: None
    drivers: dict[str, Driver] = field(default_factory=dict[str, Driver])
    notes: deque[Note] = field(default_factory=lambda: deque[Note](maxlen=_NOTES_KEPT))
    waits_s: list[float] = field(default_factory=list[float])

    def __post_init__(self) -> None:
        self.registry = Registry(clock=self.clock, new_uid=self._new_uid)
        self.server = ApiServer(self.registry)
        self.checker = Checker(self.registry, self.clock)
        self.began_s = self.clock()
        self.extender: ExtenderClient | None = None
        self.schedulers: list[Scheduler] = []
        self._foreign: dict[str, float] = {}
        self._fails_at: dict[str, float | None] = {}
        self._reasons: dict[str, str] = {}
        self._told_finished: set[str] = set()
        self._tasks = Tasks()
        self._kubelets = Kubelets(self.registry, self.pace, lambda pod: self._foreign.get(uid_of(pod)))
        self._changed = asyncio.Event()
        self._stack = AsyncExitStack()

    def _new_uid(self) -> str:
        text = f"{self.draw.getrandbits(128):032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    async def __aenter__(self) -> Self:
        add_nodes(self.registry, list(self.nodes))
        await self._stack.enter_async_context(self.server)
        self._stack.callback(self.registry.subscribe(self._hear))
        self._stack.callback(self.checker.close)
        self._stack.push_async_callback(self._kubelets.close)
        self._stack.push_async_callback(self._tasks.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def schedule_with(self, extender_url: str) -> None:
        """Start kube-scheduler's loop with this extender, and the default scheduler without."""
        self.extender = await self._stack.enter_async_context(ExtenderClient(extender_url))
        backoff_s = (_FIRST_BACKOFF_S / self.pace.speed, _MOST_BACKOFF_S / self.pace.speed)
        for name, extender in ((OUR_SCHEDULER, self.extender), ("default-scheduler", None)):
            scheduler = Scheduler(
                name,
                self.registry,
                extender=extender,
                backoff_s=backoff_s,
                clock=self.clock,
                on_attempt=self._attempted,
            )
            self.schedulers.append(scheduler)
            self._tasks.start(scheduler.run)
        self._stack.push_async_callback(self._tasks.close)

    async def freeze(self) -> None:
        """Stop schedulers, kubelets and drivers: nothing changes any more."""
        await self._tasks.close()
        await self._kubelets.close()

    def check(self) -> None:
        """Raise what a part of the world failed with, if one did."""
        failures = (self.registry.listener_failure, self._tasks.failure, self._kubelets.tasks.failure)
        for failure in failures:
            if failure is not None:
                raise failure

    # -- what is submitted -------------------------------------------------------------------------

    def submit(self, app: SparkApplication, fails_at: float | None = None) -> GangRecord:
        """Create the objects that `spark-submit` creates: the driver pod, then its ConfigMaps."""
        driver = self.registry.create(POD, driver_pod(app))
        self._fails_at[uid_of(driver)] = fails_at
        self.checker.submitted(app, driver)
        for config_map in config_maps(app, driver):
            self.registry.create(CONFIG_MAP, config_map)
        pool = f", pool {app.pool}" if app.pool else ""
        most = f"..{app.most}" if app.most > app.executors else ""
        self.note(
            "submitted", app.name, f"{app.executors}{most} executors of {app.cores} cpu{pool} ({app.kind})"
        )
        return self.checker.gangs[uid_of(driver)]

    def submit_foreign(self, foreign: ForeignPod) -> Object:
        """A pod of the default scheduler."""
        pod = self.registry.create(POD, foreign.pod)
        self._foreign[uid_of(pod)] = foreign.runs_for_s
        return pod

    async def play(self, apps: Sequence[Submission], foreign: Sequence[ForeignPod]) -> None:
        """Submit everything at its time."""
        began_s = self.pace.now_s()
        for each in sorted((*apps, *foreign), key=lambda each: each.at_s):
            await self.pace.sleep(max(0.0, began_s + each.at_s - self.pace.now_s()))
            if isinstance(each, Submission):
                self.submit(each.app, each.fails_at)
            else:
                self.submit_foreign(each)

    # -- what happens ------------------------------------------------------------------------------

    def note(self, kind: str, name: str, text: str) -> None:
        """Keep something worth telling."""
        made = Note(self.clock() - self.began_s, kind, name, text)
        self.notes.append(made)
        self.tell(made)

    def _attempted(self, attempt: Attempt) -> None:
        self.checker.attempted(attempt)
        record = self.checker.gangs.get(uid_of(attempt.pod))
        if record is None or attempt.node:
            return
        if _SOON in attempt.reason:
            return  # the ConfigMaps come a moment after the pod, as those of spark-submit do
        if self._reasons.get(record.app.name) != attempt.reason:
            self._reasons[record.app.name] = attempt.reason
            for_good = any(attempt.reason.startswith(f"carbon-scheduler: {each}:") for each in FOR_GOOD)
            kind = "refused" if for_good else "held" if record.held else "waits"
            self.note(kind, record.app.name, attempt.reason.removeprefix("carbon-scheduler: "))

    def _hear(self, change: Change) -> None:
        if change.kind != POD:
            return
        self._changed.set()
        record = self.checker.gangs.get(uid_of(change.object))
        if record is None:
            return
        name = record.app.name
        if record.bound_s is not None and name not in self.drivers:
            self.waits_s.append(record.bound_s - record.created_s)
            node = record.driver["spec"]["nodeName"]
            slots = ", ".join(f"{number} on {slot}" for slot, number in sorted(record.slots().items()))
            self.note("admitted", name, f"driver on {node}; held for executors: {slots or 'none'}")
            uid = uid_of(record.driver)
            driver = Driver(record.app, record.driver, self.registry, self.pace, self._fails_at[uid])
            self.drivers[name] = driver
            self._tasks.start(driver.run)
        if record.ended_s is not None and name not in self._told_finished:
            self._told_finished.add(name)
            self.note("finished", name, f"ran {record.ended_s - (record.bound_s or record.ended_s):.1f} s")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after every change of a pod."""
        while not condition():
            self.check()
            self._changed.clear()
            await self._changed.wait()

    # -- where things stand ------------------------------------------------------------------------

    @property
    def records(self) -> list[GangRecord]:
        """All applications, in order of submission."""
        return list(self.checker.gangs.values())

    @property
    def running(self) -> list[GangRecord]:
        """Applications whose driver is bound and has not ended."""
        return [each for each in self.records if each.bound_s is not None and each.ended_s is None]

    @property
    def waiting(self) -> list[GangRecord]:
        """Applications that can be admitted and have not been."""
        return [each for each in self.records if each.waits]

    @property
    def flexible(self) -> frozenset[str]:
        """Ids of the applications that may wait for clean power."""
        return frozenset(each.app.app_id for each in self.records if each.latest_start_s is not None)

    @property
    def refused(self) -> list[GangRecord]:
        """Applications that no such cluster can ever run, and that were refused."""
        return [each for each in self.records if not each.app.admissible and each.refused]

    @property
    def finished(self) -> list[GangRecord]:
        """Applications that have ended."""
        return [each for each in self.records if each.bound_s is not None and each.ended_s is not None]

    def settled(self, submitted: int) -> bool:
        """Whether `submitted` applications were submitted and each has ended or was refused for good."""
        return len(self.records) >= submitted == len(self.finished) + len(self.refused)
