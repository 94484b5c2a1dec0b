"""Handover: a replica that begins to lead first learns what the leader before it has bound."""

from __future__ import annotations

import asyncio
from typing import Final

from extender.adapters.webhooks.ports import PodUnread
from extender.core import queries
from extender.core.events import PodRead
from extender.runtime.pod_reads import PodReads

_BREATH: Final = 64


class Handover:
    """Reads the running pods of our schedulers, once, when calls begin or begin again.

    Only the leading replica binds such pods, so they are all that the watch can be behind with because of a
    change of leaders.
    """

    def __init__(self, pods: PodReads) -> None:
        self._pods = pods
        self._store = pods.engine.store
        self._reading: asyncio.Task[str] | None = None

    async def __call__(self) -> str:
        """Returns once the caches are new enough: an empty text, or why they are not."""
        if not queries.synced(self._store) or self._store.leadership.is_caught_up(self._pods.clock()):
            return ""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(self._done)
        return await asyncio.shield(self._reading)

    def _done(self, _: object) -> None:
        self._reading = None

    async def _read(self) -> str:
        try:
            for name in sorted(self._store.policy.scheduler_names):
                await self._read_pods_of(name)
        except PodUnread as problem:
            return f"what is bound cannot be read: {problem}"
        self._store.leadership.caught_up(self._pods.clock())
        return ""

    async def _read_pods_of(self, scheduler: str) -> None:
        count = 0
        async for pod in self._pods.bound_by(scheduler):
            self._pods.tell(PodRead(pod))
            count += 1
            if count % _BREATH == 0:
                await asyncio.sleep(0)
