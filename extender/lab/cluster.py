"""Nodes that run what is bound to them: kubelets, Spark drivers that ask for executors, other pods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from extender.lab.registry import (
    ENDED,
    NODE,
    POD,
    Change,
    Object,
    Refusal,
    Registry,
    key_of,
    node_of,
    phase_of,
    uid_of,
)
from extender.lab.spark import NAMESPACE, SparkApplication, executor_pod

ZONE_LABEL: Final = "topology.kubernetes.io/zone"
BATCH_SIZE: Final = 5
"""Executors that a driver asks for at once (spark.kubernetes.allocation.batch.size before Spark 4)."""

_START_S: Final = 0.4
_STOP_S: Final = 0.2
_BATCH_DELAY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast simulated time runs: `speed` simulated seconds pass in one real second."""

    speed: float = 1.0

    async def sleep(self, seconds: float) -> None:
        """Let simulated seconds pass."""
        await asyncio.sleep(seconds / self.speed)

    def now_s(self) -> float:
        """Simulated seconds since an arbitrary moment."""
        return asyncio.get_running_loop().time() * self.speed


def node(name: str, zone: str, labels: Mapping[str, str], *, cpu: int = 8, memory_gib: int = 32) -> Object:
    """A node that is ready."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, ZONE_LABEL: zone, **labels}},
        "spec": {},
        "status": {
            "allocatable": {"cpu": str(cpu), "memory": f"{memory_gib}Gi", "pods": "32"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def plain_pod(name: str, cpu_milli: int, memory_mib: int) -> Object:
    """A pod of the default scheduler that has nothing to do with Spark."""
    requests = {"cpu": f"{cpu_milli}m", "memory": f"{memory_mib}Mi"}
    container = {"name": "main", "image": "example/web:1", "resources": {"requests": requests}}
    return {
        "metadata": {"name": name, "namespace": "web", "labels": {"app": "web"}},
        "spec": {"schedulerName": "default-scheduler", "containers": [container]},
    }


class Tasks:
    """Tasks of one owner: a failure is kept until `failed`, and `close` cancels what still runs."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self.failure: BaseException | None = None

    def start(self, work: Callable[[], object]) -> None:
        """Run a coroutine function beside everything else."""
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work())  # type: ignore[arg-type]
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()

    async def close(self) -> None:
        """End all tasks."""
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)


class Kubelets:
    """All nodes' kubelets: a bound pod runs after a moment, a deleted one is stopped and removed.

    `runs_for_s` tells how long a pod runs, in simulated seconds; None means until someone ends it.
    """

    def __init__(self, registry: Registry, pace: Pace, runs_for_s: Callable[[Object], float | None]) -> None:
        self._registry = registry
        self._pace = pace
        self._runs_for_s = runs_for_s
        self._seen: set[str] = set()
        self._stopping: set[str] = set()
        self.tasks = Tasks()
        self._subscription = registry.subscribe(self._hear)

    async def close(self) -> None:
        """Stop looking, and forget what runs."""
        self._subscription()
        await self.tasks.close()

    def _hear(self, change: Change) -> None:
        pod = change.object
        if change.kind != POD or not node_of(pod):
            return
        uid = uid_of(pod)
        if change.type == "DELETED":
            self._seen.discard(uid)
            self._stopping.discard(uid)
        elif pod["metadata"].get("deletionTimestamp"):
            if uid not in self._stopping:
                self._stopping.add(uid)
                self.tasks.start(lambda: self._stop(pod))
        elif uid not in self._seen:
            self._seen.add(uid)
            self.tasks.start(lambda: self._run(pod))

    async def _run(self, pod: Object) -> None:
        await self._pace.sleep(_START_S)
        set_phase(self._registry, pod, "Running")
        runs_for_s = self._runs_for_s(pod)
        if runs_for_s is not None:
            await self._pace.sleep(runs_for_s)
            set_phase(self._registry, pod, "Succeeded")

    async def _stop(self, pod: Object) -> None:
        await self._pace.sleep(_STOP_S)
        remove(self._registry, pod)


def set_phase(registry: Registry, pod: Object, phase: str) -> None:
    """Report a pod's phase, unless it has ended or is gone."""
    found = registry.find(POD, *key_of(pod))
    if found is not None and uid_of(found) == uid_of(pod) and phase_of(found) not in ENDED:
        registry.merge_patch(POD, *key_of(pod), {"status": {"phase": phase}}, status=True)


def remove(registry: Registry, pod: Object, *, now: bool = True) -> None:
    """Delete a pod, unless it is gone or made again."""
    try:
        registry.delete(POD, *key_of(pod), uid=uid_of(pod), now=now)
    except Refusal as refusal:
        if refusal.status not in (404, 409):
            raise


@dataclass
class Driver:
    """The process in a driver pod: it requests executors in batches, hands out work, and ends.

    `done_s` is work done in executor-seconds. One executor fails when `fails_at` of the work is done.
    """

    app: SparkApplication
    pod: Object
    registry: Registry
    pace: Pace
    fails_at: float | None = None
    done_s: float = 0.0
    executors: dict[str, Object] = field(default_factory=dict[str, Object])
    _numbers: int = 0
    _working: int = 0
    _counted_s: float = 0.0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def progress(self) -> float:
        """Share of the work that is done by now, 0..1."""
        since_s = self.pace.now_s() - self._counted_s if self._counted_s else 0.0
        return min(1.0, (self.done_s + self._working * since_s) / self.app.work_s)

    @property
    def running(self) -> int:
        """Executors at work."""
        return sum(1 for pod in self.executors.values() if phase_of(pod) == "Running")

    async def run(self) -> None:
        """From the driver's start to its end. The driver must be bound."""
        unsubscribe = self.registry.subscribe(self._hear)
        try:
            await self._until_started()
            next_batch_s = 0.0
            while self.done_s < self.app.work_s:
                now_s = self.pace.now_s()
                if len(self.executors) < self._target() and now_s >= next_batch_s:
                    self._ask_for_executors()
                    next_batch_s = now_s + _BATCH_DELAY_S
                await self._work(now_s, next_batch_s)
            for pod in list(self.executors.values()):
                remove(self.registry, pod, now=False)
            await self.pace.sleep(_STOP_S)
            set_phase(self.registry, self.pod, "Succeeded")
        finally:
            unsubscribe()

    def _hear(self, change: Change) -> None:
        pod = change.object
        if change.kind != POD or pod["metadata"].get("namespace") != NAMESPACE:
            return
        if uid_of(pod) == uid_of(self.pod):
            self.pod = pod
            self._changed.set()
        elif pod["metadata"]["name"] in self.executors:
            if change.type == "DELETED" or phase_of(pod) in ENDED:
                del self.executors[pod["metadata"]["name"]]
            else:
                self.executors[pod["metadata"]["name"]] = pod
            self._changed.set()

    async def _until_started(self) -> None:
        while phase_of(self.pod) == "Pending":
            self._changed.clear()
            await self._changed.wait()

    def _target(self) -> int:
        """Static allocation asks for the same number always, dynamic for more while work is left."""
        left_s = self.app.work_s - self.done_s
        return min(self.app.most, max(self.app.executors, round(left_s / 3)))

    def _ask_for_executors(self) -> None:
        for _ in range(min(BATCH_SIZE, self._target() - len(self.executors))):
            self._numbers += 1
            wanted = executor_pod(self.app, self._numbers, self.pod)
            name = wanted["metadata"]["name"]
            self.executors[name] = wanted  # before the server tells about it
            self.executors[name] = self.registry.create(POD, wanted)

    async def _work(self, began_s: float, next_batch_s: float) -> None:
        """Let the executors work until their number changes, they are done, or a batch is due."""
        running = self.running
        self._working, self._counted_s = running, began_s
        rest_s = (self.app.work_s - self.done_s) / running if running else 3600.0
        if len(self.executors) < self._target():
            rest_s = min(rest_s, max(0.0, next_batch_s - began_s))
        if self.fails_at is not None and running:
            rest_s = min(rest_s, max(0.0, (self.fails_at * self.app.work_s - self.done_s) / running))
        self._changed.clear()
        try:
            async with asyncio.timeout(rest_s / self.pace.speed):
                await self._changed.wait()
        except TimeoutError:
            pass
        now_s = self.pace.now_s()
        self.done_s += running * (now_s - began_s)
        self._counted_s = now_s
        if self.fails_at is not None and running and self.done_s >= self.fails_at * self.app.work_s:
            self.fails_at = None
            victim = next(pod for pod in self.executors.values() if phase_of(pod) == "Running")
            set_phase(self.registry, victim, "Failed")


def add_nodes(registry: Registry, nodes: list[Object]) -> None:
    """Create nodes."""
    for each in nodes:
        registry.create(NODE, each)
