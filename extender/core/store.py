"""The store: events change it, requests read it.

`apply(event, now) -> instructions` and `filter / bind / prioritize / preempt -> decision`. No clock, no
I/O: the same events and requests in the same order give the same state and the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from extender.core.carbon.entitlement import Entitlements
from extender.core.decisions import BindDecision, FilterDecision
from extender.core.events import (
    Event,
    Instruction,
)
from extender.core.facts import PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs import placement as members
from extender.core.gangs import preemption
from extender.core.gangs.gang import NOWHERE, Admission, Claim
from extender.core.gangs.reservation import RESERVATION
from extender.core.gangs.spec import GangSpec
from extender.core.handlers import Handlers
from extender.core.leadership import Leadership
from extender.core.nodes.arrays import BoolArray
from extender.core.offers import Everywhere, Listed, Offer, Offered
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from extender.core.queue.free_room import FreeRoom
from extender.core.queue.scoring import Scoring
from extender.core.queue.waiting import WaitingGangs
from extender.core.queue.workspace import preferred
from extender.core.stages.importance import ImportanceProvider
from extender.core.state import State

T = TypeVar("T")
_NOT_JUDGED: Final = FilterDecision(Outcome.INTERNAL_ERROR)
_NOT_BOUND: Final = BindDecision(error=_NOT_JUDGED.reason)


class Store:
    """All shared state and every decision over it."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.state = State(self.policy)
        self.entitlements = Entitlements(self.state)
        self.waiting = WaitingGangs(self.state, self.entitlements)
        self.leadership = Leadership()
        self.handlers = Handlers(self.state, self.waiting, self.entitlements, self.leadership)
        self.faults = self.state.faults
        self.free_room = FreeRoom(self.state, self.waiting, self.handlers.elastic)
        if self.policy.carbon.scores:
            scoring = Scoring(self.state)
            self.state.nodes.cost = scoring.cost
            if self.policy.carbon.carbon_weight:
                self.state.nodes.zone_cost = scoring.zone_cost

    def apply(self, event: Event, now: float) -> list[Instruction]:
        """Change the state; returns what the shell has to do about it. `now` is seconds since the epoch."""
        return self.handlers.apply(event, now)

    def rate_stages(self, provider: ImportanceProvider) -> None:
        """Rate stages with this from now on (by default: `CriticalPath`)."""
        self.state.stages.use(provider)

    # -- filter ----------------------------------------------------------------------------------

    def filter(self, pod: PodFacts, offer: Offer, now: float) -> FilterDecision:
        """One node for a pod, or the reason why there is none."""
        self.leadership.called(now)
        if not self.state.synced:
            return FilterDecision(Outcome.NOT_READY)
        if self.policy.ignores(pod.namespace):
            return FilterDecision(Outcome.OTHER_NAMESPACE)
        if not self.policy.serves(pod.scheduler_name, pod.namespace):
            return FilterDecision(Outcome.OTHER_SCHEDULER)
        if pod.uid in self.state.ended:
            return FilterDecision(Outcome.POD_GONE)
        if pod.label_problem:
            return FilterDecision(Outcome.INVALID_REQUEST, detail=pod.label_problem)
        if pod.uid in self.state.seats and pod.uid not in self.state.pods:
            return FilterDecision(Outcome.OTHER_SCHEDULER)  # the watch knows better than the caller
        return self._guarded(pod, "filter", now, lambda: self._filter(pod, offer, now), _NOT_JUDGED)

    def _filter(self, pod: PodFacts, offer: Offer, now: float) -> FilterDecision:
        pod = self.handlers.pods.meet(pod, now)
        self.handlers.settling.settle(now)
        if _leads(pod):
            self.waiting.asked(pod.uid, now)
        decision = self._decide(pod, offer, now)
        self.handlers.wakes.answered(pod, decision, now)
        return decision

    def decide_early(self, pod: PodFacts, now: float) -> FilterDecision:
        """What `filter` would answer if all nodes were offered; a node's room is claimed as `filter` does it.

        kube-scheduler has not asked: what it was told last, and whether it reacts, stay as they are.
        """
        offer = Everywhere(self.state.nodes)
        return self._guarded(pod, "filter", now, lambda: self._decide(pod, offer, now), _NOT_JUDGED)

    def _decide(self, pod: PodFacts, offer: Offer, now: float) -> FilterDecision:
        offered = Offered(self.state.nodes, offer)
        decision = self._leader(pod, offered, now) if _leads(pod) else self._one_pod(pod, offered, now)
        self.handlers.settling.settle(now)
        return decision

    def _guarded(self, pod: PodFacts, step: str, now: float, work: Callable[[], T], otherwise: T) -> T:
        """A request whose pod cannot be judged is answered with an error, and harms no other one."""
        name = f"{pod.namespace}/{pod.name}"
        return self.state.faults.guard(Subject.pod(pod), step, now, work, otherwise, name=name)

    def knows_spec(self, uid: str) -> bool:
        """Whether a usable request of the gang led by this pod is known."""
        pod = self.state.pods.get(uid)
        gang = self.state.gang_of(pod) if pod is not None else None
        return gang is not None and isinstance(gang.specs.get(uid), GangSpec)

    def _leader(self, pod: PodFacts, offered: Offered, now: float) -> FilterDecision:
        state = self.state
        assert pod.gang is not None
        gang = state.gang(pod.gang)
        answer = self._answered(pod, offered, now)
        if answer is not None:
            return answer
        if gang.admission is not None:
            return FilterDecision(Outcome.LEADER_EXISTS)
        verdict = self.waiting.verdict(pod.uid, now)
        if verdict is not None and not verdict.holds_for(offered):
            if not offered.mask.any():
                return FilterDecision(Outcome.NODES_UNKNOWN)
            verdict = self.waiting.verdict_on(pod.uid, offered.mask, now)
        if verdict is None:
            return FilterDecision(Outcome.POD_GONE)
        if verdict.packing is None:
            return FilterDecision(verdict.outcome, detail=verdict.detail)
        spec = gang.specs[pod.uid]
        assert isinstance(spec, GangSpec)
        hold = self.entitlements.start(pod, spec, now).hold
        if hold is not None and not hold.allows(state.nodes, verdict.packing):
            # Gangs planned in the same pass have used up the carbon budget in the meantime.
            self.waiting.replan()
            return FilterDecision(Outcome.HELD_FOR_CARBON, detail=hold.detail)
        state.admit(gang, pod, spec, verdict.packing, now + self.policy.hold_ttl_s, now)
        self.waiting.admitted(pod.uid)
        return FilterDecision(Outcome.ADMITTED, state.nodes.names[verdict.packing.leader_row])

    def _one_pod(self, pod: PodFacts, offered: Offered, now: float) -> FilterDecision:
        answer = self._answered(pod, offered, now)
        if answer is not None:
            return answer
        if pod.role is Role.WORKER and pod.gang is not None:
            decision = members.place_worker(self.state, self.free_room, pod, offered, now)
        else:
            decision = members.place_single(self.state, self.free_room, pod, offered, now)
        if decision.outcome is Outcome.NO_ROOM and not offered.mask.any():
            return FilterDecision(Outcome.NODES_UNKNOWN)
        return decision

    def _answered(self, pod: PodFacts, offered: Offered, now: float) -> FilterDecision | None:
        """The answer to a pod that has a node or a claim already, if that node is offered again."""
        state = self.state
        claim = state.claims.get(pod.uid)
        row = claim.row if claim is not None else state.nodes.row_of.get(pod.node, NOWHERE)
        if row == NOWHERE:
            return None
        if offered.has(row):
            if claim is not None:
                claim.expires_s = now + self.policy.hold_ttl_s
            return FilterDecision(Outcome.ALREADY_ADMITTED, state.nodes.names[row])
        if claim is None:
            return FilterDecision(
                Outcome.NODES_UNKNOWN, detail="the pod is bound already, to a node not offered"
            )
        if claim.binding:
            return FilterDecision(
                Outcome.ALREADY_ADMITTED, detail="the pod is being bound to a node not offered"
            )
        self._give_back(pod.uid, now, "the node that was answered is not offered any more")
        return None

    # -- bind, prioritize, preempt ---------------------------------------------------------------

    def bind(self, uid: str, node: str, now: float) -> BindDecision:
        """What the Binding must carry. A pod whose hold expired is admitted again, on that node only.

        The pod as it really is and the room as it is now decide, not what was true at filter.
        """
        self.leadership.called(now)
        state = self.state
        if not state.synced:
            return BindDecision(error="the caches are not synced yet")
        pod = state.pods.get(uid)
        if pod is None:
            return BindDecision(error="the pod is not known; it may be gone")
        if pod.node:
            if pod.node == node:
                return BindDecision(already_bound=True)
            return BindDecision(error=f"the pod is bound to {pod.node} already")
        return self._guarded(pod, "bind", now, lambda: self._bind(pod, node, now), _NOT_BOUND)

    def _bind(self, pod: PodFacts, node: str, now: float) -> BindDecision:
        state, uid = self.state, pod.uid
        claim = state.claims.get(uid)
        if claim is not None and not claim.binding and self._asks_otherwise(pod, claim):
            self._give_back(uid, now, "the pod is not what it was said to be")
            claim = None
        if claim is None or state.nodes.names[claim.row] != node:
            decision = self.filter(pod, Listed((node,)), now)
            if decision.node != node:
                return BindDecision(error=f"no room is reserved for the pod on {node}: {decision.reason}")
            claim = state.claims[uid]
        admission = self._led_by(pod)
        if not claim.binding:
            lost = self._room_lost(pod, claim, admission)
            if lost:
                self._give_back(uid, now, lost)
                return BindDecision(error=f"{lost}; the pod is planned again")
        claim.binding = True
        if admission is None:
            return BindDecision()
        return BindDecision({RESERVATION: state.write(admission)})

    def _led_by(self, pod: PodFacts) -> Admission | None:
        """The admitted gang that this pod leads."""
        gang = self.state.gang_of(pod)
        return gang.admission if gang is not None and gang.owned_by(pod.uid) else None

    def _give_back(self, uid: str, now: float, why: str) -> None:
        self.handlers.ownership.give_back(uid, now, why)

    def _asks_otherwise(self, pod: PodFacts, claim: Claim) -> bool:
        """Whether the pod is not what it was said to be when its room was claimed."""
        then = claim.pod
        if (then.requests, then.terms, then.role, then.gang) != (pod.requests, pod.terms, pod.role, pod.gang):
            return True
        admission = self._led_by(pod)
        if admission is None:
            return False
        asked, admitted = admission.gang.specs.get(pod.uid), admission.spec
        if not isinstance(asked, GangSpec):
            return True
        return (
            asked.min_workers != admitted.min_workers
            or asked.worker_terms != admitted.worker_terms
            or any(amount > admitted.worker.get(name, 0) for name, amount in asked.worker.items())
        )

    def _room_lost(self, pod: PodFacts, claim: Claim, admission: Admission | None) -> str:
        """Why the pod must not be bound although its room was reserved: another took it. Empty: it may.

        A leader needs the room of all its minimum workers as well; slots without room move first, if they
        can.
        """
        table = self.state.nodes
        own = claim.slot.reserved if claim.slot is not None else claim.reserved
        assert own is not None
        left = (table.allocatable - table.used)[:, claim.row]
        if not table.eligible(pod.terms)[claim.row] or (left < table.widened(own)).any():
            return f"node {table.names[claim.row]} is no longer free for the pod"
        if admission is None:
            return ""
        members.move_open_slots(self.state, admission)
        rows = [slot.row for slot in admission.slots if slot.reserved is not None or slot.row == NOWHERE]
        if NOWHERE in rows or not table.eligible(admission.spec.worker_terms)[rows].all():
            return "room reserved for workers of the gang is gone, and no other node has room for them"
        if (table.free[:, [claim.row, *rows]] < 0).any():
            return "a node with room reserved for the gang is over-committed"
        return ""

    def prioritize(self, pod: PodFacts, names: Sequence[str], now: float) -> list[int]:
        """Scores 0..10, one a name: the node of its claim first, else the order of packing."""
        none = [0] * len(names)
        return self._guarded(pod, "prioritize", now, lambda: self._scores(pod, names), none)

    def _scores(self, pod: PodFacts, names: Sequence[str]) -> list[int]:
        table = self.state.nodes
        rows = table.rows(names)
        claim = self.state.claims.get(pod.uid)
        if claim is not None:
            return [10 if row == claim.row else 0 for row in rows.tolist()]
        policy = self.policy
        priority = policy.leader_label_priority if _leads(pod) else policy.worker_label_priority
        order = preferred(table, pod.terms, priority)
        mask: BoolArray = table.mask(names)
        ranked = order[mask[order]].tolist()
        score = {row: 10 - 10 * rank // len(ranked) for rank, row in enumerate(ranked)}
        return [score.get(row, 0) for row in rows.tolist()]

    def preempt(self, pod: PodFacts, victims: Mapping[str, Sequence[str]], now: float) -> list[str]:
        """The nodes on which evicting these pods (uids by node) would really let the pod start."""
        self.leadership.called(now)
        if not self.state.synced or not self.policy.serves(pod.scheduler_name, pod.namespace):
            return []

        def judge() -> list[str]:
            return preemption.useful(self.state, self.handlers.pods.meet(pod, now), victims)

        return self._guarded(pod, "preempt", now, judge, [])


def _leads(pod: PodFacts) -> bool:
    return pod.role is Role.LEADER and pod.gang is not None
