"""`carbon-scheduler demo --kubeconfig`: the demo's applications on a real cluster whose nodes KWOK plays.

It does on the API what `spark-submit`, the drivers and a person who cleans up do, and nothing of a scheduler
or a kubelet. There is no end: applications come until somebody stops it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.credentials import CredentialsError
from extender.lab.cluster import BATCH_SIZE
from extender.lab.demo import stop_on_signals
from extender.lab.registry import ENDED, Object, phase_of
from extender.lab.spark import NAMESPACE, SparkApplication, config_maps, driver_pod, executor_pod
from extender.lab.workload import applications, demo_nodes, flexible

FAKE: Final = {"kwok.x-k8s.io/node": "fake"}
"""Annotation of the nodes that KWOK plays."""
URGENT: Final = "carbon-scheduler-demo-urgent"
"""Priority class of urgent applications: real clusters take no number in a pod."""

_GAP_S: Final = 3.0
_STRETCH: Final = 6.0  # the demo in the terminal plays applications of seconds, here they take half a minute
_DELAY_S: Final = (60.0, 180.0)
_MOST_AT_ONCE: Final = 40
_PATIENCE_S: Final = 240.0  # then the user gives up; longer than any delay for carbon
_KEPT_S: Final = 20.0  # how long a finished driver stays to be seen
_TICK_S: Final = 1.0
_CHUNK: Final = 100
_PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
_CONFIG_MAPS: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps"


@dataclass
class _Running:
    """One application that was submitted: work done in executor-seconds, executors asked for so far."""

    app: SparkApplication
    submitted_s: float
    done_s: float = 0.0
    numbers: int = 0
    ended_s: float | None = None
    gone: bool = False
    executors: list[Object] = field(default_factory=list[Object])

    @property
    def target(self) -> int:
        """As a driver with dynamic allocation asks: more while there is work for them."""
        left_s = (self.app.work_s - self.done_s) / _STRETCH
        return min(self.app.most, max(self.app.executors, round(left_s / 3)))


def endless(seed: int) -> Iterator[tuple[float, SparkApplication]]:
    """Applications and the seconds between each and the one before; their names never repeat in a cluster."""
    draw = random.Random(seed)  # noqa: S311 - not a secret
    label = f"{int(time.time()) % 46_656:x}"
    for round_number in range(1_000_000):
        apps = flexible(applications(_CHUNK, _GAP_S, draw), _DELAY_S, draw)
        before_s = 0.0
        for each in apps:
            app = replace(
                each.app,
                name=f"{each.app.name}-{label}{round_number}",
                work_s=each.app.work_s * _STRETCH,
            )
            yield each.at_s - before_s, app
            before_s = each.at_s


class Stream:
    """Submits, watches over and cleans up applications. Every tick is one list of pods and what follows."""

    def __init__(self, api: ApiClient, console: Console, seed: int) -> None:
        self._api = api
        self._console = console
        self._coming = endless(seed)
        self._apps: dict[str, _Running] = {}
        self._next_s = 0.0
        self._next: SparkApplication | None = None

    async def prepare(self) -> None:
        """Nodes, namespace and priority class; what is there already stays. Raises `ApiError`."""
        await self._ensure("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await self._ensure(
            "/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": URGENT}, "value": 1000}
        )
        for node in demo_nodes():
            room = node["status"]["allocatable"]
            status = {"allocatable": room, "capacity": room}  # KWOK tells when it is ready
            metadata = {**node["metadata"], "annotations": FAKE}
            await self._ensure("/api/v1/nodes", {"metadata": metadata, "spec": {}, "status": status})

    async def tick(self, now_s: float, passed_s: float) -> None:
        """Look once, then let drivers go on and submit what is due. Raises `ApiError`."""
        pods = msgspec.json.decode(await self._api.get(_PODS))["items"]
        drivers = {pod["metadata"]["name"]: pod for pod in pods}
        for running in self._apps.values():
            running.executors = []
        for pod in pods:
            owner = self._apps.get(pod["metadata"]["labels"].get("spark-app-name", ""))
            if owner is not None and pod["metadata"]["labels"].get("spark-role") == "executor":
                owner.executors.append(pod)
        for running in self._apps.values():
            await self._advance(running, drivers.get(running.app.driver_name), now_s, passed_s)
        self._apps = {name: each for name, each in self._apps.items() if not each.gone}
        await self._submit_due(now_s)

    async def _advance(self, running: _Running, driver: Object | None, now_s: float, passed_s: float) -> None:
        app = running.app
        if driver is None:
            running.gone = True
        elif running.ended_s is not None:
            if now_s - running.ended_s > _KEPT_S:
                await self._delete(driver)
        elif phase_of(driver) == "Pending":
            if now_s - running.submitted_s > _PATIENCE_S:
                self._say(f"{app.name} was given up by its user after {_PATIENCE_S:.0f} s")
                await self._delete(driver)
        elif phase_of(driver) in ENDED:
            running.ended_s = now_s
        else:
            await self._work(running, driver, now_s, passed_s)

    async def _work(self, running: _Running, driver: Object, now_s: float, passed_s: float) -> None:
        """Advance a driver: executors work, it requests more, or all is done."""
        working = sum(1 for pod in running.executors if phase_of(pod) == "Running")
        running.done_s += working * passed_s
        if running.done_s >= running.app.work_s:
            for pod in running.executors:
                await self._delete(pod)
            path = f"{_PODS}/{running.app.driver_name}/status"
            await self._api.patch(path, msgspec.json.encode({"status": {"phase": "Succeeded"}}))
            running.ended_s = now_s
            self._say(f"{running.app.name} finished after {now_s - running.submitted_s:.0f} s")
            return
        living = sum(1 for pod in running.executors if phase_of(pod) not in ENDED)
        for _ in range(min(BATCH_SIZE, running.target - living)):
            running.numbers += 1
            await self._post(_PODS, _real(executor_pod(running.app, running.numbers, driver), running.app))

    async def _submit_due(self, now_s: float) -> None:
        if self._next is None:
            gap_s, self._next = next(self._coming)
            self._next_s = now_s + gap_s
        if now_s < self._next_s or len(self._apps) >= _MOST_AT_ONCE:
            return
        app, self._next = self._next, None
        driver = await self._post(_PODS, _real(driver_pod(app), app))
        self._apps[app.name] = _Running(app, now_s)
        for config_map in config_maps(app, driver):
            await self._post(_CONFIG_MAPS, config_map)
        self._say(f"{app.name} submitted: {app.size}")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)

    async def _post(self, path: str, body: Object) -> Any:
        return msgspec.json.decode(await self._api.post(path, msgspec.json.encode(body)))

    async def _ensure(self, path: str, body: Object) -> None:
        try:
            await self._post(path, body)
        except ApiError as problem:
            if problem.status != 409:
                raise

    async def _delete(self, pod: Object) -> None:
        try:
            await self._api.delete(f"{_PODS}/{pod['metadata']['name']}")
        except ApiError as problem:
            if problem.status != 404:
                raise


def _real(pod: Object, app: SparkApplication) -> Object:
    """The lab's pod as a real API server takes it: priority by class."""
    spec = {key: each for key, each in pod["spec"].items() if key != "priority"}
    return {**pod, "spec": {**spec, "priorityClassName": URGENT} if app.priority else spec}


def run_stream(kubeconfig: Path, seed: int, console: Console | None = None) -> int:
    """Play until Ctrl-C or SIGTERM; the exit code."""
    console = console or Console()
    try:
        asyncio.run(_play_until_signal(kubeconfig, seed, console))
    except CredentialsError as problem:
        console.print(f"carbon-scheduler demo: {problem}", soft_wrap=True, highlight=False)
        return 1
    return 0


async def _play_until_signal(kubeconfig: Path, seed: int, console: Console) -> None:
    await play(kubeconfig, seed, console, stop_on_signals())


async def play(kubeconfig: Path, seed: int, console: Console, stop: asyncio.Event) -> None:
    """Until `stop` is set. A cluster that is not there yet, or not for a while, is waited for."""
    loop = asyncio.get_running_loop()
    async with await ApiClient.from_kubeconfig(kubeconfig) as api:
        stream = Stream(api, console, seed)
        ready, told, last_s = False, "", loop.time()
        while not stop.is_set():
            now_s = loop.time()
            try:
                if not ready:
                    await stream.prepare()
                    ready = True
                await stream.tick(now_s, now_s - last_s)
                told = ""
            except ApiError as problem:
                if str(problem) != told:
                    told = str(problem)
                    console.print(f"going on when the cluster does: {told}", soft_wrap=True, highlight=False)
            last_s = now_s
            try:
                async with asyncio.timeout(_TICK_S):
                    await stop.wait()
            except TimeoutError:
                continue
