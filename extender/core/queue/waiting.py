"""Gangs that wait: who is in the queue, the current queue pass, and whom to wake.

kube-scheduler offers no way to ask for a pod again, so a leader that could start but is not being
asked for is woken by an annotation. One that never reacts is refused by some other plugin before we
are called; it goes dormant, so that it cannot hold up the gangs behind it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from extender.core.carbon.entitlement import Entitlements
from extender.core.facts import PodFacts
from extender.core.faults import Faults, Subject
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION
from extender.core.nodes.arrays import BoolArray
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode
from extender.core.queue.empty_cluster import EmptyCluster
from extender.core.queue.queue_pass import QueuePass, Verdict, Waiting, pool_of
from extender.core.state import State

_LOOKED_AT: Final = 64
"""Gangs at the head of a pool's queue that a tick considers for waking: planning costs time."""


WAKE_AGAIN_S: Final = 15.0
"""The annotation that wakes a pod may be lost; whoever is not asked for within this time is woken again."""


@dataclass(slots=True)
class _Attention:
    """When a waiting leader was last asked for (or first seen), and when it was last woken."""

    asked_s: float
    woken_s: float | None = None
    released_s: float = -math.inf
    dormant: bool = False


class WaitingGangs:
    """The queue over the store's state."""

    def __init__(self, state: State, entitlements: Entitlements) -> None:
        self._state = state
        self._capacity = EmptyCluster(state.nodes, state.policy)
        self._entitlements = entitlements
        self._waiting: dict[str, Waiting] = {}
        self._attention: dict[str, _Attention] = {}
        self._offered: dict[str, tuple[BoolArray, int]] = {}
        self._pass: QueuePass | None = None
        self._pass_seen = (-1, -1, -1)
        self._shown: QueuePass | None = None
        self._shown_seen: tuple[tuple[int, int, int], int] = (self._pass_seen, 0)
        self._changes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def update(self, leader: PodFacts, now: float) -> None:
        """Put a leader into the queue, change it there, or take it out, as its gang stands."""
        gang = self._state.gang_of(leader)
        if gang is None or not leader.waiting or leader.gated or gang.admission is not None:
            self.remove(leader.uid)
            return
        assert leader.gang is not None
        spec = gang.specs.get(leader.uid, WAIT_FOR_CONFIGURATION)
        entry = Waiting(leader.gang, leader, spec, pool_of(leader.terms, self._state.policy.pool_label))
        before = self._waiting.get(leader.uid)
        self._waiting[leader.uid] = entry
        self._changes += 1
        attention = self._attention.setdefault(leader.uid, _Attention(now))
        if attention.dormant or (before is not None and _asks_the_same(before, entry)):
            return
        if self._pass is None:
            return
        if before is not None:
            if not self._pass.change(entry):
                self._pass = None
            return
        last = self._pass.last_rank()
        if last is None or (entry.rank > last and not self._some_behind()):
            self._pass.append(entry)
        else:
            self._pass = None

    def remove(self, uid: str) -> None:
        """A leader waits no longer."""
        if self._waiting.pop(uid, None) is not None:
            self._attention.pop(uid, None)
            self._offered.pop(uid, None)
            self.replan()

    def admitted(self, uid: str) -> None:
        """A leader was admitted just as the pass planned it: the rest of the pass still holds."""
        entry = self._waiting.pop(uid, None)
        if entry is None:
            return
        self._attention.pop(uid, None)
        self._offered.pop(uid, None)
        if self._state.policy.fifo_for(entry.pool) is FifoMode.OFF:
            self._pass = None  # gangs without order are planned alone, not after one another
        elif self._pass is not None:
            self._pass.admitted(uid)
        self._pass_seen = (self._state.nodes.version, *self._pass_seen[1:])
        self._changes += 1

    def replan(self) -> None:
        """What was planned does not hold any more."""
        self._pass = None
        self._changes += 1

    def asked(self, uid: str, now: float) -> None:
        """kube-scheduler asked for a leader."""
        attention = self._attention.get(uid)
        if attention is None:
            return
        attention.asked_s = now
        attention.woken_s, attention.released_s = None, -math.inf
        if attention.dormant:
            attention.dormant = False
            self.replan()

    def verdict(self, uid: str, now: float) -> Verdict | None:
        """Plan or refusal of a waiting leader, whatever nodes are offered; None if it does not wait."""
        return self.current(now).verdict(uid)

    def judged(self, uid: str) -> Verdict | None:
        """The verdict on a leader in the present pass, if it was judged already; plans nothing."""
        return None if self._pass is None else self._pass.judged(uid)

    def verdict_on(self, uid: str, offered: BoolArray, now: float) -> Verdict | None:
        """Plan or refusal of a waiting leader when exactly these nodes are offered for it."""
        self._offered[uid] = (offered, self._state.nodes.rows_epoch)
        self._changes += 1
        return self.current(now).verdict_on(uid, offered)

    def current(self, now: float) -> QueuePass:
        """The pass over the present state."""
        seen = self._seen()
        if self._pass is None or self._pass_seen != seen or now >= self._pass.valid_until:
            self._pass, self._pass_seen = self._new_pass(self._state.faults, now), seen
        self._pass.now = now
        return self._pass

    def shown(self, now: float) -> QueuePass:
        """A pass for people who look at the queue: nothing that is decided depends on who looked when."""
        seen = self._seen(), self._changes
        if self._shown is None or self._shown_seen != seen or now >= self._shown.valid_until:
            self._shown, self._shown_seen = self._new_pass(Faults(), now), seen
        self._shown.now = now
        return self._shown

    def supposed(self, now: float) -> QueuePass:
        """A new pass to try changes on (`QueuePass.suppose`); nothing is decided from it."""
        return self._new_pass(Faults(), now)

    def _seen(self) -> tuple[int, int, int]:
        """Changes whenever a pass must be made again."""
        state = self._state
        return state.nodes.version, state.carbon.version, state.faults.version

    def _new_pass(self, faults: Faults, now: float) -> QueuePass:
        nodes = self._state.nodes
        queue = sorted(
            (entry for uid, entry in self._waiting.items() if not self._attention[uid].dormant),
            key=lambda entry: (
                self._faulty(entry),
                self._entitlements.planned.behind(entry.leader.uid),
                entry.rank,
            ),
        )
        epoch = nodes.rows_epoch
        offered = {uid: mask for uid, (mask, made) in self._offered.items() if made == epoch}
        return QueuePass(
            nodes,
            self._state.policy,
            queue,
            offered,
            self._capacity,
            self._entitlements,
            faults,
            self._state.nominations,
            self._there,
            now,
        )

    def _some_behind(self) -> bool:
        """Whether the pass ends with gangs that were held: a younger one may go before them."""
        assert self._pass is not None
        return self._entitlements.planned.behind(self._pass.queue[-1].leader.uid)

    def _there(self, waiting: Waiting) -> int:
        gang = self._state.gangs.get(waiting.key)
        return 0 if gang is None or not gang.workers else self._state.workers_there(gang)

    def _faulty(self, entry: Waiting) -> bool:
        """Whether a gang could not be handled: it is planned after all others, so that it delays none."""
        faults = self._state.faults
        return bool(len(faults)) and any(
            faults.of(subject) is not None for subject in (Subject.gang(entry.key), Subject.pod(entry.leader))
        )

    def blocker(self, pool: str, now: float) -> PodFacts | None:
        """The leader that younger gangs of a pool wait for; None where the pool knows no order."""
        if not self._waiting or self._state.policy.fifo_for(pool) in (FifoMode.OFF, FifoMode.BACKFILL):
            return None
        return self.current(now).blocker(pool)

    def entries(self, now: float) -> list[Waiting]:
        """Waiting gangs in queue order, dormant ones last."""
        dormant = [entry for uid, entry in self._waiting.items() if self._attention[uid].dormant]
        waiting = [entry for entry in self.shown(now).queue if entry.leader.uid in self._waiting]
        return waiting + sorted(dormant, key=lambda entry: entry.rank)

    def to_wake(self, now: float) -> Iterator[PodFacts]:
        """Leaders that should be asked for again; puts those that never react to sleep."""
        policy = self._state.policy
        looked_at: Counter[str] = Counter()
        for entry in self.current(now).queue:
            looked_at[entry.pool] += 1
            if looked_at[entry.pool] > _LOOKED_AT:
                continue
            uid = entry.leader.uid
            attention = self._attention.get(uid)
            if attention is None or now - attention.asked_s < policy.silent_after_s:
                continue  # it has just been answered, or the events that changed the answer bring it back
            verdict = self.verdict(uid, now)
            if verdict is None or verdict.outcome is not Outcome.ADMITTED:
                continue
            if attention.woken_s is None:
                attention.woken_s = now
                yield entry.leader
            elif now - attention.woken_s >= policy.dormant_after_s:
                attention.dormant = True
                self.replan()

    def released(self, uids: Iterable[str], now: float) -> Iterator[PodFacts]:
        """Of these leaders, refused because they were held, those that could start now.

        No event tells kube-scheduler that a hold has ended. One that is not asked for is woken again.
        """
        for uid in uids:
            entry, attention = self._waiting.get(uid), self._attention.get(uid)
            if entry is None or attention is None or now - attention.released_s < WAKE_AGAIN_S:
                continue
            verdict = self.verdict(uid, now)
            if verdict is not None and verdict.outcome is Outcome.ADMITTED:
                attention.released_s = now
                if attention.woken_s is None:
                    attention.woken_s = now
                yield entry.leader


def _asks_the_same(before: Waiting, now: Waiting) -> bool:
    """Whether a leader changed in nothing that matters to the plan (a wake changes its annotations)."""
    same = replace(before.leader, annotations=now.leader.annotations)
    return before.spec == now.spec and before.pool == now.pool and same == now.leader
