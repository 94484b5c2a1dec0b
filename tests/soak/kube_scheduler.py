"""A model of kube-scheduler: its queue, its in-tree filters, preemption, its calls and their time-out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from extender.lab.registry import ENDED, NODE, POD, Change, Object, node_of, phase_of, uid_of
from extender.lab.scheduler import ClusterView, project_pod
from extender.lab.scheduling_queue import SchedulingQueue
from tests.soak.objects import (
    OURS,
    TEAM,
    bind_args,
    cores_of,
    filter_args,
    gated,
    preempt_args,
)

if TYPE_CHECKING:
    from tests.soak.world import Replica, World

HTTP_TIMEOUT_S: Final = 5.0

answering: ContextVar[str] = ContextVar("answering", default="")
"""Name of the replica that answers a call now."""


class KubeScheduler:
    """The kube-scheduler beside one replica."""

    def __init__(self, world: World, replica: Replica) -> None:
        self._world = world
        self._replica = replica
        self._queue = SchedulingQueue(1.0, 2.0)
        self._pending: dict[str, Object] = {}
        self._view = ClusterView(world.registry)
        self._binding: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        registry = self._world.registry
        for made in registry.all(POD):
            self._see(made)
        unsubscribe = registry.subscribe(self._hear)
        try:
            while True:
                uid = await self._queue.pop()
                if (made := self._pending.get(uid)) is not None:
                    await self._schedule(made)
                await asyncio.sleep(0.002)
        finally:
            unsubscribe()
            for task in self._binding:
                task.cancel()

    def _see(self, made: Object) -> None:
        uid = uid_of(made)
        if made["spec"].get("schedulerName") != OURS or phase_of(made) in ENDED:
            return
        if node_of(made) or gated(made) or made["metadata"].get("deletionTimestamp"):
            return
        self._pending[uid] = made
        if uid not in self._queue:
            self._queue.add(uid, made["spec"].get("priority", 0))
        else:
            self._queue.wake(uid)

    def _hear(self, change: Change) -> None:
        made = change.object
        if change.kind == NODE:
            if change.type == "DELETED":
                self._view.forget_node(made["metadata"]["name"])
            else:
                self._view.see_node(made)
            self._queue.wake()
        elif change.kind == POD:
            gone = change.type == "DELETED"
            if gone or node_of(made):
                self._queue.remove(uid_of(made))
                self._pending.pop(uid_of(made), None)
                if gone:
                    self._view.release(uid_of(made))
                else:
                    self._view.see_pod(made)
                self._queue.wake()
            else:
                self._see(made)

    async def _call(self, call: Callable[[bytes], Any], body: bytes) -> bytes | None:
        """The reply; None when there is none in time. A handler goes on without its caller."""
        if not self._replica.alive:
            return None
        answering.set(self._replica.name)
        handler = asyncio.ensure_future(call(body))
        try:
            async with asyncio.timeout(HTTP_TIMEOUT_S):
                reply: bytes = (await asyncio.shield(handler)).body
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            if handler.cancelled():
                return None  # the extender was killed
            raise
        return reply if self._replica.alive else None

    async def _schedule(self, made: Object) -> None:
        uid, judge = uid_of(made), self._world.judge
        names = self._view.fitting(project_pod(made))
        if not names:
            await self._preempt(made, [])
            self._queue.refused(uid)
            return
        calls, body = self._replica.service.calls, filter_args(made, names)
        text = await self._call(calls.filter, body)
        if text is None:
            self._queue.failed(uid)
            return
        reply = json.loads(text)
        chosen = reply["NodeNames"] or []
        if reply["Error"]:
            self._queue.failed(uid)
        elif not chosen:
            judge.refused_twice(calls, body, text)
            judge.refused(made, reply)
            await self._preempt(made, names)
            self._queue.refused(uid)
        elif uid in self._pending:
            judge.placed(made, chosen[0])
            self._view.take(uid, chosen[0], project_pod(made).requests)
            task = asyncio.ensure_future(self._bind(made, chosen[0]))
            self._binding.add(task)
            task.add_done_callback(self._binding.discard)

    async def _bind(self, made: Object, node: str) -> None:
        # Between filter and bind kube-scheduler waits for volumes and other plugins.
        await asyncio.sleep(self._world.server.draw("permit").choice(self._world.permit_s))
        self._world.judge.bind_asked(made, node)
        text = await self._call(self._replica.service.calls.bind, bind_args(made, node))
        if text is None or json.loads(text)["Error"]:
            if uid_of(made) in self._pending:
                self._view.release(uid_of(made))
            self._queue.failed(uid_of(made))
            self._queue.wake()

    async def _preempt(self, made: Object, refused: list[str]) -> None:
        """Evict pods of lower priority, where in-tree filters refused and the extender finds it useful."""
        priority = made["spec"].get("priority", 0)
        if priority <= 0:
            return
        registry, victims = self._world.registry, dict[str, list[str]]()
        for name, facts in self._view.nodes.items():
            if name in refused or facts.taints or facts.unschedulable or not facts.ready:
                continue
            lower = [
                uid_of(each)
                for each in registry.all(POD)
                if node_of(each) == name
                and phase_of(each) not in ENDED
                and each["spec"].get("priority", 0) < priority
            ]
            if lower:
                victims[name] = lower
        if not victims:
            return
        text = await self._call(self._replica.service.calls.preempt, preempt_args(made, victims))
        useful: dict[str, Any] = json.loads(text)["NodeNameToMetaVictims"] if text is not None else {}
        for name, meta in useful.items():
            uids = [each["UID"] for each in meta["Pods"]]
            self._world.judge.evicted(name, cores_of(made), uids)
        for name, meta in list(useful.items())[:1]:
            self._world.evict([each["UID"] for each in meta["Pods"]])
            metadata = made["metadata"]
            if registry.find(POD, TEAM, metadata["name"]) is not None:
                nominated = {"status": {"nominatedNodeName": name}}
                registry.merge_patch(POD, TEAM, metadata["name"], nominated, status=True)
