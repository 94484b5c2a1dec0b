"""Annotations, hold gates and named nodes of pods: written behind the decisions, never to a namesake."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from extender.adapters.kubernetes.binding import pod_path
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.objects.projection import HOLD_GATE
from extender.support.backoff import Backoff, Draw, Sleep

_MOST_WAITING: Final = 50_000
_LONGEST_PAUSE_S: Final = 30.0

_WARN_AT: Final = 7  # failures in a row: about a minute

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Write:
    namespace: str
    name: str
    annotations: dict[str, str]
    ungate: bool
    backoff: Backoff
    node: str = ""


@dataclass(slots=True)
class PatcherHealth:
    """Counters: writes done, to pods that were gone, failed and repeated, refused by a full queue.

    `named` are pods whose node was written, `not_named` those for which that failed.
    """

    written: int = 0
    pod_gone: int = 0
    failed: int = 0
    refused: int = 0
    named: int = 0
    not_named: int = 0


class PodPatcher:
    """Merges annotations into pods, takes our scheduling gate off them, and names their node.

    `annotate` writes at once; `submit` and `ungate` queue, and `run` writes what is queued, with `writers`
    requests in flight. Queued writes of one pod are merged (the latest value of a key wins) and go
    out one after the other, so that an older value never lands on a newer one. A write that fails is repeated
    for as long as the pod exists; others do not wait for it. A node's name is written
    before all else of its pod, once, and only while `still_wanted` says so by uid: kube-scheduler may have
    called for the pod meanwhile.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        writers: int = 8,
        most_waiting: int = _MOST_WAITING,
        still_wanted: Callable[[str], bool] = lambda _: True,
        sleep: Sleep = asyncio.sleep,
        draw: Draw = random.random,
    ) -> None:
        self._still_wanted = still_wanted
        self.health = PatcherHealth()
        self._client = client
        self._writers = writers
        self._most_waiting = most_waiting
        self._sleep = sleep
        self._draw = draw
        self._waiting: dict[str, _Write] = {}
        self._writing: set[str] = set()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._pauses: set[asyncio.Task[None]] = set()

    async def annotate(
        self,
        namespace: str,
        name: str,
        uid: str,
        annotations: Mapping[str, str],
        *,
        ungate: bool = False,
    ) -> bool:
        """Merge annotations into the pod with this uid; False if there is no such pod any more.

        `ungate` takes exactly our scheduling gate off in the same write.

        Raises:
            ApiError: the write failed for another reason.
        """
        body: dict[str, Any] = {"metadata": {"uid": uid}}
        if annotations:
            body["metadata"]["annotations"] = dict(annotations)
        if ungate:
            body["spec"] = {"schedulingGates": [{"$patch": "delete", "name": HOLD_GATE}]}
        try:
            await self._client.patch(pod_path(namespace, name), _encode(body), strategic=ungate)
        except ApiError as problem:
            # A uid that is not the pod's answers 409 or 422, depending on the server's version.
            if problem.status not in (404, 409, 422):
                raise
            level = logging.INFO if problem.status == 404 else logging.WARNING
            _log.log(level, "pod %s/%s (%s) was not patched: %s", namespace, name, uid, problem)
            self.health.pod_gone += 1
            return False
        self.health.written += 1
        return True

    def submit(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str]) -> bool:
        """Queue annotations for `run` to write; False, and a log line, if the queue is full."""
        return self._queue(namespace, name, uid, annotations, ungate=False)

    def ungate(self, namespace: str, name: str, uid: str) -> bool:
        """Queue that our scheduling gate is taken off; False, and a log line, if the queue is full."""
        return self._queue(namespace, name, uid, {}, ungate=True)

    def name_node(self, namespace: str, name: str, uid: str, node: str) -> bool:
        """Queue the name of the pod's node for its status; False, and a log line, if the queue is full."""
        return self._queue(namespace, name, uid, {}, ungate=False, node=node)

    def _queue(
        self,
        namespace: str,
        name: str,
        uid: str,
        annotations: Mapping[str, str],
        *,
        ungate: bool,
        node: str = "",
    ) -> bool:
        write = self._waiting.get(uid)
        if write is not None:
            write.annotations.update(annotations)
            write.ungate |= ungate
            write.node = node or write.node
            return True
        if len(self._waiting) >= self._most_waiting:
            self.health.refused += 1
            _log.error("%d pods wait to be patched, %s/%s is not queued", len(self._waiting), namespace, name)
            return False
        backoff = Backoff(0.2, _LONGEST_PAUSE_S, sleep=self._sleep, draw=self._draw)
        self._waiting[uid] = _Write(namespace, name, dict(annotations), ungate, backoff, node)
        self._idle.clear()
        self._work.set()
        return True

    @property
    def backlog(self) -> int:
        """Pods whose annotations are not written yet."""
        return len(self._waiting) + len(self._writing)

    async def idle(self) -> None:
        """Wait until everything submitted was written, or its pod is gone."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what is submitted, for ever. Ends only by cancellation."""
        self._writing.clear()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._writers):
                    group.create_task(self._write_submitted())
        finally:
            for pause in self._pauses:
                pause.cancel()

    async def _write_submitted(self) -> None:
        while True:
            uid = next((each for each in self._waiting if each not in self._writing), None)
            if uid is None:
                self._work.clear()
                await self._work.wait()
                continue
            write = self._waiting.pop(uid)
            self._writing.add(uid)
            at_least_s = await self._attempt(uid, write)
            if at_least_s is None:
                self._done(uid)
                continue
            pause = asyncio.create_task(self._again(uid, write, at_least_s))
            self._pauses.add(pause)
            pause.add_done_callback(self._pauses.discard)

    async def _attempt(self, uid: str, write: _Write) -> float | None:
        """Write once. None: done; else it failed, and the server asked for a pause of so many seconds."""
        pod = f"{write.namespace}/{write.name}"
        node, write.node = write.node, ""
        if node and self._still_wanted(uid):
            await self._name_node(write.namespace, write.name, uid, node)
        if not write.annotations and not write.ungate:
            return None
        try:
            await self.annotate(write.namespace, write.name, uid, write.annotations, ungate=write.ungate)
        except ApiError as problem:
            level = logging.WARNING if write.backoff.failures == _WARN_AT else logging.INFO
            _log.log(level, "pod %s is not patched yet: %s", pod, problem)
            self.health.failed += 1
            return problem.retry_after_s or 0.0
        except Exception:
            _log.exception("pod %s is not patched yet", pod)
            self.health.failed += 1
            return 0.0
        return None

    async def _name_node(self, namespace: str, name: str, uid: str, node: str) -> None:
        """Write the name once: without it, kube-scheduler looks at all nodes."""
        body = {"metadata": {"uid": uid}, "status": {"nominatedNodeName": node}}
        try:
            await self._client.patch(f"{pod_path(namespace, name)}/status", _encode(body))
        except ApiError as problem:
            self.health.not_named += 1
            _log.info("the node %s of pod %s/%s was not named: %s", node, namespace, name, problem)
        else:
            self.health.named += 1

    async def _again(self, uid: str, write: _Write, at_least_s: float) -> None:
        """After a pause, queue a write once more, beneath what was submitted meanwhile."""
        await write.backoff.wait(at_least_s)
        newer = self._waiting.get(uid)
        if newer is not None:
            write.annotations.update(newer.annotations)
            write.ungate |= newer.ungate
            write.node = newer.node
        self._waiting[uid] = write
        self._done(uid)

    def _done(self, uid: str) -> None:
        self._writing.discard(uid)
        self._work.set()
        if not self.backlog:
            self._idle.set()
