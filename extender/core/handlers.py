"""Events change the state: each handler says what one kind of event does.

An event that cannot be handled delays no other one. It is tried again with later ticks, until a newer event
about the same thing takes its place.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from extender.core.carbon.entitlement import Entitlements
from extender.core.carbon.width.elastic import ElasticExecutors
from extender.core.events import (
    BindFailed,
    BindUnanswered,
    CarbonSeen,
    Event,
    Instruction,
    NodeGone,
    NodeSeen,
    PodBound,
    PodGone,
    PodRead,
    PodSeen,
    SpecRead,
    StagesReported,
    SwitchesSeen,
    Synced,
    Tick,
)
from extender.core.facts import NodeFacts
from extender.core.faults import Subject
from extender.core.gangs.ownership import Ownership
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, GangSpec
from extender.core.leadership import Leadership
from extender.core.pods import Pods
from extender.core.queue.waiting import WaitingGangs
from extender.core.settling import Settling
from extender.core.state import State
from extender.core.ticks import Ticks
from extender.core.wakes import Wakes, wake

_FAILED: Final[list[Instruction]] = []


def subject_of(event: Event) -> Subject:
    """The pod, node, gang or carbon zone an event is about."""
    match event:
        case NodeSeen():
            return Subject("node", event.node.name)
        case NodeGone():
            return Subject("node", event.name)
        case PodSeen() | PodRead():
            return Subject("pod", event.pod.uid)
        case SpecRead():
            return Subject("pod", event.leader.uid)
        case PodGone() | PodBound() | BindFailed() | BindUnanswered():
            return Subject("pod", event.uid)
        case StagesReported():
            return Subject.gang(event.key)
        case CarbonSeen():
            return Subject("zone", event.signal.zone)
        case Synced() | SwitchesSeen() | Tick():
            return Subject("part", type(event).__name__)


def name_of(event: Event) -> str:
    """What people call the subject of an event, where that is not its key."""
    match event:
        case PodSeen() | PodRead():
            return f"{event.pod.namespace}/{event.pod.name}"
        case SpecRead():
            return f"{event.leader.namespace}/{event.leader.name}"
        case _:
            return ""


class Handlers:
    """The handler of each kind of event.

    `wakes` knows which pods were refused, `leadership` whether this replica may write to pods.
    """

    def __init__(
        self, state: State, waiting: WaitingGangs, entitlements: Entitlements, leadership: Leadership
    ) -> None:
        self._state = state
        self._waiting = waiting
        self._entitlements = entitlements
        self._faults = state.faults
        self.elastic = ElasticExecutors(state, entitlements)
        self.wakes = Wakes(state, waiting, entitlements, self.elastic)
        self.ownership = Ownership(state, waiting)
        self.pods = Pods(state, waiting, self.ownership, self.wakes, self._step_down)
        self.settling = Settling(state)
        self.ticks = Ticks(state, waiting, entitlements, self.ownership, self.pods, self.settling, self.wakes)
        self._leadership = leadership
        self._failed: dict[tuple[Subject, str], Event] = {}

    def apply(self, event: Event, now: float) -> list[Instruction]:
        """Change the state; returns what the shell has to do about it. `now` is seconds since the epoch.

        Only a report of stages raises: nothing is known of them any more then, and the driver sends all of it
        again.
        """
        out = self._attempt(event, now)
        self.settling.settle(now)
        if self._state.todo.write and self._leadership.leads(now):
            return [*self._state.unwritten(), *out]
        return out

    # -- events that could not be handled --------------------------------------------------------

    def _attempt(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, StagesReported):
            return self._handle(event, now)
        subject, step = subject_of(event), type(event).__name__
        if self._failed:
            self._replace_failed(event, subject, step)
        out = self._faults.guard(
            subject, step, now, lambda: self._handle(event, now), _FAILED, name=name_of(event), always=True
        )
        if out is not _FAILED:
            return out
        if not isinstance(event, Tick):
            self._failed[subject, step] = event
        return []

    def _replace_failed(self, event: Event, subject: Subject, step: str) -> None:
        """A newer event about the same thing takes the place of those that failed."""
        self._failed.pop((subject, step), None)
        if isinstance(event, PodGone | NodeGone):
            for each in [each for each in self._failed if each[0] == subject]:
                del self._failed[each]
        elif isinstance(event, PodSeen | PodRead | NodeSeen):
            self._failed.pop((subject, PodGone.__name__), None)  # it is there again
            self._failed.pop((subject, NodeGone.__name__), None)

    def _try_again(self, now: float) -> list[Instruction]:
        """Events that could not be handled, once their time has come."""
        out: list[Instruction] = []
        for (subject, _), event in list(self._failed.items()):
            if not self._faults.left_alone(subject, now):
                out += self._attempt(event, now)
        return out

    # -- one handler an event --------------------------------------------------------------------

    def _handle(self, event: Event, now: float) -> list[Instruction]:
        match event:
            case NodeSeen():
                self._see_node(event.node)
            case NodeGone():
                self._state.nodes.remove(event.name)
                self.settling.match_workers_on(event.name)
            case PodSeen():
                self.pods.seen(event.pod, now)
            case PodGone():
                self.pods.gone(event.uid, now)
            case PodRead():
                self.pods.read(event.pod, now)
            case SpecRead():
                return self._learn(event, now)
            case PodBound():
                self.pods.bound(event.uid, event.node, now)
            case BindFailed():
                self.ownership.give_back(event.uid, now, "the Binding failed")
            case BindUnanswered():
                self._doubt(event.uid, now)
            case CarbonSeen():
                # A source whose clock runs ahead must not hold the newest place for hours.
                self._state.carbon.see(replace(event.signal, at_s=min(event.signal.at_s, now)))
                self.ticks.refresh_carbon(now)
            case StagesReported():
                self._hear(event, now)
            case SwitchesSeen():
                self._state.switches = event.switches
                self._entitlements.refresh(now)
            case Synced():
                self._sync(now)
            case Tick():
                return self._try_again(now) + self.ticks.tick(now, leads=self._leadership.leads(now))
        return []

    def _doubt(self, uid: str, now: float) -> None:
        """The outcome of a Binding is not known: the room is kept until the watch shows it, or time is up."""
        claim = self._state.claims.get(uid)
        if claim is not None:
            claim.binding = False
            claim.expires_s = now + self._state.policy.hold_ttl_s

    def _see_node(self, node: NodeFacts) -> None:
        nodes = self._state.nodes
        lost, columns = nodes.lost(node.name), nodes.columns_epoch
        nodes.upsert(node)
        if nodes.columns_epoch != columns:
            self._state.recount()
        if lost is node.ready:
            self.settling.match_workers_on(node.name)

    def _learn(self, event: SpecRead, now: float) -> list[Instruction]:
        """The request of a gang was read from its leader."""
        leader, state = event.leader, self._state
        if leader.gang is None or leader.uid in state.ended:
            return []
        gang = state.gang(leader.gang)
        before = gang.specs.get(leader.uid)
        gang.specs[leader.uid] = event.spec
        known = gang.leaders.get(leader.uid)
        if known is None:
            return []
        if known.occupies and not known.deleting and state.synced and isinstance(event.spec, GangSpec):
            self.ownership.learn(gang, known, event.spec, now)
        self._waiting.update(known, now)
        waited = before == WAIT_FOR_CONFIGURATION and before != event.spec
        if waited and leader.uid in self._waiting and leader.uid in self.wakes.refused:
            return [wake(known, now)]
        return []

    def _hear(self, event: StagesReported, now: float) -> None:
        """Stages count while the gang has a reservation."""
        gang = self._state.gangs.get(event.key)
        if gang is not None and gang.admission is not None:
            if event.restarted:
                self._state.forget_stages(gang)
            self._state.hear_stages(gang.admission, event.events, now)

    def _sync(self, now: float) -> None:
        """Every object was listed once: gangs are matched with the reservations of their leaders."""
        state = self._state
        state.synced = True
        listed_s = now - state.policy.hold_ttl_s  # a list may be as old as the request that fetched it
        for uid in self.pods.not_listed(listed_s):
            self._faults.guard(
                Subject("pod", uid), "sync", now, partial(self.pods.lose, uid, now), None, always=True
            )
        for gang in list(state.gangs.values()):
            state.todo.match[gang.key] = None
            self.settling.guarded(gang, "sync", now, partial(self.ownership.find_owner, gang, now))

    def _step_down(self, now: float) -> None:
        """Another replica binds pods, so its kube-scheduler leads: what was promised here is void."""
        self._leadership.lost()
        for uid in [uid for uid, claim in self._state.claims.items() if not claim.binding]:
            self.ownership.give_back(uid, now, "another replica binds pods")
