"""bind: one Binding a pod, whatever arrives twice, at once, or goes away half-way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from extender.adapters.webhooks.ports import BindingWriter, Perform, PodReader, PodUnread
from extender.core import queries
from extender.core.events import BindFailed, BindUnanswered, PodBound, PodGone, PodRead
from extender.engine import Engine
from extender.support.crash_points import crash_point

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BindResult:
    """How a bind ended; an empty `error` means that the pod is bound to the node."""

    outcome: str
    error: str = ""


class Binds:
    """Binds pods for kube-scheduler.

    A pod that the watch has not shown yet is read from the API server first: what it asks for, and whether it
    is ours to bind, is not the caller's to say.
    Each Binding is written by a task of its own, so that a caller that gives up (`httpTimeout`) does
    not tear it apart; a second call for the same pod waits for the first one's result.
    """

    def __init__(
        self,
        engine: Engine,
        writer: BindingWriter,
        reader: PodReader,
        perform: Perform,
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._reader = reader
        self._perform = perform
        self._clock = clock
        self._under_way: dict[str, tuple[str, asyncio.Task[BindResult]]] = {}

    def __len__(self) -> int:
        """Bindings under way."""
        return len(self._under_way)

    async def bind(self, namespace: str, name: str, uid: str, node: str) -> BindResult:
        """Bind a pod, or wait for the bind of it that is under way."""
        first = self._under_way.get(uid)
        if first is None:
            task = asyncio.get_running_loop().create_task(self._bind(namespace, name, uid, node))
            self._under_way[uid] = (node, task)
            task.add_done_callback(lambda _: self._under_way.pop(uid, None))
        elif first[0] != node:
            return BindResult("conflict", f"the pod is being bound to {first[0]}")
        else:
            task = first[1]
        return await asyncio.shield(task)

    async def settled(self) -> None:
        """Wait until no Binding is under way."""
        while self._under_way:
            await asyncio.wait([task for _, task in self._under_way.values()])

    async def _bind(self, namespace: str, name: str, uid: str, node: str) -> BindResult:
        crash_point("bind-received")
        engine = self._engine
        if queries.unconfirmed(engine.store, uid):
            doubt = await self._learn(namespace, name, uid)
            if doubt:
                return BindResult("refused", doubt)
        pod = queries.pod(engine.store, uid)
        if pod is not None and (pod.namespace, pod.name) != (namespace, name):
            return BindResult("refused", f"uid {uid} is not that of pod {namespace}/{name}")
        decision = engine.bind(uid, node, self._clock())
        if decision.error:
            return BindResult("refused", decision.error)
        if decision.already_bound:
            return BindResult("already-bound")
        crash_point("bind-prepared")
        try:
            failure = await self._writer.bind(namespace, name, uid, node, decision.annotations)
        except Exception:
            # Whether the Binding was made is not known, so its room must not be given away yet.
            _log.exception("the Binding of %s/%s to %s was not written", namespace, name, node)
            self._perform(engine.observe(BindUnanswered(uid), self._clock()))
            return BindResult("error", "the Binding could not be written; see the extender's log")
        if failure is None:
            crash_point("bind-written")
            self._perform(engine.observe(PodBound(uid, node), self._clock()))
            crash_point("bind-recorded")
            return BindResult("bound")
        _log.warning("%s/%s is not bound to %s: %s", namespace, name, node, failure.text)
        if failure.outcome_unknown:
            self._perform(engine.observe(BindUnanswered(uid), self._clock()))
            return BindResult("outcome-unknown", failure.text)
        self._perform(engine.observe(BindFailed(uid), self._clock()))
        return BindResult("failed", failure.text)

    async def _learn(self, namespace: str, name: str, uid: str) -> str:
        """Let the engine know a pod as it really is; returns why that is not known."""
        try:
            pod = await self._reader.read(namespace, name, uid)
        except PodUnread as problem:
            return f"pod {namespace}/{name} cannot be read before it is bound: {problem}"
        change = PodGone(uid) if pod is None else PodRead(pod)
        self._perform(self._engine.observe(change, self._clock()))
        return ""
