"""Binding pods to nodes: at most once, and never said to have happened when it did not."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.core.facts import FINISHED_PHASES
from extender.core.nodes.resources import PODS, Resources, one_pod
from extender.objects.projection import PodProjector, ProjectionProblem
from extender.objects.quantity import QuantityError
from extender.objects.requests import effective_requests
from extender.objects.structs import (
    DECODE_ERRORS,
    Metadata,
    Pod,
    PodSpec,
    PodStatus,
    decode_pod,
    decode_pod_list,
)
from extender.support.backoff import Backoff, Draw, Sleep, retried

_ATTEMPTS: Final = 4
_ANSWERS_FOR_GOOD: Final = frozenset({400, 401, 403, 404, 405, 413, 415, 422})

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class BindError(Exception):
    """A pod was not bound, or it cannot be known that it was. The text is for kube-scheduler's event."""


@dataclass(slots=True)
class _Rush:
    """Bindings to one node that overlap in time. `taken` are requests that a list begun meanwhile may lack.

    They count until the last of these Bindings is done, because its list may be older than any of them.
    """

    under_way: int = 0
    taken: dict[str, Resources] = field(default_factory=dict)


def pod_path(namespace: str, name: str) -> str:
    """Path of a pod at the API server."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"


class Binder:
    """Writes Bindings.

    `capacity` gives a node's allocatable amounts in base units, None for a node that is not known.
    With `last_look` the pod and the pods of the node are read once more from the API server before each
    Binding, side by side, and added up: other schedulers may have used the room since our watch last spoke.
    That narrows the race to milliseconds; it cannot close it, because the API server checks no capacity.
    """

    def __init__(
        self,
        client: ApiClient,
        capacity: Callable[[str], Resources | None],
        projector: PodProjector,
        *,
        last_look: bool = True,
        attempts: int = _ATTEMPTS,
        sleep: Sleep = asyncio.sleep,
        draw: Draw = random.random,
    ) -> None:
        self._client = client
        self._capacity = capacity
        self._projector = projector
        self._last_look = last_look
        self._attempts = attempts
        self._sleep = sleep
        self._draw = draw
        self._rushes: dict[str, _Rush] = {}

    async def bind(
        self,
        namespace: str,
        name: str,
        uid: str,
        node: str,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Bind the pod to the node and merge `annotations` into it, both in one write.

        Returns when the pod is bound to this node, also when an earlier call already did it.

        Raises:
            BindError: the pod is not bound, or that could not be found out within the attempts.
        """
        if not self._last_look:
            await self._write(namespace, name, uid, node, annotations)
            return
        rush = self._rushes.setdefault(node, _Rush())
        rush.under_way += 1
        looking = asyncio.ensure_future(self._look(node))
        try:
            pod = await self._reread(namespace, name)
            if self._bound(pod, namespace, name, uid, node):
                return
            requests = self._requests(pod, namespace, name)
            before = dict(rush.taken)
            rush.taken[uid] = requests
            self._fits(node, uid, requests, before, await looking)
            await self._write(namespace, name, uid, node, annotations)
        except BindError as problem:
            if not (isinstance(problem.__cause__, ApiError) and problem.__cause__.outcome_unknown):
                rush.taken.pop(uid, None)
            raise
        finally:
            await _given_up(looking)
            rush.under_way -= 1
            if not rush.under_way:
                del self._rushes[node]

    async def _reread(self, namespace: str, name: str) -> Pod:
        """The pod before its Binding; once more if no answer came. Raises `BindError`."""
        path = pod_path(namespace, name)
        try:
            return await retried(lambda: self._read(path), ApiError, _unanswered)
        except ApiError as problem:
            raise BindError(f"pod {namespace}/{name} cannot be read before binding: {problem}") from problem

    # -- last look -------------------------------------------------------------------------------

    def _requests(self, pod: Pod, namespace: str, name: str) -> Resources:
        try:
            return one_pod(self._projector.facts(pod).requests)
        except ProjectionProblem as problem:
            raise BindError(f"pod {namespace}/{name}: {problem.detail}") from problem

    async def _look(self, node: str) -> list[Pod]:
        """The node's pods as the API server has them now; asked once more if no answer came."""
        if self._capacity(node) is None:
            raise BindError(f"node {node} is not known (any more)")
        selector = {"fieldSelector": f"spec.nodeName={node}"}
        try:
            body = await retried(lambda: self._client.get("/api/v1/pods", selector), ApiError, _unanswered)
            return decode_pod_list(body).items or []
        except ApiError as problem:
            raise BindError(f"the pods of node {node} cannot be listed: {problem}") from problem
        except DECODE_ERRORS as problem:
            raise BindError(f"the pods of node {node} cannot be read: {problem}") from problem

    def _fits(
        self,
        node: str,
        uid: str,
        requests: Resources,
        before: Mapping[str, Resources],
        pods: Iterable[Pod],
    ) -> None:
        """Refuse if the node's pods and those on their way leave no room for this one."""
        capacity = self._capacity(node)
        if capacity is None:
            raise BindError(f"node {node} is not known (any more)")
        used = {each: dict(amounts) for each, amounts in before.items()}
        for pod in pods:
            if (pod.status or PodStatus()).phase in FINISHED_PHASES:
                continue
            other = (pod.metadata or Metadata()).uid or ""
            try:
                used[other] = one_pod(effective_requests(pod))
            except QuantityError as problem:
                # The API server admits no such pod; one pod slot is what it takes for certain.
                _log.warning("pod %s on node %s has an unreadable request: %s", other, node, problem)
                used[other] = {PODS: 1}
        used.pop(uid, None)
        for resource, amount in requests.items():
            taken = sum(amounts.get(resource, 0) for amounts in used.values())
            offered = capacity.get(resource, 0)
            if taken + amount > offered:
                raise BindError(
                    f"node {node} is full: {resource} {taken} used, {amount} asked for, {offered} in all"
                )

    # -- write -----------------------------------------------------------------------------------

    async def _write(
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str] | None
    ) -> None:
        path = pod_path(namespace, name)
        body = binding(namespace, name, uid, node, annotations)
        backoff = Backoff(0.05, 1.0, sleep=self._sleep, draw=self._draw)
        problem: ApiError | None = None
        for _ in range(self._attempts):
            if problem is not None:
                await backoff.wait(min(problem.retry_after_s or 0.0, 1.0))
            try:
                await self._client.post(f"{path}/binding", body)
            except ApiError as refusal:
                problem = refusal
            else:
                return
            if problem.status in _ANSWERS_FOR_GOOD:
                raise BindError(f"the API server refused to bind {namespace}/{name}: {problem}") from problem
            if await self._happened(namespace, name, uid, node, problem):
                return
        assert problem is not None
        if problem.outcome_unknown:
            # The last write may still be under way: look once more before giving up.
            await backoff.wait()
            if await self._happened(namespace, name, uid, node, problem):
                return
        raise BindError(
            f"pod {namespace}/{name} is not known to be bound after {self._attempts} attempts: {problem}"
        ) from problem

    async def _happened(self, namespace: str, name: str, uid: str, node: str, problem: ApiError) -> bool:
        """After a failed write: is the pod bound after all? Raises `BindError` if it never will be."""
        try:
            pod = await self._read(pod_path(namespace, name))
        except ApiError as unread:
            if unread.status == 404:
                raise BindError(f"pod {namespace}/{name} does not exist any more") from unread
            _log.info("pod %s/%s cannot be read back after %s: %s", namespace, name, problem, unread)
            return False
        return self._bound(pod, namespace, name, uid, node)

    async def _read(self, path: str) -> Pod:
        body = await self._client.get(path)
        try:
            return decode_pod(body)
        except DECODE_ERRORS as problem:
            raise ApiError(0, "Unreadable", f"the pod cannot be read: {problem}") from None

    @staticmethod
    def _bound(pod: Pod, namespace: str, name: str, uid: str, node: str) -> bool:
        """Whether it is this pod and bound to this node; False if it still can be bound.

        Raises:
            BindError: it is another pod, or it can never be bound to this node.
        """
        metadata, spec = pod.metadata or Metadata(), pod.spec or PodSpec()
        text = f"pod {namespace}/{name}"
        if (metadata.uid or "") != uid:
            raise BindError(f"{text} was deleted and made again: its uid is {metadata.uid}, not {uid}")
        if spec.node_name:
            if spec.node_name == node:
                return True
            raise BindError(f"{text} is already bound to node {spec.node_name}")
        if metadata.deletion_timestamp is not None:
            raise BindError(f"{text} is being deleted")
        if spec.scheduling_gates:
            gates = ", ".join(gate.name or "" for gate in spec.scheduling_gates)
            raise BindError(f"{text} is held by scheduling gates: {gates}")
        if (pod.status or PodStatus()).phase in FINISHED_PHASES:
            raise BindError(f"{text} has ended")
        return False


def _unanswered(problem: ApiError) -> bool:
    return not problem.status


async def _given_up(task: asyncio.Future[Any]) -> None:
    """End a task of which no result is needed any more."""
    task.cancel()
    with suppress(asyncio.CancelledError, BindError):
        await task


def binding(
    namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str] | None = None
) -> bytes:
    """core/v1 Binding as JSON. The API server refuses it if the pod of this name has another uid."""
    metadata: dict[str, object] = {"name": name, "namespace": namespace, "uid": uid}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return _encode(
        {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": metadata,
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
    )
