"""Reads of pods that the watch has not shown: nothing is counted for a pod that does not exist."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from extender.adapters.kubernetes.binding import pod_path
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.webhooks.ports import Perform, PodUnread
from extender.core.events import PodGone, PodRead, VerifyPod
from extender.core.facts import PodFacts
from extender.engine import Engine
from extender.objects.projection import PodProjector, ProjectionProblem
from extender.objects.structs import DECODE_ERRORS, Metadata, decode_pod

_MOST_WAITING: Final = 10_000
_AT_ONCE: Final = 8

_log = logging.getLogger(__name__)


class PodChecks:
    """Reads pods, for those who need one now (`read`) and for the store, which waits for none (`submit`).

    A check that fails is not repeated: room held for a pod that stays unconfirmed expires by itself, and the
    store asks again about a pod that it bound.
    """

    def __init__(
        self,
        client: ApiClient,
        projector: PodProjector,
        engine: Engine,
        perform: Perform,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._projector = projector
        self._engine = engine
        self._perform = perform
        self._clock = clock
        self._waiting: dict[str, VerifyPod] = {}
        self._work = asyncio.Event()

    def submit(self, asked: VerifyPod) -> None:
        """Have a pod read soon; the engine is told what it is, or that it is gone."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.setdefault(asked.uid, asked)
            self._work.set()

    async def run(self) -> None:
        """Read what was submitted, for ever. Ends only by cancellation."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._read_submitted())

    async def _read_submitted(self) -> None:
        while True:
            while not self._waiting:
                self._work.clear()
                await self._work.wait()
            asked = self._waiting.pop(next(iter(self._waiting)))
            try:
                pod = await self.read(asked.namespace, asked.name, asked.uid)
            except PodUnread as problem:
                _log.info("pod %s/%s cannot be checked: %s", asked.namespace, asked.name, problem)
                continue
            change = PodGone(asked.uid) if pod is None else PodRead(pod)
            self._perform(self._engine.observe(change, self._clock()))

    async def read(self, namespace: str, name: str, uid: str) -> PodFacts | None:
        """The pod as the API server has it; None: there is none of this name and uid. Raises `PodUnread`."""
        try:
            pod = decode_pod(await self._client.get(pod_path(namespace, name)))
            if ((pod.metadata or Metadata()).uid or "") != uid:
                return None
            return self._projector.facts(pod)
        except ApiError as problem:
            if problem.status == 404:
                return None
            raise PodUnread(str(problem)) from None
        except (*DECODE_ERRORS, ProjectionProblem) as problem:
            raise PodUnread(f"it is not a pod that can be read: {problem}") from None
