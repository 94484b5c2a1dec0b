"""Pods as they come and go: seen by the watch, told by kube-scheduler, read from the API server, or gone.

A pod that this replica bound exists, however late the watch is, until the API server or a complete list says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from extender.core.events import Instruction, VerifyPod
from extender.core.facts import PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs.gang import Gang
from extender.core.gangs.ownership import Ownership
from extender.core.gangs.phases import follow
from extender.core.queue.waiting import WaitingGangs
from extender.core.state import State
from extender.core.wakes import Wakes

VERIFY_EVERY_S: Final = 10.0
"""A pod that this replica bound and that the watch has not shown for so long is read from the API server."""


class Pods:
    """Takes pods into the state and lets them go.

    It calls `step_down` when another replica binds pods. `_unconfirmed` are pods that only kube-scheduler
    has named, with the moment until which they are believed. `_bound_unseen` are pods that this replica
    bound and the watch has not shown, with the moment of the Binding.
    """

    def __init__(
        self,
        state: State,
        waiting: WaitingGangs,
        ownership: Ownership,
        wakes: Wakes,
        step_down: Callable[[float], None],
    ) -> None:
        self._state = state
        self._waiting = waiting
        self._ownership = ownership
        self._wakes = wakes
        self._step_down = step_down
        self._unconfirmed: dict[str, float] = {}
        self._bound_unseen: dict[str, float] = {}
        self._verified_s = float("-inf")

    # -- where a pod is known from ---------------------------------------------------------------

    def seen(self, pod: PodFacts, now: float) -> None:
        """The watch shows a pod."""
        self._correct(pod, now)
        self._unconfirmed.pop(pod.uid, None)
        self._bound_unseen.pop(pod.uid, None)
        self._state.ended.pop(pod.uid, None)  # a restored API server brings pods back
        self.see(pod, now)

    def read(self, pod: PodFacts, now: float) -> None:
        """The API server says how a pod is, and the watch has not shown it yet."""
        state, uid = self._state, pod.uid
        if uid in state.ended:
            return
        self._correct(pod, now)
        if pod.scheduler_name not in state.policy.scheduler_names:
            return
        new = uid not in state.pods and uid not in state.seats
        if pod.finished and new:
            return
        if pod.node and (new or uid in self._unconfirmed):
            self._unconfirmed.pop(uid, None)
            self._bound_unseen[uid] = now
        elif new:
            self._unconfirmed[uid] = now + state.policy.hold_ttl_s
        self.see(pod, now)

    def bound(self, uid: str, node: str, now: float) -> None:
        """This replica's Binding succeeded."""
        pod = self._state.pods.get(uid)
        if uid in self._unconfirmed:
            del self._unconfirmed[uid]
            self._bound_unseen[uid] = now
        if pod is not None:
            self.see(replace(pod, node=node), now, own_bind=True)

    def meet(self, pod: PodFacts, now: float) -> PodFacts:
        """kube-scheduler names a pod, perhaps a moment before the watch does."""
        known = self._state.pods.get(pod.uid)
        if known is None:
            self._unconfirmed[pod.uid] = now + self._state.policy.hold_ttl_s
            self.see(replace(pod, node=""), now)
        elif known.gated:
            self.see(replace(known, gated=False, hold_gate=False), now)  # kube-scheduler skips gated pods
        return self._state.pods.get(pod.uid, pod)

    def _correct(self, pod: PodFacts, now: float) -> None:
        """Forget what a caller said of a pod, if it is another pod or plays another part."""
        told = self._state.pods.get(pod.uid) if pod.uid in self._unconfirmed else None
        if told is not None and (told.scheduler_name, told.role, told.gang) != (
            pod.scheduler_name,
            pod.role,
            pod.gang,
        ):
            self.lose(pod.uid, now)

    def unconfirmed(self, uid: str) -> bool:
        """Whether only kube-scheduler has named this pod."""
        return uid in self._unconfirmed

    def to_verify(self, now: float) -> list[Instruction]:
        """Pods that this replica bound, that count, and that the watch has not shown for long."""
        if now - self._verified_s < VERIFY_EVERY_S:
            return []
        self._verified_s = now
        late = [uid for uid, bound_s in self._bound_unseen.items() if now - bound_s >= VERIFY_EVERY_S]
        pods = [self._state.pods[uid] for uid in late if uid in self._state.pods]
        return [VerifyPod(pod.uid, pod.namespace, pod.name) for pod in pods]

    def expired(self, now: float) -> list[str]:
        """Pods that only kube-scheduler has named, for longer than they are believed."""
        out: list[str] = []
        for uid in [uid for uid, until in self._unconfirmed.items() if now >= until]:
            claim = self._state.claims.get(uid)
            if claim is None or not claim.binding:
                out.append(uid)
        return out

    def not_listed(self, listed_s: float) -> list[str]:
        """Pods that this replica bound before `listed_s` and that a complete list of then does not show."""
        return [uid for uid, bound_s in self._bound_unseen.items() if bound_s < listed_s]

    # -- into the state --------------------------------------------------------------------------

    def see(self, pod: PodFacts, now: float, *, own_bind: bool = False) -> None:
        """A pod is as this says. `own_bind`: this replica has just bound it."""
        state = self._state
        known = state.pods.get(pod.uid)
        if known is not None and known.node and not pod.node:
            return  # an event from before our own Binding; a bound pod never loses its node
        served = state.policy.serves(pod.scheduler_name, pod.namespace)
        # 1. A Binding that this replica did not make comes from another one, which leads.
        news = bool(pod.node) and (known is None or not known.node)
        if news and not own_bind and state.synced and served:
            claim = state.claims.get(pod.uid)
            if claim is None or state.nodes.names[claim.row] != pod.node:
                self._step_down(now)
        # 2. Its room.
        if pod.occupies:
            state.seat(pod)
        else:
            state.unseat(pod.uid)
        if pod.uid not in state.claims:  # a claim has the room already
            state.nominations.see(pod)
        # 3. Its gang.
        if not served:
            if pod.role is Role.WORKER:
                self._see_worker_of_other_scheduler(pod)
            return
        if pod.finished or (pod.deleting and not pod.node):
            state.release_claim(pod.uid, now, f"leader {pod.name} ended")
            state.pods.pop(pod.uid, None)
        else:
            state.pods[pod.uid] = pod
        if pod.gang is not None:
            gang = state.gang(pod.gang)
            if pod.role is Role.LEADER:
                self._ownership.see_leader(gang, pod, now, news=news, own_bind=own_bind)
            elif pod.role is Role.WORKER:
                self._see_worker(gang, pod)

    def _see_worker(self, gang: Gang, pod: PodFacts) -> None:
        if pod.finished:
            gang.workers.pop(pod.uid, None)
        else:
            gang.workers[pod.uid] = pod
        self._state.todo.match[gang.key] = None

    def _see_worker_of_other_scheduler(self, pod: PodFacts) -> None:
        """Another scheduler binds a worker: once bound it counts, and needs no reserved room."""
        state = self._state
        gang = state.gang_of(pod)
        if pod.occupies and pod.gang is not None:
            state.other_schedulers.see(pod.gang, pod)
            if gang is not None and gang.leaders:
                self._see_worker(gang, pod)
            return
        state.other_schedulers.lose(pod.uid)
        if gang is not None and gang.workers.pop(pod.uid, None) is not None:
            state.todo.match[gang.key] = None

    # -- out of the state ------------------------------------------------------------------------

    def gone(self, uid: str, now: float) -> None:
        """A pod object was deleted."""
        self._state.remember_ended(uid)
        self.lose(uid, now)

    def lose(self, uid: str, now: float) -> None:
        """Let go of all that is known of a pod, and of its gang with its last pod."""
        state = self._state
        pod = state.pods.get(uid)
        name = pod.name if pod is not None else uid
        state.release_claim(uid, now, f"leader {name} is gone")
        state.unseat(uid)
        self._waiting.remove(uid)
        self._unconfirmed.pop(uid, None)
        self._bound_unseen.pop(uid, None)
        self._wakes.forget(uid)
        state.faults.forget(Subject("pod", uid))
        state.pods.pop(uid, None)
        state.other_schedulers.lose(uid)
        state.nominations.lose(uid)
        for gang in self._gangs_naming(uid, pod):
            self._leave(gang, uid, now, f"leader {name} is gone")

    def _leave(self, gang: Gang, uid: str, now: float, why: str) -> None:
        """A pod leaves its gang."""
        state = self._state
        owned = gang.owned_by(uid)
        if gang.lose_leader(uid) and owned:
            self._ownership.disband(gang, now, why)
        if gang.workers.pop(uid, None) is not None:
            state.todo.match[gang.key] = None
        if not gang.leaders:
            for other in [each for each in gang.workers if each in state.other_schedulers]:
                del gang.workers[other]
        if gang.leaders or gang.workers:
            follow(gang, now, why)
        else:
            state.forget(gang, now)

    def _gangs_naming(self, uid: str, pod: PodFacts | None) -> list[Gang]:
        if pod is not None:
            gang = self._state.gang_of(pod)
            return [] if gang is None else [gang]
        # A finished pod has left `pods`; its leader entry keeps the gang until the object goes.
        return [gang for gang in self._state.gangs.values() if uid in gang.leaders or uid in gang.workers]
