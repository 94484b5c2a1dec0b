"""Events change the state: what was seen, learned, bound, or has run out of time.

All matching of workers with slots, all taking over of reservations and all waking is here; requests are
answered in `store`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from extender.core.carbon.entitlement import Entitlements
from extender.core.carbon.width.elastic import ElasticExecutors
from extender.core.events import (
    AnnotatePod,
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
    VerifyPod,
)
from extender.core.facts import GangKey, PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs import placement as members
from extender.core.gangs.reservation import RESERVATION, Gang, decode
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, GangSpec
from extender.core.leadership import Leadership
from extender.core.queue.waiting import WaitingGangs
from extender.core.state import State, with_unwritten
from extender.core.wakes import Parked, wake

REWRITE_AFTER_S: Final = 5.0
"""A leader that still carries an older reservation so long after the newest was written gets it again."""
VERIFY_EVERY_S: Final = 10.0
"""A pod that we bound and that the watch has not shown for this long is read from the API server."""

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


class Changes:
    """What events do to the state and the queue.

    A pod that we bound exists, however late the watch is, until the API server or a complete list says
    otherwise.
    `parked` knows who was answered no, `leadership` whether this replica may act.
    """

    def __init__(self, state: State, waiting: WaitingGangs, entitlements: Entitlements) -> None:
        self.policy = state.policy
        self.state = state
        self.faults = state.faults
        self.waiting = waiting
        self.entitlements = entitlements
        self.elastic = ElasticExecutors(state, entitlements)
        self.parked = Parked(state, waiting, entitlements, self.elastic)
        self.leadership = Leadership()
        self._unconfirmed: dict[str, float] = {}
        self._bound_unseen: dict[str, float] = {}
        self._verified_s = float("-inf")
        self._outdated_s: dict[GangKey, float] = {}
        self._owed_version = -1
        self._moved_version = -1
        self._failed: dict[tuple[Subject, str], Event] = {}

    def apply(self, event: Event, now: float) -> list[Instruction]:
        """Change the state; returns what the shell has to do about it. `now` is seconds since the epoch.

        An event that cannot be handled delays no other one: it is tried again with later ticks, until a newer
        event about the same thing takes its place. Only what a driver reports of its stages raises: nothing
        is known of them any more then, and the sender sends all of it again.
        """
        out = self._attempt(event, now)
        self.settle(now)
        return self._writes(now) + out

    def _attempt(self, event: Event, now: float) -> list[Instruction]:
        if isinstance(event, StagesReported):
            return self._change(event, now)
        subject, step = subject_of(event), type(event).__name__
        if self._failed:
            self._failed.pop((subject, step), None)
            if isinstance(event, PodGone | NodeGone):
                for each in [each for each in self._failed if each[0] == subject]:
                    del self._failed[each]
            elif isinstance(event, PodSeen | PodRead | NodeSeen):
                self._failed.pop((subject, PodGone.__name__), None)  # it is there again
                self._failed.pop((subject, NodeGone.__name__), None)
        out = self.faults.guard(
            subject, step, now, lambda: self._change(event, now), _FAILED, name=name_of(event), always=True
        )
        if out is not _FAILED:
            return out
        if not isinstance(event, Tick):
            self._failed[subject, step] = event
        return []

    def _try_again(self, now: float) -> list[Instruction]:
        """Events that could not be handled, once their time has come."""
        out: list[Instruction] = []
        for (subject, _), event in list(self._failed.items()):
            if not self.faults.left_alone(subject, now):
                out += self._attempt(event, now)
        return out

    def _change(self, event: Event, now: float) -> list[Instruction]:
        match event:
            case NodeSeen():
                lost = self.state.nodes.lost(event.node.name)
                columns = self.state.nodes.columns_epoch
                self.state.nodes.upsert(event.node)
                if self.state.nodes.columns_epoch != columns:
                    self.state.recount()
                if lost is event.node.ready:
                    self._unsettle_workers_on(event.node.name)
            case NodeGone():
                self.state.nodes.remove(event.name)
                self._unsettle_workers_on(event.name)
            case PodSeen():
                self._unsay(event.pod, now)
                self._unconfirmed.pop(event.pod.uid, None)
                self._bound_unseen.pop(event.pod.uid, None)
                self.state.ended.pop(event.pod.uid, None)  # a restored API server brings pods back
                self._see(event.pod, now)
            case PodGone():
                self.state.remember_ended(event.uid)
                self._lose(event.uid, now)
            case PodRead():
                self._believe(event.pod, now)
            case SpecRead():
                return self._learn(event, now)
            case PodBound():
                pod = self.state.pods.get(event.uid)
                if event.uid in self._unconfirmed:
                    del self._unconfirmed[event.uid]
                    self._bound_unseen[event.uid] = now
                if pod is not None:
                    self._see(replace(pod, node=event.node), now, ours=True)
            case BindFailed():
                self.state.release_claim(event.uid)
                self.requeue(event.uid, now)
            case BindUnanswered():
                claim = self.state.claims.get(event.uid)
                if claim is not None:
                    claim.binding = False
                    claim.expires_s = now + self.policy.hold_ttl_s
            case CarbonSeen():
                # A source whose clock runs ahead must not hold the newest place for hours.
                self.state.carbon.see(replace(event.signal, at_s=min(event.signal.at_s, now)))
                self._refresh_carbon(now)
            case StagesReported():
                self._hear(event, now)
            case SwitchesSeen():
                self.state.switches = event.switches
                self.entitlements.refresh(now)
            case Synced():
                self._sync(now)
            case Tick():
                return self._tick(now)
        return []

    def settle(self, now: float) -> None:
        """Match slots and workers of the gangs in which something changed.

        Not before every reservation is taken over, and all matches come before any move: until a bound
        worker has its slot its room counts twice, and a slot would move for want of room.
        """
        if not self.state.synced:
            return
        settled: dict[GangKey, Gang] = {}
        later: list[GangKey] = []
        while self.state.unsettled:
            key = next(iter(self.state.unsettled))
            del self.state.unsettled[key]
            gang = self.state.gangs.get(key)
            if gang is None:
                continue
            if self._for_gang(gang, "settle", now, self.state.settle):
                settled[key] = gang
            else:
                later.append(key)
        later += [
            gang.key for gang in settled.values() if not self._for_gang(gang, "settle", now, self._follow)
        ]
        # Gangs that run come before gangs that wait: a slot that is owed gets new room first.
        if self.state.owed and self._owed_version != self.state.nodes.version:
            for key in list(self.state.owed):
                gang = self.state.gangs.get(key)
                del self.state.owed[key]
                if gang is not None and not self._for_gang(gang, "slots", now, self._move_open_slots):
                    self.state.owed[key] = None
            self._owed_version = self.state.nodes.version
        self.state.unsettled.update(dict.fromkeys(later))

    def _for_gang(self, gang: Gang, step: str, now: float, work: Callable[[Gang], None]) -> bool:
        """Do something for one gang; whether it was done."""

        def done() -> bool:
            work(gang)
            return True

        return self.faults.guard(Subject.gang(gang.key), step, now, done, otherwise=False)

    def _follow(self, gang: Gang) -> None:
        members.follow_workers(self.state, gang)
        self.state.widen_stages(gang)

    def _move_open_slots(self, gang: Gang) -> None:
        members.move_open_slots(self.state, gang)

    def _unsettle_workers_on(self, node: str) -> None:
        """A node went away or came back: workers being deleted on it count differently now."""
        for gang in self.state.gangs.values():
            if any(pod.deleting and pod.node == node for pod in gang.workers.values()):
                self.state.unsettled[gang.key] = None

    def _step_down(self, now: float) -> None:
        """Another replica binds our pods, so its kube-scheduler leads: what we promised is void."""
        self.leadership.lost()
        for uid in [uid for uid, claim in self.state.claims.items() if not claim.binding]:
            self.state.release_claim(uid)
            self.requeue(uid, now)

    def _believe(self, pod: PodFacts, now: float) -> None:
        """A pod is as the API server says, though the watch has not said so yet."""
        uid = pod.uid
        if uid in self.state.ended:
            return
        self._unsay(pod, now)
        if pod.scheduler_name not in self.policy.scheduler_names:
            return
        new = uid not in self.state.pods and uid not in self.state.seats
        if pod.finished and new:
            return
        if pod.node and (new or uid in self._unconfirmed):
            self._unconfirmed.pop(uid, None)
            self._bound_unseen[uid] = now
        elif new:
            self._unconfirmed[uid] = now + self.policy.hold_ttl_s
        self._see(pod, now)

    def _unsay(self, pod: PodFacts, now: float) -> None:
        """Forget what a caller told of a pod, if it is another's or plays another part than it said."""
        told = self.state.pods.get(pod.uid) if pod.uid in self._unconfirmed else None
        if told is not None and (told.scheduler_name, told.role, told.gang) != (
            pod.scheduler_name,
            pod.role,
            pod.gang,
        ):
            self._lose(pod.uid, now)

    def unconfirmed(self, uid: str) -> bool:
        """Whether only kube-scheduler told us of this pod."""
        return uid in self._unconfirmed

    def _verify(self, now: float) -> list[Instruction]:
        """Pods that we bound, that count, and that the watch has not shown for long."""
        if now - self._verified_s < VERIFY_EVERY_S:
            return []
        self._verified_s = now
        late = [uid for uid, bound_s in self._bound_unseen.items() if now - bound_s >= VERIFY_EVERY_S]
        pods = [self.state.pods[uid] for uid in late if uid in self.state.pods]
        return [VerifyPod(pod.uid, pod.namespace, pod.name) for pod in pods]

    def _see(self, pod: PodFacts, now: float, *, ours: bool = False) -> None:
        state = self.state
        known = state.pods.get(pod.uid)
        if known is not None and known.node and not pod.node:
            return  # an event from before our own Binding; a bound pod never loses its node
        news = bool(pod.node) and (known is None or not known.node)
        if news and not ours and state.synced and self.policy.serves(pod.scheduler_name, pod.namespace):
            claim = state.claims.get(pod.uid)
            if claim is None or state.nodes.names[claim.row] != pod.node:
                self._step_down(now)
        if pod.occupies:
            state.seat(pod)
        else:
            state.unseat(pod.uid)
        if pod.uid not in state.claims:  # a claim holds the room already
            state.nominations.see(pod)
        if not self.policy.serves(pod.scheduler_name, pod.namespace):
            if pod.role is Role.WORKER:
                self._see_other_schedulers(pod)
            return
        if pod.finished or (pod.deleting and not pod.node):
            state.release_claim(pod.uid)
            state.pods.pop(pod.uid, None)
        else:
            state.pods[pod.uid] = pod
        if pod.gang is not None:
            gang = state.gang(pod.gang)
            if pod.role is Role.LEADER:
                self._see_leader(gang, pod, now, news=news, ours=ours)
            elif pod.role is Role.WORKER:
                self._see_worker(gang, pod)

    def _see_leader(self, gang: Gang, pod: PodFacts, now: float, *, news: bool, ours: bool) -> None:
        if not gang.leaders:
            gang.workers.update(self.state.other_schedulers.of(gang.key))
            self.state.unsettled[gang.key] = None
        gang.leaders[pod.uid] = pod
        gang.leader_ended = False
        if pod.finished or pod.deleting:
            if gang.owner_uid == pod.uid:
                self._disband(gang, now)
        elif pod.node and self.state.synced and not ours:
            self._own(gang, pod, news=news)
            self._compare(gang, pod, now)
        self.waiting.update(pod, now)

    def _compare(self, gang: Gang, leader: PodFacts, now: float) -> None:
        """Note since when a leader carries another text than the newest."""
        if gang.owner_uid == leader.uid and leader.annotations.get(RESERVATION, "") != gang.written:
            self._outdated_s.setdefault(gang.key, now)
        else:
            self._outdated_s.pop(gang.key, None)

    def _rewrite(self, now: float) -> list[Instruction]:
        """Write reservations again that leaders still do not carry.

        A write may be lost although it was answered, and one that was given up may land on a newer one.
        """
        out: list[Instruction] = []
        for key in [key for key, since_s in self._outdated_s.items() if now - since_s >= REWRITE_AFTER_S]:
            gang = self.state.gangs.get(key)
            owner = gang.owner if gang is not None else None
            if gang is None or owner is None or not owner.node or not gang.written:
                del self._outdated_s[key]
                continue
            self._outdated_s[key] = now
            out.append(AnnotatePod(owner.uid, owner.namespace, owner.name, {RESERVATION: gang.written}))
        return out

    def _see_worker(self, gang: Gang, pod: PodFacts) -> None:
        if pod.finished:
            gang.workers.pop(pod.uid, None)
        else:
            gang.workers[pod.uid] = pod
        self.state.unsettled[gang.key] = None

    def _see_other_schedulers(self, pod: PodFacts) -> None:
        """Another scheduler binds a worker: once bound it counts, and needs no reserved room."""
        if not pod.occupies:
            self._lose_other_schedulers(pod)
            return
        self.state.other_schedulers.see(pod)
        gang = self.state.gang_of(pod)
        if gang is not None and gang.leaders:
            self._see_worker(gang, pod)

    def _lose_other_schedulers(self, pod: PodFacts) -> None:
        self.state.other_schedulers.lose(pod.uid)
        gang = self.state.gang_of(pod)
        if gang is not None and gang.workers.pop(pod.uid, None) is not None:
            self.state.unsettled[gang.key] = None

    def _own(self, gang: Gang, leader: PodFacts, *, news: bool = False) -> None:
        """A bound leader owns its gang's reservation: ours, another replica's, or one to be rebuilt.

        `news` says that we did not know it was bound: then what the pod carries counts, whatever we planned.
        """
        text = leader.annotations.get(RESERVATION, "")
        owner, reservation = gang.owner, decode(text)
        if gang.owner_uid == leader.uid:
            if reservation is None or text == gang.written:
                return
            if not news and reservation.sequence < gang.sequence:
                return  # an echo of what has been written since
        elif owner is not None and owner.node:
            return  # the first bound leader keeps the reservation
        if owner is not None:
            self.state.release_claim(owner.uid)
            self.state.disband(gang)
        if reservation is not None:
            self.state.adopt(gang, leader, reservation)
        else:
            spec = gang.specs.get(leader.uid)
            if not isinstance(spec, GangSpec):
                return
            self.state.adopt_bare(gang, leader, spec)

    def _disband(self, gang: Gang, now: float) -> None:
        self.state.disband(gang)
        self._find_owner(gang)
        for leader in gang.leaders.values():
            self.waiting.update(leader, now)

    def _find_owner(self, gang: Gang) -> None:
        """The oldest leader that runs owns the gang's reservation."""
        bound = [pod for pod in gang.leaders.values() if pod.occupies and not pod.deleting]
        for leader in sorted(bound, key=lambda pod: (pod.created_s, pod.uid)):
            self._own(gang, leader)

    def _lose(self, uid: str, now: float) -> None:
        state = self.state
        state.release_claim(uid)
        state.unseat(uid)
        self.waiting.remove(uid)
        self._unconfirmed.pop(uid, None)
        self._bound_unseen.pop(uid, None)
        self.parked.forget(uid)
        self.faults.forget(Subject("pod", uid))
        pod = state.pods.pop(uid, None)
        state.other_schedulers.lose(uid)
        state.nominations.lose(uid)
        for gang in self._gangs_naming(uid, pod):
            gang.specs.pop(uid, None)
            if gang.leaders.pop(uid, None) is not None:
                gang.leader_ended = not gang.leaders
                if gang.owner_uid == uid:
                    self._disband(gang, now)
            if gang.workers.pop(uid, None) is not None:
                state.unsettled[gang.key] = None
            if not gang.leaders:
                for other in [each for each in gang.workers if each in state.other_schedulers]:
                    del gang.workers[other]
            if not gang.leaders and not gang.workers:
                state.gangs.pop(gang.key, None)
                state.forget_stages(gang.key)
                self.faults.forget(Subject.gang(gang.key))

    def _gangs_naming(self, uid: str, pod: PodFacts | None) -> list[Gang]:
        if pod is not None:
            gang = self.state.gang_of(pod)
            return [] if gang is None else [gang]
        # A finished pod has left `pods`; its leader entry keeps the gang until the object goes.
        return [gang for gang in self.state.gangs.values() if uid in gang.leaders or uid in gang.workers]

    def _learn(self, event: SpecRead, now: float) -> list[Instruction]:
        leader = event.leader
        if leader.gang is None or leader.uid in self.state.ended:
            return []
        gang = self.state.gang(leader.gang)
        before = gang.specs.get(leader.uid)
        gang.specs[leader.uid] = event.spec
        known = gang.leaders.get(leader.uid)
        if known is None:
            return []
        if known.occupies and not known.deleting and self.state.synced:
            if gang.owner_uid != known.uid:
                self._own(gang, known)
            elif gang.spec is not None and isinstance(event.spec, GangSpec):
                gang.spec = with_unwritten(gang.spec, event.spec)
                self.state.unsettled[gang.key] = None  # what real workers show comes before what is written
        self.waiting.update(known, now)
        waited = before == WAIT_FOR_CONFIGURATION and before != event.spec
        if waited and leader.uid in self.waiting and leader.uid in self.parked.refused:
            return [wake(known, now)]
        return []

    def _hear(self, event: StagesReported, now: float) -> None:
        """Stages of a gang that nobody leads are nobody's."""
        gang = self.state.gangs.get(event.key)
        if gang is not None and gang.owner_uid:
            if event.restarted:
                self.state.forget_stages(event.key)
            self.state.hear_stages(gang, event.events, now)

    def _sync(self, now: float) -> None:
        self.state.synced = True
        listed_s = now - self.policy.hold_ttl_s  # a list may be as old as the request that fetched it
        for uid in [uid for uid, bound_s in self._bound_unseen.items() if bound_s < listed_s]:
            self.faults.guard(
                Subject("pod", uid), "sync", now, partial(self._lose, uid, now), None, always=True
            )
        for gang in list(self.state.gangs.values()):
            self.state.unsettled[gang.key] = None
            self._for_gang(gang, "sync", now, lambda each: self._take_over(each, now))

    def _take_over(self, gang: Gang, now: float) -> None:
        self._find_owner(gang)
        for leader in gang.leaders.values():
            self.waiting.update(leader, now)

    def _tick(self, now: float) -> list[Instruction]:
        state = self.state
        out = self._try_again(now) + self._verify(now)
        expired = [uid for uid, claim in state.claims.items() if not claim.binding and now >= claim.expires_s]
        for uid in expired:
            self.faults.guard(
                Subject("pod", uid), "expiry", now, partial(self._expire, uid, now), None, always=True
            )
        for uid in [uid for uid, until in self._unconfirmed.items() if now >= until]:
            claim = state.claims.get(uid)
            if claim is None or not claim.binding:
                self.faults.guard(
                    Subject("pod", uid), "expiry", now, partial(self._lose, uid, now), None, always=True
                )
        self.faults.expire(now)
        if not state.synced:
            return out
        self.settle(now)
        if state.nodes.version != self._moved_version:
            for gang in list(state.gangs.values()):
                self._for_gang(gang, "slots", now, self._move_open_slots)
            self._moved_version = state.nodes.version
        if expired:
            out += [
                wake(pod, now) for uid in self.parked.refused if (pod := state.pods.get(uid)) and pod.waiting
            ]
        if self.leadership.leads(now):
            out += self._rewrite(now)
            out += [wake(leader, now) for leader in self.waiting.to_wake(now)]
        self._refresh_carbon(now)
        return out + self.parked.released(now)

    def _expire(self, uid: str, now: float) -> None:
        self.state.release_claim(uid)
        self.requeue(uid, now)

    def _refresh_carbon(self, now: float) -> None:
        """Values get stale with time: what is scored and allowed follows."""
        carbon = self.state.carbon
        values = {zone: carbon.value(zone, now) for zone in carbon.signals}
        if values != self.state.intensities:
            self.state.intensities = values
            carbon.version += 1
        if self.state.synced:
            self._part("plan", now, lambda: self.entitlements.planned.refresh(now))
        self._part("carbon budget", now, lambda: self.entitlements.budget.refresh(now))
        self._part("stage graphs", now, self._catch_up)
        self._part("entitlements", now, lambda: self.entitlements.refresh(now))

    def _catch_up(self) -> None:
        self.state.stages.widen()
        if self.state.stages.behind:
            self.state.offer_room(self.entitlements.budget.left())
            self.state.stages.catch_up()

    def _part(self, name: str, now: float, work: Callable[[], object]) -> None:
        """Something that is done for the cluster as a whole."""
        self.faults.guard(Subject("part", name), name, now, work, None)

    def requeue(self, uid: str, now: float) -> None:
        """A leader whose claim was given back waits again."""
        pod = self.state.pods.get(uid)
        if pod is not None and pod.role is Role.LEADER:
            self.waiting.update(pod, now)

    def _writes(self, now: float) -> list[Instruction]:
        if not self.state.dirty or not self.leadership.leads(now):
            return []
        return list(self.state.unwritten())

    def meet(self, pod: PodFacts, now: float) -> PodFacts:
        """kube-scheduler may know a pod a moment before our watch does."""
        known = self.state.pods.get(pod.uid)
        if known is None:
            self._unconfirmed[pod.uid] = now + self.policy.hold_ttl_s
            self._see(replace(pod, node=""), now)
        elif known.gated:
            self._see(replace(known, gated=False, hold_gate=False), now)  # a gated pod is never asked for
        return self.state.pods.get(pod.uid, pod)
