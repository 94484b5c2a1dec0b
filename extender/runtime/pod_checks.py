"""Checks of pods that the watch has not shown: nothing is counted for a pod that does not exist."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from extender.adapters.webhooks.ports import PodUnread
from extender.core.events import PodGone, PodRead, VerifyPod
from extender.runtime.pod_reads import PodReads

_MOST_WAITING: Final = 10_000
_AT_ONCE: Final = 8

_log = logging.getLogger(__name__)


class PodChecks:
    """Reads the pods that the store is in doubt about; the store does not wait for it.

    A failed check is not repeated: room reserved for a pod that stays unconfirmed expires by itself, and the
    store asks again about a pod that it bound.
    """

    def __init__(self, pods: PodReads) -> None:
        self._pods = pods
        self._waiting: dict[str, VerifyPod] = {}
        self._work = asyncio.Event()

    def submit(self, asked: VerifyPod) -> None:
        """Have a pod read soon; the engine then learns what it is, or that it is gone."""
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
                pod = await self._pods.read(asked.namespace, asked.name, asked.uid)
            except PodUnread as problem:
                _log.info("pod %s/%s cannot be checked: %s", asked.namespace, asked.name, problem)
                continue
            self._pods.tell(PodGone(asked.uid) if pod is None else PodRead(pod))
