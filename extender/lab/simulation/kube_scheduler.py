"""kube-scheduler in virtual time: its queue, its backoff, and its calls to the extender."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from extender.core.decisions import FilterDecision
from extender.core.facts import PodFacts
from extender.lab.scheduling_queue import SchedulingQueue
from extender.lab.simulation.cluster import Cluster

OUR_SCHEDULER: Final = "carbon-scheduler"
BACKOFF_S: Final = (1.0, 2.0)
"""podInitialBackoffSeconds and podMaxBackoffSeconds of the configurations in scheduler-config."""


class KubeScheduler:
    """Schedules the pods that name it, one attempt after the other, each taking `attempt_s`.

    A refused pod is tried again after an event that may let it run: its own change, a node's, or a pod that
    was bound, ended or deleted. `on_answer` hears every answer of filter.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        name: str = OUR_SCHEDULER,
        attempt_s: float = 0.0,
        on_answer: Callable[[PodFacts, FilterDecision], None] = lambda *_: None,
    ) -> None:
        self.name = name
        self.attempts = 0
        self._cluster = cluster
        self._clock = cluster.clock
        self._attempt_s = attempt_s
        self._on_answer = on_answer
        self._queue = SchedulingQueue(*BACKOFF_S, clock=self._clock, on_ready=self._ready)
        self._busy = False
        cluster.listeners.append(self._hear)
        cluster.node_listeners.append(self._queue.wake)

    # -- what happens in the cluster ---------------------------------------------------------------

    def _hear(self, before: PodFacts | None, after: PodFacts | None) -> None:
        pod = after or before
        assert pod is not None
        ours = pod.scheduler_name == self.name
        if after is not None and ours and after.waiting and not after.gated:
            if after.uid not in self._queue:
                self._queue.add(after.uid, after.priority)
            elif before != after:
                self._queue.wake(after.uid)
            return
        if ours:
            self._queue.remove(pod.uid)
        if pod.node and _makes_a_difference(before, after):
            self._queue.wake()

    # -- one pod -----------------------------------------------------------------------------------

    def _ready(self) -> None:
        if not self._busy:
            self._busy = True
            self._clock.call_later(self._attempt_s, self._attempt)

    def _attempt(self) -> None:
        self._busy = False
        uid = self._queue.take()
        if uid is None:
            return
        self.attempts += 1
        self._schedule(uid)
        if self._queue.has_ready:
            self._ready()

    def _schedule(self, uid: str) -> None:
        cluster, now = self._cluster, self._clock.time()
        pod = cluster.pods[uid]
        offer = cluster.feasible(pod)
        if not offer:
            self._queue.refused(uid)
            return
        cluster.perform(cluster.engine.introduce(pod, now))
        answer = cluster.engine.filter(pod, offer, now)
        self._on_answer(pod, answer)
        if answer.broken:
            self._queue.failed(uid)
        elif not answer.node:
            self._queue.refused(uid)
        else:
            self._bind(uid, answer.node)

    def _bind(self, uid: str, node: str) -> None:
        cluster = self._cluster
        decision = cluster.engine.bind(uid, node, self._clock.time())
        if decision.error:
            self._queue.failed(uid)
        elif not decision.already_bound:
            cluster.bind(uid, node, decision.annotations)


def _makes_a_difference(before: PodFacts | None, after: PodFacts | None) -> bool:
    """Whether a bound pod came, ended or went: what kube-scheduler retries refused pods for."""
    if before is None or after is None:
        return True
    return before.node != after.node or before.finished != after.finished
