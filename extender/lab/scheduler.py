"""A small model of kube-scheduler: its queue, in-tree filters, and the calls it makes to an extender."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from extender.core.facts import NodeFacts, PodFacts
from extender.core.nodes.resources import one_pod
from extender.core.nodes.terms import NO_SCHEDULE, UNSCHEDULABLE_TAINT, Taint
from extender.lab.extender_client import ExtenderClient, ExtenderError
from extender.lab.registry import (
    NODE,
    POD,
    Change,
    Object,
    Refusal,
    Registry,
    encode,
    key_of,
    occupies,
    rfc3339,
    uid_of,
    with_condition,
)
from extender.lab.scheduling_queue import SchedulingQueue
from extender.objects.projection import PodProjector, node_facts
from extender.objects.structs import decode_node, decode_pod

_CORDON: Final = Taint(UNSCHEDULABLE_TAINT, "", NO_SCHEDULE)
_EXTENDER_WEIGHT: Final = 20

_projector: Final = PodProjector(lambda _: None)


def project_pod(pod: Object) -> PodFacts:
    """The facts of a pod that a scheduler reads."""
    return _projector.facts(decode_pod(encode(pod)))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One scheduling attempt: a node, or `reason` why there is none.

    `by_extender` says that the extender was asked; `version` is the registry's when it was decided.
    """

    scheduler: str
    pod: Object
    node: str
    reason: str
    by_extender: bool
    version: int


class ClusterView:
    """A scheduler's view: nodes, and the room that bound and assumed pods take of them."""

    def __init__(self, registry: Registry) -> None:
        self.nodes: dict[str, NodeFacts] = {}
        self._taken: dict[str, dict[str, Mapping[str, int]]] = {}
        self._place: dict[str, str] = {}
        for node in registry.all(NODE):
            self.see_node(node)
        for pod in registry.all(POD):
            self.see_pod(pod)

    def see_node(self, node: Object) -> None:
        """A node was added or changed."""
        self.nodes[node["metadata"]["name"]] = node_facts(decode_node(encode(node)))

    def forget_node(self, name: str) -> None:
        """A node was deleted."""
        self.nodes.pop(name, None)

    def see_pod(self, pod: Object) -> None:
        """A pod was added or changed: it takes room while it is bound and has not ended."""
        if occupies(pod):
            self.take(uid_of(pod), pod["spec"]["nodeName"], project_pod(pod).requests)
        elif pod["spec"].get("nodeName"):
            self.release(uid_of(pod))

    def take(self, uid: str, node: str, requests: Mapping[str, int]) -> None:
        """A pod is bound, or assumed to be soon."""
        if self._place.get(uid) != node:
            self.release(uid)
        self._place[uid] = node
        self._taken.setdefault(node, {})[uid] = one_pod(requests)

    def release(self, uid: str) -> None:
        """A pod ended, is gone, or was not bound after all."""
        node = self._place.pop(uid, None)
        if node is not None:
            del self._taken[node][uid]

    def fitting(self, pod: PodFacts) -> list[str]:
        """Nodes that pass the in-tree filters, by name: readiness, cordon, labels, taints, resources."""
        return [name for name in sorted(self.nodes) if self._fits(pod, self.nodes[name])]

    def _fits(self, pod: PodFacts, node: NodeFacts) -> bool:
        taints = (*node.taints, _CORDON) if node.unschedulable else node.taints
        if not (node.ready and pod.terms.accept_labels(node.labels, node.name)):
            return False
        if not pod.terms.accept_taints(taints):
            return False
        asked = one_pod(pod.requests)
        taken = self._taken.get(node.name, {}).values()
        return all(
            sum(each.get(resource, 0) for each in taken) + amount <= node.allocatable.get(resource, 0)
            for resource, amount in asked.items()
        )

    def least_allocated(self, names: Sequence[str]) -> dict[str, int]:
        """kube-scheduler's default preference, 0..100 a node: much free cpu."""
        scores: dict[str, int] = {}
        for name in names:
            offered = max(1, self.nodes[name].allocatable.get("cpu", 0))
            taken = sum(each.get("cpu", 0) for each in self._taken.get(name, {}).values())
            scores[name] = max(0, 100 * (offered - taken) // offered)
        return scores


class Scheduler:
    """Schedules the pods that name it: one attempt after the other, Bindings beside them.

    Without an extender it is the default scheduler. `clock` gives seconds since the epoch;
    `on_attempt` hears how every attempt ended.
    """

    def __init__(
        self,
        name: str,
        registry: Registry,
        *,
        extender: ExtenderClient | None = None,
        backoff_s: tuple[float, float] = (1.0, 2.0),
        clock: Callable[[], float] = time.time,
        on_attempt: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.errors = 0
        self._registry = registry
        self._extender = extender
        self._clock = clock
        self._on_attempt = on_attempt
        self._queue = SchedulingQueue(*backoff_s)
        self._view = ClusterView(registry)
        self._facts: dict[str, PodFacts] = {}
        self._pending: dict[str, Object] = {}
        self._binds: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Schedule for ever. Ends only by cancellation."""
        unsubscribe = self._registry.subscribe(self._hear)
        self._view = ClusterView(self._registry)
        for pod in self._registry.all(POD):
            self._see_pod(pod)
        try:
            while True:
                await self._attempt(await self._queue.pop())
        finally:
            unsubscribe()
            for task in self._binds:
                task.cancel()

    # -- what happens in the cluster ---------------------------------------------------------------

    def _hear(self, change: Change) -> None:
        if change.kind == NODE:
            if change.type == "DELETED":
                self._view.forget_node(change.object["metadata"]["name"])
            else:
                self._view.see_node(change.object)
            self._queue.wake()
        elif change.kind == POD:
            self._hear_pod(change)

    def _hear_pod(self, change: Change) -> None:
        pod, uid = change.object, uid_of(change.object)
        if change.type == "DELETED":
            self._forget(uid)
            self._view.release(uid)
            if pod["spec"].get("nodeName"):
                self._queue.wake()
            return
        self._see_pod(pod)
        if pod["spec"].get("nodeName"):
            self._queue.wake()  # bound, ended, or changed in any other way
        elif change.type == "MODIFIED":
            self._queue.wake(uid)

    def _see_pod(self, pod: Object) -> None:
        uid = uid_of(pod)
        if pod["spec"].get("nodeName"):
            self._view.see_pod(pod)
            self._forget(uid)
        elif pod["metadata"].get("deletionTimestamp") or pod["spec"].get("schedulingGates"):
            self._forget(uid)
        elif pod["spec"].get("schedulerName") == self.name:
            self._pending[uid] = pod
            if uid not in self._queue:
                self._facts[uid] = project_pod(pod)
                self._queue.add(uid, self._facts[uid].priority)

    def _forget(self, uid: str) -> None:
        self._pending.pop(uid, None)
        self._facts.pop(uid, None)
        self._queue.remove(uid)

    # -- one pod -----------------------------------------------------------------------------------

    async def _attempt(self, uid: str) -> None:
        pod, facts = self._pending[uid], self._facts[uid]
        names = self._view.fitting(facts)
        try:
            node, reason = await self._choose(pod, names)
        except ExtenderError as problem:
            self.errors += 1
            self._queue.failed(uid)
            self._report(pod, f"extender: {problem}", self._extender is not None)
            return
        asked = self._extender is not None and bool(names)
        if uid not in self._pending:
            return  # deleted meanwhile
        if not node:
            self._queue.refused(uid)
            self._report(pod, reason, asked)
            return
        self._view.take(uid, node, facts.requests)
        self._on_attempt(Attempt(self.name, pod, node, "", asked, self._registry.version))
        task = asyncio.get_running_loop().create_task(self._bind(pod, node))
        self._binds.add(task)
        task.add_done_callback(self._binds.discard)

    async def _choose(self, pod: Object, names: list[str]) -> tuple[str, str]:
        if not names:
            return (
                "",
                f"0/{len(self._view.nodes)} nodes are available: no node passes kube-scheduler's filters",
            )
        scores = self._view.least_allocated(names)
        if self._extender is not None:
            filtered = await self._extender.filter(pod, names)
            if not filtered.names:
                return "", filtered.reason
            if len(filtered.names) == 1:
                return filtered.names[0], ""
            wanted = await self._extender.prioritize(pod, filtered.names)
            scores = {n: scores[n] + _EXTENDER_WEIGHT * 10 * wanted.get(n, 0) for n in filtered.names}
        return max(scores, key=lambda name: (scores[name], name)), ""

    async def _bind(self, pod: Object, node: str) -> None:
        uid, (namespace, name) = uid_of(pod), key_of(pod)
        try:
            if self._extender is not None:
                await self._extender.bind(pod, node)
            else:
                target = {"metadata": {"uid": uid}, "target": {"name": node}}
                self._registry.bind(namespace, name, target)
        except (ExtenderError, Refusal) as problem:
            self.errors += 1
            found = self._registry.find(POD, namespace, name)
            if found is None or uid_of(found) != uid or not found["spec"].get("nodeName"):
                self._view.release(uid)
                self._queue.failed(uid)
                self._queue.wake()
            self._report(pod, f"bind: {problem}", self._extender is not None)

    def _report(self, pod: Object, reason: str, by_extender: bool) -> None:
        """Tell why the pod waits, where people look for it: in its condition PodScheduled."""
        self._on_attempt(Attempt(self.name, pod, "", reason, by_extender, self._registry.version))
        current = self._registry.find(POD, *key_of(pod))
        if current is None or uid_of(current) != uid_of(pod) or current["spec"].get("nodeName"):
            return
        status = current["status"]
        known = {each["type"]: each.get("message") for each in status.get("conditions") or ()}
        if known.get("PodScheduled") == reason:
            return
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": reason}
        condition["lastTransitionTime"] = rfc3339(self._clock())
        self._registry.merge_patch(
            POD, *key_of(pod), {"status": with_condition(status, condition)}, status=True
        )
