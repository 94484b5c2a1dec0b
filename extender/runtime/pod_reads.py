"""Pods read from the API server itself, for those who cannot wait for the watch."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

from extender.adapters.kubernetes.binding import pod_path
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.webhooks.ports import Perform, PodUnread
from extender.core.events import PodGone, PodRead
from extender.core.facts import PodFacts
from extender.engine import Engine
from extender.objects.projection import PodProjector, ProjectionProblem
from extender.objects.structs import DECODE_ERRORS, Metadata, decode_pod, decode_pod_list

_log = logging.getLogger(__name__)


class PodReads:
    """Reads pods from the API server and tells the engine about them.

    `clock` gives seconds since the epoch. Each read is consistent: it is as new as the moment it is made.
    """

    def __init__(
        self,
        client: ApiClient,
        projector: PodProjector,
        engine: Engine,
        perform: Perform,
        clock: Callable[[], float],
    ) -> None:
        self.engine = engine
        self.clock = clock
        self._client = client
        self._projector = projector
        self._perform = perform

    def tell(self, change: PodRead | PodGone) -> None:
        """The engine learns of a pod, and what it wants done about that is done."""
        self._perform(self.engine.observe(change, self.clock()))

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

    async def bound_by(self, scheduler: str) -> AsyncIterator[PodFacts]:
        """The pods that name this scheduler, are bound and have not ended. Raises `PodUnread`.

        A pod that cannot be read is left out: the watch reports it.
        """
        selector = (
            f"spec.schedulerName={scheduler},spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
        )
        try:
            pods = decode_pod_list(await self._client.get("/api/v1/pods", {"fieldSelector": selector})).items
        except ApiError as problem:
            raise PodUnread(problem.reason) from None
        except DECODE_ERRORS:
            raise PodUnread("the answer is not a list of pods") from None
        for pod in pods or ():
            try:
                facts = self._projector.facts(pod)
            except ProjectionProblem as problem:
                _log.warning("a bound pod is left to the watch: %s", problem)
                continue
            yield facts
