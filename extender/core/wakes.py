"""Pods that kube-scheduler keeps in its queue, and the moment at which it must try each again.

No event of Kubernetes tells that a clean hour has begun, so what was refused for carbon is woken by an
annotation on the pod, and what was created with our scheduling gate has it taken off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, TypeVar

from extender.core.carbon.entitlement import Entitlements
from extender.core.carbon.width.elastic import FOR_CARBON, ElasticExecutors
from extender.core.decisions import FilterDecision
from extender.core.events import AnnotatePod, Instruction, RemoveGate
from extender.core.facts import PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs.phases import refused
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION
from extender.core.outcomes import Outcome
from extender.core.queue.waiting import WAKE_AGAIN_S, WaitingGangs
from extender.core.state import State

T = TypeVar("T")

WAKE: Final = "carbon-scheduler/wake"
"""Annotation whose change makes kube-scheduler try a refused pod again."""

_FORGOTTEN_AT_ONCE: Final = 20
_GATE_AGAIN_S: Final = 15.0
"""A gate that is still there this long after it was to be taken off is taken off again."""


class Wakes:
    """Pods that were refused, and the end of each refusal. `refused` are outcomes by uid."""

    def __init__(
        self, state: State, waiting: WaitingGangs, entitlements: Entitlements, elastic: ElasticExecutors
    ) -> None:
        self._state = state
        self._waiting = waiting
        self._entitlements = entitlements
        self._elastic = elastic
        self._gates_asked: dict[str, float] = {}
        self._reminded: set[str] = set()
        self._since_s = math.inf
        self.refused: dict[str, Outcome] = {}

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._elastic.asked(uid)
        self.refused.pop(uid, None)
        self._gates_asked.pop(uid, None)
        self._reminded.discard(uid)

    def released(self, now: float) -> list[Instruction]:
        """Wake what was held for carbon and may go now; take our gate off what was created gated."""
        waiting = [pod for pod in self._state.pods.values() if pod.waiting]
        unasked = [
            pod
            for pod in waiting
            if not pod.gated and pod.uid not in self.refused and pod.uid not in self._state.claims
        ]
        # Refused by who was here before us: kube-scheduler does not ask again by itself.
        for pod in unasked:
            self._guarded(pod, now, partial(self._restrain_unasked, pod, now), None)
        held = [uid for uid, outcome in self.refused.items() if outcome is Outcome.HELD_FOR_CARBON]
        out: list[Instruction] = [wake(leader, now) for leader in self._waiting.released(held, now)]
        slowed = [uid for uid, outcome in self.refused.items() if outcome in FOR_CARBON]
        out += [wake(pod, now) for pod in self._elastic.released(slowed, now)]
        out += [wake(pod, now) for pod in self._forgotten(unasked, now)]
        for pod in [pod for pod in waiting if pod.hold_gate]:
            opens = partial(self._gate_opens, pod, now)
            if now >= self._gates_asked.get(pod.uid, now) and self._guarded(pod, now, opens, otherwise=False):
                self._gates_asked[pod.uid] = now + _GATE_AGAIN_S
                out.append(RemoveGate(pod.uid, pod.namespace, pod.name))
        return out

    def _guarded(self, pod: PodFacts, now: float, work: Callable[[], T], otherwise: T) -> T:
        guard, name = self._state.faults.guard, f"{pod.namespace}/{pod.name}"
        return guard(Subject.pod(pod), "wake", now, work, otherwise, name=name, reads_only=True)

    def _restrain_unasked(self, pod: PodFacts, now: float) -> None:
        gang = self._state.gang_of(pod)
        if gang is None:
            return
        if pod.role is Role.LEADER and gang.admission is None:
            if self._entitlements.start(pod, gang.specs.get(pod.uid), now).hold is not None:
                self.refused[pod.uid] = Outcome.HELD_FOR_CARBON
        elif pod.role is Role.WORKER and gang.admission is not None and not gang.admission.has_open_slot:
            outcome = self._elastic.refuses(gang.admission, now)
            if outcome is not None:
                self.refused[pod.uid] = outcome

    def _forgotten(self, unasked: Iterable[PodFacts], now: float) -> Iterator[PodFacts]:
        """Workers that nothing keeps back and nobody asks for: each is woken once.

        Who was here before us may have refused them for a reason that has gone. A pod that is new, or that we
        have only just begun to watch, is left to kube-scheduler.
        """
        self._since_s = min(self._since_s, now)
        left = _FORGOTTEN_AT_ONCE
        for pod in unasked:
            if left == 0:
                return
            gang = self._state.gang_of(pod)
            leads = gang is not None and gang.runs
            if (
                pod.role is not Role.WORKER
                or not leads
                or pod.uid in self.refused
                or pod.uid in self._reminded
            ):
                continue
            if now - max(self._since_s, pod.created_s) >= WAKE_AGAIN_S:
                left -= 1
                self._reminded.add(pod.uid)
                yield pod

    def answered(self, pod: PodFacts, decision: FilterDecision, now: float) -> None:
        """kube-scheduler asked for a pod and was answered a node, or why there is none."""
        self._elastic.asked(pod.uid)
        if decision.node:
            self.refused.pop(pod.uid, None)
            return
        self.refused[pod.uid] = decision.outcome
        gang = self._state.gang_of(pod)
        if gang is not None and pod.role is Role.LEADER:
            refused(gang, decision, now)

    def _gate_opens(self, pod: PodFacts, now: float) -> bool:
        gang = self._state.gang_of(pod)
        if pod.role is Role.WORKER and gang is not None:
            return gang.admission is not None
        spec = gang.specs.get(pod.uid) if gang is not None else None
        if gang is not None and spec in (None, WAIT_FOR_CONFIGURATION):
            return False
        hold = self._entitlements.start(pod, spec, now).hold
        return hold is None or bool(hold.zones)


def wake(pod: PodFacts, now: float) -> AnnotatePod:
    """Make kube-scheduler try a refused pod again."""
    return AnnotatePod(pod.uid, pod.namespace, pod.name, {WAKE: f"{now:.3f}"}, wake=True)
