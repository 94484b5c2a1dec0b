"""Annotations and hold gates of pods: written behind the decisions, in order, never to a namesake."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from extender.adapters.kubernetes.backoff import Backoff, Draw, Sleep
from extender.adapters.kubernetes.binding import pod_path
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.objects.projection import HOLD_GATE

_MOST_WAITING: Final = 50_000
_ATTEMPTS: Final = 8

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Write:
    namespace: str
    name: str
    annotations: dict[str, str]
    ungate: bool
    backoff: Backoff


@dataclass(slots=True)
class PatcherHealth:
    """Counters: writes done, to pods that were gone, given up in the end, refused by a full queue."""

    written: int = 0
    pod_gone: int = 0
    given_up: int = 0
    refused: int = 0


class PodPatcher:
    """Merges annotations into pods, and takes our scheduling gate off them.

    `annotate` writes at once; `submit` and `ungate` queue, and `run` writes what is queued, with `writers`
    requests in flight. Queued writes of one pod are merged (the latest value of a key wins) and go
    out one after the other, so that an older value never lands on a newer one.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        writers: int = 8,
        most_waiting: int = _MOST_WAITING,
        attempts: int = _ATTEMPTS,
        timeout_s: float = 5.0,
        sleep: Sleep = asyncio.sleep,
        draw: Draw = random.random,
    ) -> None:
        self.health = PatcherHealth()
        self._client = client
        self._writers = writers
        self._most_waiting = most_waiting
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._draw = draw
        self._waiting: dict[str, _Write] = {}
        self._writing: set[str] = set()
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

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
            await self._client.patch(
                pod_path(namespace, name), _encode(body), strategic=ungate, timeout_s=self._timeout_s
            )
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

    def _queue(
        self, namespace: str, name: str, uid: str, annotations: Mapping[str, str], *, ungate: bool
    ) -> bool:
        write = self._waiting.get(uid)
        if write is not None:
            write.annotations.update(annotations)
            write.ungate |= ungate
            return True
        if len(self._waiting) >= self._most_waiting:
            self.health.refused += 1
            _log.error("%d pods wait to be patched, %s/%s is not queued", len(self._waiting), namespace, name)
            return False
        backoff = Backoff(0.2, 10.0, sleep=self._sleep, draw=self._draw)
        self._waiting[uid] = _Write(namespace, name, dict(annotations), ungate, backoff)
        self._idle.clear()
        self._work.set()
        return True

    @property
    def backlog(self) -> int:
        """Pods whose annotations are not written yet."""
        return len(self._waiting) + len(self._writing)

    async def idle(self) -> None:
        """Wait until everything submitted was written or given up."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write what is submitted, for ever. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._writers):
                group.create_task(self._write_submitted())

    async def _write_submitted(self) -> None:
        while True:
            uid = next((each for each in self._waiting if each not in self._writing), None)
            if uid is None:
                self._work.clear()
                await self._work.wait()
                continue
            write = self._waiting.pop(uid)
            self._writing.add(uid)
            try:
                await self._attempt(uid, write)
            finally:
                self._writing.discard(uid)
                self._work.set()
                if not self.backlog:
                    self._idle.set()

    async def _attempt(self, uid: str, write: _Write) -> None:
        pod = f"{write.namespace}/{write.name}"
        try:
            await self.annotate(write.namespace, write.name, uid, write.annotations, ungate=write.ungate)
        except ApiError as problem:
            if write.backoff.failures + 1 >= self._attempts:
                self.health.given_up += 1
                _log.error("pod %s was not patched after %d attempts: %s", pod, self._attempts, problem)
                return
            _log.info("pod %s is not patched yet: %s", pod, problem)
            await write.backoff.wait(problem.retry_after_s or 0.0)
            newer = self._waiting.get(uid)
            if newer is None:
                self._waiting[uid] = write
            else:
                newer.annotations = {**write.annotations, **newer.annotations}
                newer.ungate |= write.ungate
        except Exception:
            self.health.given_up += 1
            _log.exception("pod %s was not patched", pod)
