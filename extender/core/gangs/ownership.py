"""Matches gangs with the leaders that are bound, and with the reservations that these carry."""

from __future__ import annotations

from typing import Final

from extender.core.events import AnnotatePod, Instruction
from extender.core.facts import PodFacts, Role
from extender.core.gangs.gang import Gang
from extender.core.gangs.phases import follow
from extender.core.gangs.reservation import RESERVATION, decode
from extender.core.gangs.spec import GangSpec
from extender.core.queue.waiting import WaitingGangs
from extender.core.state import State, with_unwritten

REWRITE_AFTER_S: Final = 5.0
"""A leader that still carries an older reservation so long after the newest was written gets it again."""


class Ownership:
    """Says which bound leader owns the reservation of its gang, and takes the reservation over."""

    def __init__(self, state: State, waiting: WaitingGangs) -> None:
        self._state = state
        self._waiting = waiting

    def see_leader(self, gang: Gang, pod: PodFacts, now: float, *, news: bool, own_bind: bool) -> None:
        """A leader was seen. `news`: it is bound, which was not known; `own_bind`: by this replica."""
        if not gang.leaders:
            gang.workers.update(self._state.other_schedulers.of(gang.key))
            self._state.todo.match[gang.key] = None
        gang.see_leader(pod)
        if pod.finished or pod.deleting:
            if gang.owned_by(pod.uid):
                ended = f"ended ({pod.phase})" if pod.finished else "is being deleted"
                self.disband(gang, now, f"leader {pod.name} {ended}")
        elif pod.node and self._state.synced and not own_bind:
            self.take_over(gang, pod, now, news=news)
            self._compare(gang, pod, now)
        self._waiting.update(pod, now)
        follow(gang, now, _seen(pod))

    def disband(self, gang: Gang, now: float, why: str) -> None:
        """The leader that owned the reservation ended; another one that runs may own one now."""
        self._state.disband(gang)
        follow(gang, now, why)
        self.find_owner(gang, now)

    def find_owner(self, gang: Gang, now: float) -> None:
        """The oldest leader that runs owns the gang's reservation. Leaders that wait join the queue."""
        bound = [pod for pod in gang.leaders.values() if pod.occupies and not pod.deleting]
        for leader in sorted(bound, key=lambda pod: (pod.created_s, pod.uid)):
            self.take_over(gang, leader, now)
        for leader in gang.leaders.values():
            self._waiting.update(leader, now)

    def take_over(self, gang: Gang, leader: PodFacts, now: float, *, news: bool = False) -> None:
        """A bound leader owns its gang's reservation: this replica's, another's, or one to be rebuilt.

        `news` says that its Binding was not known: then the text that the pod carries counts, whatever was
        planned here.
        """
        state, text = self._state, leader.annotations.get(RESERVATION, "")
        admission, reservation = gang.admission, decode(text)
        if admission is not None:
            if admission.leader.uid == leader.uid:
                if reservation is None or text == admission.written:
                    return
                if not news and reservation.sequence < gang.sequence:
                    return  # an echo of what has been written since
            elif admission.runs:
                return  # the first bound leader keeps the reservation
            state.release_claim(admission.leader.uid, now, f"leader {leader.name} of the same gang is bound")
            state.disband(gang)
        spec = gang.specs.get(leader.uid)
        if reservation is not None:
            state.adopt(gang, leader, reservation)
        elif isinstance(spec, GangSpec):
            state.adopt_bare(gang, leader, spec)
        follow(gang, now, _seen(leader))

    def give_back(self, uid: str, now: float, why: str) -> None:
        """Give the room of a claim back; a leader waits again."""
        self._state.release_claim(uid, now, why)
        pod = self._state.pods.get(uid)
        if pod is not None and pod.role is Role.LEADER:
            self._waiting.update(pod, now)

    def learn(self, gang: Gang, leader: PodFacts, spec: GangSpec, now: float) -> None:
        """The request of a bound leader was read: it completes the reservation, or leads to one."""
        admission = gang.admission
        if admission is None or admission.leader.uid != leader.uid:
            self.take_over(gang, leader, now)
            return
        admission.spec = with_unwritten(admission.spec, spec)
        self._state.todo.match[gang.key] = None  # what real workers show comes before what is written

    def _compare(self, gang: Gang, leader: PodFacts, now: float) -> None:
        """Note since when a leader carries another text than the newest."""
        admission = gang.admission
        if (
            admission is None
            or admission.leader.uid != leader.uid
            or leader.annotations.get(RESERVATION, "") == admission.written
        ):
            gang.outdated_since_s = None
        elif gang.outdated_since_s is None:
            gang.outdated_since_s = now

    def rewrite(self, now: float) -> list[Instruction]:
        """Write reservations again that leaders still do not carry.

        A write may be lost although it was answered, and one that was given up may land on a newer one.
        """
        out: list[Instruction] = []
        for gang in self._state.gangs.values():
            if gang.outdated_since_s is None or now - gang.outdated_since_s < REWRITE_AFTER_S:
                continue
            admission = gang.admission
            if admission is None or not admission.runs or not admission.written:
                gang.outdated_since_s = None
                continue
            gang.outdated_since_s = now
            owner, text = admission.leader, admission.written
            out.append(AnnotatePod(owner.uid, owner.namespace, owner.name, {RESERVATION: text}))
        return out


def _seen(leader: PodFacts) -> str:
    if leader.finished:
        return f"leader {leader.name} ended ({leader.phase})"
    if leader.deleting:
        return f"leader {leader.name} is being deleted"
    return f"leader {leader.name} is bound to {leader.node}" if leader.node else f"leader {leader.name} waits"
