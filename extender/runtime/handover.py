"""Handover: a replica that kube-scheduler begins to ask knows first what the one before it has bound."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.webhooks.ports import Perform
from extender.core.events import PodRead
from extender.engine import Engine
from extender.objects.projection import PodProjector, ProjectionProblem
from extender.objects.structs import DECODE_ERRORS, decode_pod_list

UNASKED_S: Final = 5.0
"""Another kube-scheduler cannot have led, and bound, while this one asked more often than this."""
_BREATH: Final = 64

_log = logging.getLogger(__name__)


class Handover:
    """Reads the running pods of our schedulers, once, when calls begin or begin again.

    Only the replica beside the leading kube-scheduler binds such pods, so they are all that the watch can be
    behind with because of a change of leaders. The read is consistent: it is as new as the moment it is made.
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
        self._asked_s = float("-inf")
        self._reading: asyncio.Task[str] | None = None

    async def __call__(self) -> str:
        """Returns once the caches are new enough: an empty text, or why they are not."""
        store, now = self._engine.store, self._clock()
        if not store.state.synced:
            return ""
        stepped_down = store.changes.asked_s == float("-inf")
        if 0 <= now - self._asked_s < UNASKED_S and not stepped_down:
            self._asked_s = now
            return ""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(self._done)
        return await asyncio.shield(self._reading)

    def _done(self, _: object) -> None:
        self._reading = None

    async def _read(self) -> str:
        try:
            for name in sorted(self._engine.store.policy.scheduler_names):
                await self._read_pods_of(name)
        except ApiError as problem:
            return f"what is bound cannot be read: {problem.reason}"
        except DECODE_ERRORS:
            return "what is bound cannot be read: the answer is not a list of pods"
        now = self._clock()
        self._asked_s = self._engine.store.changes.asked_s = now
        return ""

    async def _read_pods_of(self, scheduler: str) -> None:
        selector = (
            f"spec.schedulerName={scheduler},spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        )
        body = await self._client.get("/api/v1/pods", {"fieldSelector": selector})
        for count, pod in enumerate(decode_pod_list(body).items or (), 1):
            try:
                facts = self._projector.facts(pod)
            except ProjectionProblem as problem:
                _log.warning("a bound pod is left to the watch: %s", problem)
                continue
            self._perform(self._engine.observe(PodRead(facts), self._clock()))
            if count % _BREATH == 0:
                await asyncio.sleep(0)
