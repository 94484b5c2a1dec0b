"""The state of waiting applications as one line each, for the driver's Events and its status annotation.

A line changes only when the state does: it holds no counters, and times only where a plan moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from extender.core.carbon.start.hold import Hold
from extender.core.facts import PodFacts, Role
from extender.core.outcomes import EXPLANATIONS, FOR_GOOD, Outcome
from extender.core.queue.queue_pass import Verdict
from extender.core.store import Store

STATUS: Final = "carbon-scheduler/status"
"""Annotation on a driver: its state while it waits, and how it went on."""


class Reason(StrEnum):
    """The closed list of reasons of Events."""

    HELD = "HeldForCarbon"
    PLANNED = "PlannedStart"
    BLOCKED = "BlockedByEarlierGang"
    NO_ROOM = "WaitsForRoom"
    REFUSED = "Refused"
    RELEASED = "Released"


HOLDS: Final = frozenset({Reason.HELD, Reason.PLANNED})


@dataclass(frozen=True, slots=True)
class Notice:
    """One line about a driver."""

    pod: PodFacts
    reason: Reason
    text: str

    @property
    def status(self) -> str:
        """Value of the annotation."""
        return f"{self.reason.value}: {self.text}"

    @property
    def written(self) -> str:
        """The annotation as the pod carries it."""
        return self.pod.annotations.get(STATUS, "")


def notices(store: Store, now: float) -> list[Notice]:
    """One notice for each driver that waits and whose state is known. Plans nothing."""
    return [found for pod in _waiting(store) if (found := _notice(store, pod, now)) is not None]


def released(store: Store, uid: str, now: float) -> Notice | None:
    """That a driver which was held is free to start; None while it is held, or when it is gone."""
    pod = store.state.pods.get(uid)
    if pod is None or _hold(store, pod, now) is not None:
        return None
    latest = " after its latest start" if pod.waiting and _overdue(store, pod, now) else ""
    return Notice(pod, Reason.RELEASED, f"no carbon policy holds it any more{latest}")


def _waiting(store: Store) -> Iterator[PodFacts]:
    """Drivers that kube-scheduler was refused, and those that our gate keeps from it."""
    state, refused = store.state, store.handlers.wakes.refused
    for uid in list(refused):
        pod = state.pods.get(uid)
        if pod is not None and pod.role is Role.LEADER and pod.waiting:
            yield pod
    for pod in state.pods.values():
        if pod.hold_gate and pod.role is Role.LEADER and pod.waiting and pod.uid not in refused:
            yield pod


def _notice(store: Store, pod: PodFacts, now: float) -> Notice | None:
    hold = _hold(store, pod, now)
    if hold is not None:
        return _held(pod, hold)
    outcome = store.handlers.wakes.refused.get(pod.uid)
    verdict = store.waiting.judged(pod.uid)
    if outcome in FOR_GOOD:
        return _refused(pod, verdict)
    if outcome is Outcome.NO_ROOM:
        return Notice(pod, Reason.NO_ROOM, EXPLANATIONS[Outcome.NO_ROOM])
    return _blocked(pod, verdict) if outcome is Outcome.EARLIER_GANG_WAITS else None


def _refused(pod: PodFacts, verdict: Verdict | None) -> Notice | None:
    """The amount that is too large is known once the queue has been judged again."""
    if verdict is None or verdict.outcome not in FOR_GOOD:
        return None
    return Notice(pod, Reason.REFUSED, verdict.detail or EXPLANATIONS[verdict.outcome])


def _held(pod: PodFacts, hold: Hold) -> Notice:
    return Notice(pod, Reason.PLANNED if hold.text else Reason.HELD, hold.detail)


def _blocked(pod: PodFacts, verdict: Verdict | None) -> Notice | None:
    """The gang before it is known once the queue has been judged again."""
    if verdict is None or verdict.blocker is None:
        return None
    return Notice(pod, Reason.BLOCKED, f"{verdict.blocker} is before it in its pool, and waits")


def _hold(store: Store, pod: PodFacts, now: float) -> Hold | None:
    gang = store.state.gang_of(pod)
    if gang is None or gang.owner is not None or not pod.waiting:
        return None
    return store.entitlements.start(pod, gang.specs.get(pod.uid), now).hold


def _overdue(store: Store, pod: PodFacts, now: float) -> bool:
    gang = store.state.gang_of(pod)
    spec = gang.specs.get(pod.uid) if gang is not None else None
    own = getattr(spec, "flexibility", None)
    if own is None:
        return False
    flexibility = store.policy.carbon.flexibility(pod.namespace, own)
    return now >= flexibility.latest_start_s(pod.created_s)
