"""Decisions made before kube-scheduler calls, so that the pod can name its node.

kube-scheduler looks at the node in a pod's `status.nominatedNodeName` first, and alone: where it passes, the
search through all other nodes, which is what makes an exact choice slow, does not happen. The node is the
one that `filter` would answer; its room is claimed as an answer to `filter` claims it, so the call of
kube-scheduler confirms what was decided early. The name is a hint. When it is late, lost or wrong,
kube-scheduler calls with all nodes, the store releases the claim, and it judges the pod as if no name had
been written.

Decided early is what can be named in time and is not refused a moment later:

- a pod that was gated or refused, when it is released;
- a worker that has a reserved slot, and a pod outside any gang, while kube-scheduler has others to go through
  first. The first pods of a burst are tried before a name could arrive, so they are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from extender.core.decisions import FilterDecision
from extender.core.events import AnnotatePod, Instruction, NameNode, RemoveGate
from extender.core.facts import PodFacts, Role
from extender.core.outcomes import Outcome
from extender.core.store import Store

_AHEAD: Final = 4
"""Pods that kube-scheduler tries first: a name written now arrives before it gets to the next one."""
_AT_ONCE: Final = 8
"""Leaders decided early in one step: each may cost a new plan of the queue."""


class EarlyDecisions:
    """Decides for pods before kube-scheduler calls, and remembers each decision until it does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queued: dict[str, None] = {}
        self._made: dict[str, FilterDecision] = {}

    def __len__(self) -> int:
        """Decisions that no call of kube-scheduler has confirmed yet."""
        return len(self._made)

    def wanted(self, uid: str) -> bool:
        """Whether a name for this pod is still of use: kube-scheduler has not called for it since."""
        return uid in self._made

    def seen(self, pod: PodFacts, now: float) -> list[NameNode]:
        """A pod was added or changed."""
        known = self._store.state.pods.get(pod.uid)
        if known is None or not known.waiting:
            self.forget(pod.uid)
            return []
        if known.gated or pod.uid in self._queued or pod.uid in self._made or not self._acts(now):
            return []
        if self._store.handlers.wakes.refused.get(pod.uid) is not None:
            return []
        first = len(self._queued) < _AHEAD
        self._queued[pod.uid] = None
        if first or not self._has_its_room(known):
            return []
        return self._decide(known, now)

    def released(self, instructions: Iterable[Instruction], now: float) -> list[Instruction]:
        """The instructions; the node of a pod comes before what makes kube-scheduler try it."""
        out: list[Instruction] = []
        left = _AT_ONCE
        for each in instructions:
            tried = isinstance(each, RemoveGate) or (isinstance(each, AnnotatePod) and each.wake)
            pod = self._store.state.pods.get(each.uid) if tried and left and self._acts(now) else None
            if pod is not None and pod.waiting and pod.gated == pod.hold_gate:
                left -= pod.role is Role.LEADER
                out += self._decide(pod, now)
            out.append(each)
        return out

    def asked(self, uid: str, decision: FilterDecision) -> FilterDecision:
        """kube-scheduler called. An answer that confirms an early decision is reported as that decision."""
        self._queued.pop(uid, None)
        made = self._made.pop(uid, None)
        confirmed = made is not None and decision.outcome is Outcome.ALREADY_ADMITTED
        return made if made is not None and confirmed and made.node == decision.node else decision

    def forget(self, uid: str) -> None:
        """A pod is gone, or waits no longer."""
        self._queued.pop(uid, None)
        self._made.pop(uid, None)

    def _acts(self, now: float) -> bool:
        """Whether this replica leads and knows all that another may have bound: only its promises count."""
        store = self._store
        return store.policy.name_nodes and store.state.synced and store.leadership.may_promise(now)

    def _has_its_room(self, pod: PodFacts) -> bool:
        """Whether nothing but a lack of nodes could refuse the pod."""
        if pod.role is Role.LEADER and pod.gang is not None:
            return False  # its turn comes with the queue
        gang = self._store.state.gang_of(pod)
        return gang is None or (gang.admission is not None and gang.admission.has_open_slot)

    def _decide(self, pod: PodFacts, now: float) -> list[NameNode]:
        if pod.nominated or pod.uid in self._store.state.claims:
            return []  # evictions make room for it, or its room is claimed already
        decision = self._store.decide_early(pod, now)
        if not decision.node:
            return []
        self._made[pod.uid] = decision
        return [NameNode(pod.uid, pod.namespace, pod.name, decision.node)]
