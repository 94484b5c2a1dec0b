"""One application explained: state, blocker, amounts missing, nodes, place, expected start, remedies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import numpy as np

from extender.core.carbon.plan.horizon import horizon_of
from extender.core.carbon.start.hold import Hold
from extender.core.explain.excluded import NodeCounts, node_counts
from extender.core.explain.expected import Expected, by_hold, by_room
from extender.core.explain.names import Found
from extender.core.explain.remedies import Obstacles, Remedy, Trial
from extender.core.facts import PodFacts
from extender.core.gangs.gang import Gang
from extender.core.gangs.spec import GangSpec
from extender.core.gangs.story import Entry
from extender.core.nodes.resources import CPU
from extender.core.outcomes import EXPLANATIONS, FOR_GOOD, Outcome
from extender.core.queries import (
    DORMANT_REASON,
    GangState,
    Request,
    Shortage,
    Summary,
    faults_of,
    hold_of,
    request_of,
    shortage,
    state_of,
    summary_of,
)
from extender.core.queue.queue_pass import Verdict, Waiting
from extender.core.queue.too_large import amount
from extender.core.store import Store

_BLOCKERS: Final[dict[str, str]] = {
    Outcome.HELD_FOR_CARBON: "carbon",
    Outcome.NO_ROOM: "room",
    Outcome.EXCEEDS_CLUSTER: "room",
    Outcome.WAITING_FOR_CONFIGURATION: "configuration",
    Outcome.INVALID_REQUEST: "request",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Place in a pool from 1, and how many wait there.

    `can_start` is the place among those that can ever start.
    """

    pool: str
    position: int
    waiting: int
    can_start: int


@dataclass(frozen=True, slots=True)
class Saving:
    """The saving of waiting: mean gCO2e/kWh of a run that began now, and of the planned one.

    `grams` is for the CPU that leader and minimum workers request, at `watts_per_core`, over the expected
    run time.
    """

    now_g_per_kwh: float
    planned_g_per_kwh: float
    kwh: float
    grams: float
    watts_per_core: float
    run_time: str


@dataclass(frozen=True, slots=True)
class NamedPod:
    """The pod that was named, if it is not the leader: its node, or why it has none."""

    name: str
    node: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an application waits or runs. Times are seconds since the epoch, None where they are not known.

    `refused_for_good` says that it never starts as it is. `blocker` is a gang (`NAMESPACE/ID`), `carbon`,
    `room`, `configuration`, `request` or empty. `kube_scheduler` is kube-scheduler's message
    on the leader, if that was read. `pod` is the pod that was named, if that is not the leader.
    """

    summary: Summary
    app_name: str
    since_s: float | None
    headline: str
    outcome: str = ""
    refused_for_good: bool = False
    blocker: str = ""
    request: Request | None = None
    workers_fit_now: int | None = None
    missing: tuple[Shortage, ...] = ()
    nodes: tuple[NodeCounts, ...] = ()
    place: Place | None = None
    expected: Expected | None = None
    hold_policy: str = ""
    latest_start_s: float | None = None
    saving: Saving | None = None
    would_help: tuple[Remedy, ...] = ()
    faults: tuple[str, ...] = ()
    pod: NamedPod | None = None
    kube_scheduler: str = ""
    story: tuple[Entry, ...] = ()


def explain(store: Store, found: Found, now: float, watts_per_core: float) -> Explanation:
    """Explain a known application. Changes nothing."""
    gang = store.state.gangs[found.key]
    leader = gang.first_leader()
    if leader is None or state_of(gang) is not GangState.WAITING:
        return _settled(store, gang, leader, found)
    return _waiting(store, gang, leader, found, now, watts_per_core)


def _settled(store: Store, gang: Gang, leader: PodFacts | None, found: Found) -> Explanation:
    """A gang that does not wait."""
    spec = gang.admission.spec if gang.admission is not None else None
    summary = summary_of(store, gang)
    least = spec.min_workers if spec is not None else 0
    headline = {
        GangState.ADMITTED: "room for leader and minimum workers is reserved; the leader is being bound",
        GangState.RUNNING: f"runs with {summary.workers_bound} executors; its minimum is {least}",
        GangState.ENDED: "its leader has ended",
        GangState.LEADERLESS: "no leader pod of it is known: its executors wait for one",
    }[summary.state]
    return Explanation(
        summary,
        leader.app_name if leader is not None else "",
        store.entitlements.planned.running_since_s(gang.key),
        headline,
        request=request_of(leader, spec) if leader is not None and spec is not None else None,
        faults=tuple(faults_of(store, gang)),
        pod=_pod(store, found, leader),
        story=tuple(gang.story),
    )


def _waiting(
    store: Store, gang: Gang, leader: PodFacts, found: Found, now: float, watts_per_core: float
) -> Explanation:
    # 1. The queue's view of it.
    queue = store.waiting.entries(now)
    entry = next((each for each in queue if each.leader.uid == leader.uid), None)
    verdict = store.waiting.shown(now).verdict(leader.uid) if entry is not None else None
    held = hold_of(store, gang.key, now)
    hold = held.hold if held is not None else None
    outcome, headline = _why(leader, verdict, hold, queued=entry is not None)
    # 2. Facts that do not need its request.
    found_out = Explanation(
        summary_of(store, gang),
        leader.app_name,
        leader.created_s or None,
        headline,
        outcome,
        refused_for_good=outcome in FOR_GOOD,
        blocker=_blocker(outcome, verdict),
        place=_place(store, queue, entry, now),
        expected=_expected(store, queue, entry, outcome, hold, now),
        hold_policy=hold.policy.value if hold is not None else "",
        latest_start_s=hold.latest_start_s if hold is not None else None,
        would_help=_remedies(store, queue, entry, verdict, hold, now),
        faults=tuple(faults_of(store, gang)),
        pod=_pod(store, found, leader),
        story=tuple(gang.story),
    )
    # 3. Facts that follow from its request, once that is known.
    spec = gang.specs.get(leader.uid)
    if not isinstance(spec, GangSpec):
        return found_out
    fits, missing = shortage(store, leader, spec)
    return replace(
        found_out,
        headline=_with_amounts(outcome, headline, missing),
        request=request_of(leader, spec),
        workers_fit_now=fits,
        missing=tuple(missing),
        nodes=_node_counts(store, leader, spec),
        saving=_saving(store, leader, spec, hold, now, watts_per_core),
    )


def _why(leader: PodFacts, verdict: Verdict | None, hold: Hold | None, *, queued: bool) -> tuple[str, str]:
    """The outcome and one sentence."""
    if hold is not None and (verdict is None or verdict.outcome is Outcome.HELD_FOR_CARBON):
        return Outcome.HELD_FOR_CARBON, hold.detail
    if leader.gated and not leader.hold_gate:
        return (
            "gated",
            "another scheduling gate is on the leader: kube-scheduler waits for its end",
        )
    if verdict is None:
        return ("dormant", DORMANT_REASON) if queued else ("", "the queue has not judged it yet")
    if verdict.outcome is Outcome.ADMITTED:
        return verdict.outcome, "there is room; it is admitted when kube-scheduler asks for it"
    return verdict.outcome, verdict.detail or EXPLANATIONS[verdict.outcome]


def _with_amounts(outcome: str, headline: str, missing: Iterable[Shortage]) -> str:
    """The reason, with the missing amounts."""
    if outcome != Outcome.NO_ROOM:
        return headline
    short = [f"{amount(each.resource, each.missing)} of {each.resource}" for each in missing if each.missing]
    if not short:
        return f"{headline}: enough is free in all, in pieces that are too small"
    return f"{headline}: {' and '.join(short)} missing"


def _blocker(outcome: str, verdict: Verdict | None) -> str:
    if verdict is not None and verdict.blocker is not None:
        return str(verdict.blocker)
    return _BLOCKERS.get(outcome, "")


def _node_counts(store: Store, leader: PodFacts, spec: GangSpec) -> tuple[NodeCounts, ...]:
    table = store.state.nodes
    counts = [node_counts(table, "leader", leader.requests, leader.terms)]
    if spec.min_workers:
        counts.append(node_counts(table, "worker", spec.worker, spec.worker_terms))
    return tuple(counts)


def _place(store: Store, queue: list[Waiting], entry: Waiting | None, now: float) -> Place | None:
    if entry is None:
        return None
    shown = store.waiting.shown(now)
    own = [each for each in queue if each.pool == entry.pool]
    position = own.index(entry) + 1
    before = [shown.verdict(each.leader.uid) for each in own[: position - 1]]
    for_good = sum(1 for verdict in before if verdict is not None and verdict.outcome in FOR_GOOD)
    return Place(entry.pool, position, len(own), position - for_good)


def _expected(
    store: Store, queue: list[Waiting], entry: Waiting | None, outcome: str, hold: Hold | None, now: float
) -> Expected | None:
    if outcome == Outcome.HELD_FOR_CARBON and hold is not None:
        return by_hold(hold, now)
    if entry is None or not isinstance(entry.spec, GangSpec) or outcome in FOR_GOOD:
        return None
    if outcome == Outcome.ADMITTED:
        return Expected(now, now, None, "there is room; kube-scheduler asks for it within seconds")
    planned, shown = store.entitlements.planned, store.waiting.shown(now)
    able = [each for each in queue if not _out_of_the_way(shown.verdict(each.leader.uid))]
    return by_room(store.state, able, entry, planned.end_of, now)


def _out_of_the_way(verdict: Verdict | None) -> bool:
    """Whether a gang takes no room from those behind it for now: refused for good, or held."""
    return verdict is None or verdict.outcome in FOR_GOOD or verdict.outcome is Outcome.HELD_FOR_CARBON


def _saving(
    store: Store, leader: PodFacts, spec: GangSpec, hold: Hold | None, now: float, watts_per_core: float
) -> Saving | None:
    """By the forecasts of the carbon zones that the workers may use: the cleanest one, now and then."""
    if hold is None or hold.expected_s <= now:
        return None
    table = store.state.nodes
    rows = np.flatnonzero(table.eligible(spec.worker_terms if spec.min_workers else leader.terms))
    numbers: list[int] = np.unique(table.carbon_zone[rows]).tolist()
    zones = [table.carbon_zones[number] for number in numbers if number]
    outlooks = [each for zone in zones if (each := store.state.carbon.outlook(zone, now)) is not None]
    if not outlooks:
        return None
    estimate = store.entitlements.planned.estimate(leader, spec)
    horizon = horizon_of(outlooks, now)
    last = min(horizon.slots - 1, horizon.slot_of(hold.expected_s))
    means = np.min([horizon.run_means(zone, estimate.seconds, last) for zone in range(len(outlooks))], axis=0)
    cores = (leader.requests.get(CPU, 0) + spec.min_workers * spec.worker.get(CPU, 0)) / 1000
    kwh = cores * watts_per_core * estimate.seconds / 3.6e6
    at_once, then = float(means[0]), float(means[last])
    return Saving(at_once, then, kwh, (at_once - then) * kwh, watts_per_core, estimate.text)


def _remedies(
    store: Store,
    queue: list[Waiting],
    entry: Waiting | None,
    verdict: Verdict | None,
    hold: Hold | None,
    now: float,
) -> tuple[Remedy, ...]:
    if entry is None or verdict is None or not isinstance(entry.spec, GangSpec):
        return ()
    if verdict.outcome is Outcome.ADMITTED:
        return ()
    state = store.state
    trial = Trial(state.nodes, state.policy, store.waiting.supposed(now), entry)
    before = next((each for each in queue if each.key == verdict.blocker), None)
    at_once = "it starts now"
    if hold is not None and hold.expected_s > now:
        at_once = f"it starts now instead of {_clock(hold.expected_s)} UTC, at the present carbon intensity"
    held = verdict.outcome is Outcome.HELD_FOR_CARBON
    return trial.remedies(Obstacles(held, before, at_once))


def _pod(store: Store, found: Found, leader: PodFacts | None) -> NamedPod | None:
    pod = found.pod
    if pod is None or (leader is not None and pod.uid == leader.uid):
        return None
    outcome = None if pod.node else store.handlers.wakes.refused.get(pod.uid)
    reason = EXPLANATIONS[outcome] if outcome is not None else ""
    if not pod.node and outcome is None:
        reason = "kube-scheduler has not asked for it"
    return NamedPod(pod.name, pod.node, outcome or "", reason)


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
