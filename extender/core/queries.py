"""What is read of the store from outside of the core: the queue, an application explained, nodes, carbon.

Reading changes nothing that is decided later: the queue is planned for readers apart from the plan that
requests are answered from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Final

import numpy as np

from extender.core.carbon.entitlement import Entitlement
from extender.core.carbon.signal import Outlook, Signal
from extender.core.carbon.start.hold import Hold
from extender.core.carbon.width.elastic import FOR_CARBON
from extender.core.carbon.width.stage_deferral import Deferral
from extender.core.decisions import FilterDecision
from extender.core.explain import names as names_of_applications
from extender.core.explain.expected import starts_by_room
from extender.core.explain.names import Found, NotFound
from extender.core.facts import GangKey, NodeFacts, PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs.gang import NOWHERE, Gang
from extender.core.gangs.phases import Phase
from extender.core.gangs.spec import GangSpec
from extender.core.gangs.story import Entry
from extender.core.nodes.arrays import IntArray, Rows
from extender.core.nodes.resources import CPU, MEMORY, NOT_OFFERED, Resources
from extender.core.nodes.table import FloatArray, NodeTable
from extender.core.outcomes import EXPLANATIONS, FOR_GOOD, Outcome
from extender.core.policy import Switches
from extender.core.queue.queue_pass import Verdict, Waiting, pool_of
from extender.core.queue.scoring.place import node_score
from extender.core.stages.store import Priorities, StageView
from extender.core.store import Store

MOST_EXPLAINED = 100
"""Waiting gangs judged for one look at the queue: planning costs time that kube-scheduler waits for."""

DORMANT_REASON = "kube-scheduler does not ask for the leader: another of its plugins refuses it"


_WAIT_FOR_ROOM = (Outcome.NO_ROOM, Outcome.EARLIER_GANG_WAITS)


class GangState(StrEnum):
    """Where a gang is in its life."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    RUNNING = "running"
    ENDED = "ended"
    LEADERLESS = "leaderless"


_STATE_IN: Final = {
    Phase.LEADERLESS: GangState.LEADERLESS,
    Phase.WAITING: GangState.WAITING,
    Phase.HELD: GangState.WAITING,
    Phase.ADMITTED: GangState.ADMITTED,
    Phase.RUNNING: GangState.RUNNING,
    Phase.UNRESERVED: GangState.RUNNING,
    Phase.ENDING: GangState.ENDED,
    Phase.GONE: GangState.ENDED,
}


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A waiting gang. `position` counts from 1 in its pool; `outcome` is empty while it was not judged.

    `refused_for_good`: it never starts as it is. `expected_s` is its expected start (None: not known) and
    `since_s` its creation, in seconds since the epoch.
    """

    namespace: str
    app_id: str
    leader: str
    pool: str
    position: int
    outcome: str
    reason: str
    blocked_by: str
    age_s: float
    app_name: str = ""
    since_s: float = 0.0
    refused_for_good: bool = False
    expected_s: float | None = None


@dataclass(frozen=True, slots=True)
class Shortage:
    """One resource of a waiting gang: what the whole gang asks for and what is free where it may run.

    `missing` is 0 where enough is free in total, although perhaps in pieces too small. `fits_workers`
    is how many workers fit by this resource alone. Base units.
    """

    resource: str
    requested: int
    free: int
    missing: int
    fits_workers: int


@dataclass(frozen=True, slots=True)
class SlotView:
    """Room for one worker. `node` is empty while no node has room for it, `pod` while nobody has it."""

    node: str
    pod: str
    bound: bool


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker pod; `node` is empty while it waits. Without a slot it is above the gang's minimum."""

    pod: str
    node: str
    has_slot: bool


@dataclass(frozen=True, slots=True)
class Request:
    """What a gang asks for, in base units, and where that was read."""

    leader: Mapping[str, int]
    worker: Mapping[str, int]
    min_workers: int
    max_workers: int
    packer: str
    source: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A gang in one line."""

    namespace: str
    app_id: str
    state: GangState
    leader: str
    leader_node: str
    pool: str
    slots: int
    slots_open: int
    workers_bound: int
    workers_waiting: int


@dataclass(frozen=True, slots=True)
class Application:
    """A gang explained. `request` is None while it is not known; `waiting` is None unless it waits.

    `workers_fit_now` is how many of its workers would find room at this moment. `faults` are errors of the
    extender with this gang or a pod of it. `story` is what happened to the gang, oldest first.
    """

    summary: Summary
    request: Request | None
    slots: list[SlotView]
    workers: list[WorkerView]
    waiting: QueueEntry | None
    workers_fit_now: int | None
    shortages: list[Shortage]
    faults: list[str]
    story: list[Entry]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node's amounts in base units. `free` is neither used nor reserved; below 0: over-committed."""

    name: str
    ready: bool
    unschedulable: bool
    zone: str
    allocatable: Mapping[str, int]
    used: Mapping[str, int]
    reserved: Mapping[str, int]
    free: Mapping[str, int]


def synced(store: Store) -> bool:
    """Whether all caches were filled once; until then nothing is decided."""
    return store.state.synced


def switches(store: Store) -> Switches:
    """What an operator left on."""
    return store.state.switches


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is known: nodes, bound pods (of all schedulers), gangs, and gangs in the queue."""

    nodes: int
    bound_pods: int
    gangs: int
    waiting: int


def counts(store: Store) -> Counts:
    """How much is known; costs nothing."""
    state = store.state
    return Counts(len(state.nodes), len(state.seats), len(state.gangs), len(store.waiting))


# -- pods and gangs ----------------------------------------------------------------------------------


def pod(store: Store, uid: str) -> PodFacts | None:
    """A pod of our schedulers that has not ended, as it is known now."""
    return store.state.pods.get(uid)


def unconfirmed(store: Store, uid: str) -> bool:
    """Whether only a caller of the webhooks named this pod: neither watch nor API server has shown it."""
    return store.handlers.pods.unconfirmed(uid)


def find(store: Store, name: str, namespace: str = "") -> Found | NotFound:
    """The application of a name (see `explain.names`), or why there is none or more than one."""
    return names_of_applications.find(store.state, name, namespace)


def gang_is_known(store: Store, key: GangKey) -> bool:
    """Whether a pod of this gang is known."""
    return key in store.state.gangs


def owner_uid(store: Store, key: GangKey) -> str:
    """Uid of the leader that has the gang's reservation; empty while no leader has one."""
    gang = store.state.gangs.get(key)
    return "" if gang is None else gang.owner_uid


def running_leaders(store: Store) -> dict[GangKey, PodFacts]:
    """Leaders that own their gang's reservation, are bound, and run."""
    owners = ((key, gang.owner) for key, gang in store.state.gangs.items())
    return {
        key: owner for key, owner in owners if owner is not None and owner.node and owner.phase == "Running"
    }


@dataclass(frozen=True, slots=True)
class Extent:
    """How large an admitted gang may be, and since when it runs (seconds since the epoch)."""

    app_name: str
    min_workers: int
    max_workers: int
    running_since_s: float | None


def extent(store: Store, key: GangKey) -> Extent:
    """How large a gang may be. Raises `KeyError` for a gang that is not known."""
    gang = store.state.gangs[key]
    admission = gang.admission
    return Extent(
        app_name=admission.leader.app_name if admission is not None else "",
        min_workers=admission.spec.min_workers if admission is not None else 0,
        max_workers=admission.spec.max_workers if admission is not None else 0,
        running_since_s=store.entitlements.planned.running_since_s(key),
    )


def choice_score(store: Store, pod: PodFacts, decision: FilterDecision) -> float | None:
    """How the node of an answer to filter stood in the order of preference when it was chosen.

    See `node_score`. None where the answer has no node, or repeats one that was chosen before. Call it before
    anything else changes the store.
    """
    state = store.state
    claim = state.claims.get(pod.uid)
    if not decision.node or claim is None or decision.outcome is Outcome.ALREADY_ADMITTED:
        return None
    slots = [claim.slot] if decision.outcome is Outcome.SLOT_MOVED else []
    if decision.outcome is Outcome.ADMITTED and (gang := state.gang_of(pod)) is not None:
        slots = gang.slots
    holders = [claim, *(slot for slot in slots if slot is not None)]
    taken = [(each.row, each.reserved) for each in holders if each.reserved is not None]
    return node_score(state.nodes, pod.terms, claim.row, taken)


def claims(store: Store) -> int:
    """Pods that were answered a node and are not bound yet."""
    return len(store.state.claims)


# -- the queue ---------------------------------------------------------------------------------------


def queue(store: Store, now: float, most: int = MOST_EXPLAINED) -> list[QueueEntry]:
    """Waiting gangs in queue order, those that kube-scheduler does not ask for last."""
    positions: dict[str, int] = {}
    out: list[QueueEntry] = []
    entries = store.waiting.entries(now)
    for number, entry in enumerate(entries):
        positions[entry.pool] = positions.get(entry.pool, 0) + 1
        out.append(_entry(store, entry, positions[entry.pool], now, judge=number < most))
    expected = _expected_starts(store, entries[:most], now)
    return [
        replace(each, expected_s=expected.get(entry.leader.uid))
        for each, entry in zip(out, entries, strict=True)
    ]


def _expected_starts(store: Store, entries: Sequence[Waiting], now: float) -> dict[str, float]:
    """Expected starts by uid of the leader: by the hold, or by the ends of what runs."""
    shown, found = store.waiting.shown(now), dict[str, float]()
    for_room: list[Waiting] = []
    for entry in entries:
        verdict = shown.verdict(entry.leader.uid)
        if verdict is None or verdict.outcome in FOR_GOOD:
            continue
        if verdict.outcome is Outcome.ADMITTED:
            found[entry.leader.uid] = now
        elif verdict.outcome is not Outcome.HELD_FOR_CARBON:
            for_room.append(entry)
        elif (hold := store.entitlements.start(entry.leader, _spec_of(entry), now).hold) is not None:
            found[entry.leader.uid] = max(now, hold.expected_s)
    return found | starts_by_room(store.state, for_room, store.entitlements.planned.end_of, now)


def _spec_of(entry: Waiting) -> GangSpec | None:
    return entry.spec if isinstance(entry.spec, GangSpec) else None


def _waiting(store: Store, leader: PodFacts, now: float) -> QueueEntry | None:
    if leader.uid not in store.waiting:
        return None
    position = 0
    pool = pool_of(leader.terms, store.policy.pool_label)
    for entry in store.waiting.entries(now):
        position += entry.pool == pool
        if entry.leader.uid == leader.uid:
            return _entry(store, entry, position, now, judge=True)
    return None


def _entry(store: Store, entry: Waiting, position: int, now: float, *, judge: bool) -> QueueEntry:
    outcome, text, blocker = "", "", ""
    if judge:
        verdict = store.waiting.shown(now).verdict(entry.leader.uid)
        outcome, text = _why(verdict)
        blocker = str(verdict.blocker) if verdict is not None and verdict.blocker is not None else ""
    return QueueEntry(
        namespace=entry.key.namespace,
        app_id=entry.key.app_id,
        leader=entry.leader.name,
        pool=entry.pool,
        position=position,
        outcome=outcome,
        reason=text,
        blocked_by=blocker,
        age_s=max(0.0, now - entry.leader.created_s),
        app_name=entry.leader.app_name,
        since_s=entry.leader.created_s,
        refused_for_good=outcome in FOR_GOOD,
    )


def _why(verdict: Verdict | None) -> tuple[str, str]:
    if verdict is None:
        return "dormant", DORMANT_REASON
    if verdict.outcome is Outcome.ADMITTED:
        return verdict.outcome, "there is room; it is admitted when kube-scheduler asks for it"
    return verdict.outcome, verdict.detail or EXPLANATIONS[verdict.outcome]


def applications(store: Store) -> list[Summary]:
    """Every known gang, by namespace and id."""
    gangs = store.state.gangs
    return [summary_of(store, gangs[key]) for key in sorted(gangs)]


def application(store: Store, namespace: str, app_id: str, now: float) -> Application | None:
    """One gang explained, or None if it is not known."""
    gang = store.state.gangs.get(GangKey(namespace, app_id))
    if gang is None:
        return None
    leader = gang.first_leader()
    spec = gang.specs.get(leader.uid) if leader is not None else None
    if gang.admission is not None:
        spec = gang.admission.spec
    waiting = _waiting(store, leader, now) if leader is not None else None
    fits, shortages = None, []
    if waiting is not None and leader is not None and isinstance(spec, GangSpec):
        fits, shortages = shortage(store, leader, spec)
    seated = {slot.pod_uid for slot in gang.slots}
    return Application(
        summary=summary_of(store, gang),
        request=request_of(leader, spec) if leader is not None and isinstance(spec, GangSpec) else None,
        slots=_slots(store, gang),
        workers=[
            WorkerView(pod.name, pod.node, uid in seated)
            for uid, pod in sorted(gang.workers.items(), key=lambda item: item[1].name)
        ],
        waiting=waiting,
        workers_fit_now=fits,
        shortages=shortages,
        faults=faults_of(store, gang),
        story=list(gang.story),
    )


def faults_of(store: Store, gang: Gang) -> list[str]:
    """Errors of the extender with a gang or a pod of it, which it tries again."""
    pods = [Subject("pod", uid) for uid in (*gang.leaders, *gang.workers)]
    found = (store.state.faults.of(each) for each in (Subject.gang(gang.key), *pods))
    return [fault.text for fault in found if fault is not None]


def faults(store: Store, most: int = MOST_EXPLAINED) -> list[str]:
    """What could not be handled and is tried again, one line each."""
    return [fault.text for fault in islice(store.state.faults, most)]


@dataclass(frozen=True, slots=True)
class FaultCounts:
    """Errors of the extender: what is left alone now, and by kind of subject all there ever were."""

    open: int
    total: Mapping[str, int]


def fault_counts(store: Store) -> FaultCounts:
    """How many errors there are and were."""
    found = store.state.faults
    return FaultCounts(len(found), dict(found.total))


def shortage(store: Store, leader: PodFacts, spec: GangSpec) -> tuple[int, list[Shortage]]:
    """How many workers fit now, and for every resource of the gang what it asks for and what is free."""
    table = store.state.nodes
    _, fits = table.rooms(table.vector(spec.worker), spec.worker_terms)
    worker, lead = table.widened(table.vector(spec.worker)), table.widened(table.vector(leader.requests))
    rows = np.flatnonzero(table.eligible(spec.worker_terms) | table.eligible(leader.terms))
    free = np.maximum(table.free[:, rows], 0)
    out: list[Shortage] = []
    for number, resource in enumerate(table.columns):
        requested = int(lead[number] + worker[number] * spec.min_workers)
        if not requested or resource == NOT_OFFERED:
            continue
        there = int(free[number].sum())
        size = int(worker[number])
        fitting = int((free[number] // size).sum()) if size else spec.min_workers
        out.append(Shortage(resource, requested, there, max(0, requested - there), fitting))
    known = set(table.columns)
    for resource in sorted({*spec.worker, *leader.requests} - known):
        requested = leader.requests.get(resource, 0) + spec.worker.get(resource, 0) * spec.min_workers
        if requested:
            out.append(Shortage(resource, requested, 0, requested, 0))
    return fits, out


def missing_room(store: Store) -> dict[str, int]:
    """By resource, what gangs that wait for room request in all beyond what is free in all.

    Those refused for want of room count, and those of a strict pool that wait behind one of these.

    Base units; costs no planning. 0 where enough is free, although perhaps in pieces too small.
    """
    table, refused = store.state.nodes, store.handlers.wakes.refused
    requested = np.zeros(len(table.columns), dtype=np.int64)
    for gang in store.state.gangs.values():
        for leader in gang.leaders.values():
            spec = gang.specs.get(leader.uid)
            if refused.get(leader.uid) not in _WAIT_FOR_ROOM or not isinstance(spec, GangSpec):
                continue
            requested += table.widened(table.accountable(leader.requests))
            requested += table.widened(table.accountable(spec.worker)) * spec.min_workers
    alive: Rows = np.flatnonzero(table.class_of >= 0)
    free = np.maximum(table.free[:, alive], 0).sum(axis=1)
    return dict(zip(table.columns, np.maximum(requested - free, 0).tolist(), strict=True))


def nodes(store: Store) -> list[NodeView]:
    """Every node that exists, by name."""
    table = store.state.nodes
    out: list[NodeView] = []
    for name in sorted(table.row_of):
        row = table.row_of[name]
        facts = table.facts[row]
        if facts is None:
            continue
        out.append(
            NodeView(
                name=name,
                ready=facts.ready,
                unschedulable=facts.unschedulable,
                zone=table.zones[int(table.zone[row])],
                allocatable=_amounts(table, table.allocatable, row),
                used=_amounts(table, table.used, row),
                reserved=_amounts(table, table.reserved, row),
                free=_amounts(table, table.free, row),
            )
        )
    return out


def overcommitted(store: Store) -> list[str]:
    """Names of nodes with more used and reserved than they offer."""
    return store.state.nodes.overcommitted()


@dataclass(frozen=True, slots=True)
class NodePlaces:
    """Names and zones of the nodes, in the order of `NodeLoads`. `epoch` changes with the set of nodes."""

    epoch: int
    names: list[str]
    zones: list[str]


def node_places(store: Store) -> NodePlaces:
    """Every node that exists, by name and zone."""
    table = store.state.nodes
    rows: list[int] = np.flatnonzero(table.class_of >= 0).tolist()
    return NodePlaces(
        table.capacity_epoch,
        [table.names[row] for row in rows],
        [table.zones[int(table.zone[row])] for row in rows],
    )


@dataclass(frozen=True, slots=True)
class NodeLoads:
    """How full the nodes are, by the scarcer of cpu and memory: shares of what each offers.

    `taken` is used and reserved. `ready` and `schedulable` (not cordoned) are in the same order.
    """

    epoch: int
    used: FloatArray
    taken: FloatArray
    ready: list[bool]
    schedulable: list[bool]


def node_loads(store: Store) -> NodeLoads:
    """How full every node is; costs a few array operations."""
    table = store.state.nodes
    rows: Rows = np.flatnonzero(table.class_of >= 0)
    columns = [table.columns.index(name) for name in (CPU, MEMORY)]
    there = np.maximum(table.allocatable[columns][:, rows], 1)
    used = table.used[columns][:, rows] / there
    taken = used + table.reserved[columns][:, rows] / there
    scarce, each = taken.argmax(axis=0), np.arange(len(rows))
    numbers: list[int] = rows.tolist()
    facts = [table.facts[row] for row in numbers]
    return NodeLoads(
        table.capacity_epoch,
        used[scarce, each],
        taken[scarce, each],
        [node is not None and node.ready for node in facts],
        [node is not None and not node.unschedulable for node in facts],
    )


def node_facts(store: Store) -> list[NodeFacts]:
    """Every node that exists, as the API server has it."""
    return [facts for facts in store.state.nodes.facts if facts is not None]


def node_names(store: Store) -> list[str]:
    """Every node that exists."""
    return list(store.state.nodes.row_of)


def allocatable(store: Store, node: str) -> Resources | None:
    """What a node offers, in base units; None if it is not known."""
    table = store.state.nodes
    row = table.row_of.get(node)
    facts = table.facts[row] if row is not None else None
    return facts.allocatable if facts is not None else None


def capacity(store: Store) -> dict[str, int]:
    """What all nodes that take pods offer together, by resource, in base units."""
    table = store.state.nodes
    return dict(zip(table.columns, table.capacity().sum(axis=1).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the cluster, in base units, and numbers of gangs and slots."""

    nodes: int
    allocatable: Mapping[str, int]
    used: Mapping[str, int]
    reserved: Mapping[str, int]
    gangs: Mapping[GangState, int]
    waiting_by_pool: Mapping[str, int]
    slots: int
    slots_open: int


def totals(store: Store) -> Totals:
    """Sums for metrics; costs no planning."""
    table = store.state.nodes
    alive: Rows = np.flatnonzero(table.class_of >= 0)
    states = dict.fromkeys(GangState, 0)
    pools: dict[str, int] = {}
    slots = slots_open = 0
    label = store.policy.pool_label
    for gang in store.state.gangs.values():
        state = state_of(gang)
        states[state] += 1
        slots += len(gang.slots)
        slots_open += sum(1 for slot in gang.slots if slot.open)
        leader = gang.first_leader()
        if state is GangState.WAITING and leader is not None:
            pool = pool_of(leader.terms, label)
            pools[pool] = pools.get(pool, 0) + 1
    return Totals(
        nodes=len(table),
        allocatable=_sums(table, table.allocatable, alive),
        used=_sums(table, table.used, alive),
        reserved=_sums(table, table.reserved, alive),
        gangs=states,
        waiting_by_pool=pools,
        slots=slots,
        slots_open=slots_open,
    )


def state_of(gang: Gang) -> GangState:
    """The phase of a gang in the words of the API."""
    return _STATE_IN[gang.phase]


def summary_of(store: Store, gang: Gang) -> Summary:
    """A gang in one line."""
    leader = gang.first_leader()
    bound = sum(1 for pod in gang.workers.values() if pod.occupies)
    return Summary(
        namespace=gang.key.namespace,
        app_id=gang.key.app_id,
        state=state_of(gang),
        leader=leader.name if leader is not None else "",
        leader_node=leader.node if leader is not None else "",
        pool=pool_of(leader.terms, store.policy.pool_label) if leader is not None else "",
        slots=len(gang.slots),
        slots_open=sum(1 for slot in gang.slots if slot.open),
        workers_bound=bound,
        workers_waiting=len(gang.workers) - bound,
    )


def request_of(leader: PodFacts, spec: GangSpec) -> Request:
    """What a gang with this leader asks for."""
    return Request(
        leader=dict(leader.requests),
        worker=dict(spec.worker),
        min_workers=spec.min_workers,
        max_workers=spec.max_workers,
        packer=spec.packer,
        source=spec.source,
    )


def _slots(store: Store, gang: Gang) -> list[SlotView]:
    names = store.state.nodes.names
    out: list[SlotView] = []
    for slot in gang.slots:
        pod = gang.workers.get(slot.pod_uid)
        out.append(
            SlotView(
                node="" if slot.row == NOWHERE else names[slot.row],
                pod=pod.name if pod is not None else slot.pod_uid,
                bound=pod is not None and pod.occupies,
            )
        )
    return out


def _amounts(table: NodeTable, column: IntArray, row: int) -> dict[str, int]:
    return {
        name: int(column[number, row]) for number, name in enumerate(table.columns) if name != NOT_OFFERED
    }


def _sums(table: NodeTable, column: IntArray, rows: Rows) -> dict[str, int]:
    sums = dict(zip(table.columns, column[:, rows].sum(axis=1).tolist(), strict=True))
    del sums[NOT_OFFERED]
    return sums


# -- carbon --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeldGang:
    """A gang that is kept waiting for cleaner power."""

    leader: PodFacts
    key: GangKey
    hold: Hold


def budget(store: Store) -> int | None:
    """Executors the present carbon intensity allows in the cluster; None while there is no limit."""
    return store.state.budget


def entitlement(store: Store, key: GangKey, now: float) -> Entitlement | None:
    """What the carbon policies allow a gang; None if it is not known."""
    gang = store.state.gangs.get(key)
    return None if gang is None else store.entitlements.of(gang, now)


def target(store: Store, key: GangKey, now: float) -> int | None:
    """Workers a running gang is to have at the present intensity; None while nothing steers it."""
    gang = store.state.gangs.get(key)
    if gang is None or gang.admission is None:
        return None
    return store.entitlements.width(gang.admission, now).target


def deferral(store: Store, key: GangKey, now: float) -> Deferral | None:
    """How PCAPS judges a running gang; None where it defers nothing."""
    return store.entitlements.stage_deferral.deferral(key, now)


def stages_heard_s(store: Store, key: GangKey) -> float | None:
    """The moment of the last report of a gang's stages; None while there was none."""
    gang = store.state.gangs.get(key)
    return None if gang is None else gang.stages_heard_s


def withheld(store: Store, key: GangKey) -> list[tuple[PodFacts, Outcome]]:
    """Workers of a gang that wait for cleaner power, and why, by name."""
    refused = store.handlers.wakes.refused
    workers = sorted(store.state.gangs[key].workers.items(), key=lambda item: item[1].name)
    found = ((pod, refused.get(uid)) for uid, pod in workers if pod.waiting)
    return [(pod, outcome) for pod, outcome in found if outcome is not None and outcome in FOR_CARBON]


def held(store: Store, now: float) -> list[HeldGang]:
    """Gangs under a hold, by latest start."""
    return _held(store, (pod for pod in store.state.pods.values() if pod.role is Role.LEADER), now)


def hold_of(store: Store, key: GangKey, now: float) -> HeldGang | None:
    """The hold a gang is under."""
    gang = store.state.gangs.get(key)
    found = _held(store, gang.leaders.values(), now) if gang is not None else []
    return found[0] if found else None


def _held(store: Store, leaders: Iterable[PodFacts], now: float) -> list[HeldGang]:
    found: list[HeldGang] = []
    for pod in leaders:
        gang = store.state.gang_of(pod)
        if gang is None or gang.admission is not None or not pod.waiting or pod.gated != pod.hold_gate:
            continue
        hold = store.entitlements.start(pod, gang.specs.get(pod.uid), now).hold
        if hold is not None and (not hold.zones or _waits_for_clean_room(store, pod, now)):
            found.append(HeldGang(pod, gang.key, hold))
    return sorted(found, key=lambda each: (each.hold.latest_start_s, each.leader.name))


def _waits_for_clean_room(store: Store, pod: PodFacts, now: float) -> bool:
    """Whether a leader may start in some carbon zones, and has no room there."""
    verdict = store.waiting.shown(now).verdict(pod.uid)
    return verdict is not None and verdict.outcome is Outcome.HELD_FOR_CARBON


@dataclass(frozen=True, slots=True)
class ZoneView:
    """The signal of a carbon zone that has nodes. Intensities are gCO2e/kWh, ages seconds.

    `value` is None while the zone is neutral: nothing is known, or it is too old. `good` is the last signal
    with a value, `reason` says why value or outlook are missing, or what the last answer
    lacked. `outlook` is the present and the forecast, None while there is none.
    """

    zone: str
    nodes: int
    value: float | None
    age_s: float | None
    good: Signal | None
    reason: str
    outlook: Outlook | None


def zones(store: Store, now: float) -> list[ZoneView]:
    """Every carbon zone of a node, known or not."""
    table, book = store.state.nodes, store.state.carbon
    numbers = np.bincount(table.carbon_zone[table.class_of >= 0], minlength=len(table.carbon_zones)).tolist()
    out: list[ZoneView] = []
    for name, count in zip(table.carbon_zones, numbers, strict=True):
        if not name or not count:
            continue
        out.append(
            ZoneView(
                zone=name,
                nodes=count,
                value=book.value(name, now),
                age_s=book.age_s(name, now),
                good=book.good.get(name),
                reason=book.reason(name, now),
                outlook=book.outlook(name, now),
            )
        )
    return out


def carbon_zones(store: Store) -> list[str]:
    """Carbon zones that a node has or had; empty text for nodes without one."""
    return store.state.nodes.carbon_zones


def carbon_zone_of(store: Store, node: str) -> str:
    """Carbon zone of a node; empty if it has none."""
    return store.state.nodes.carbon_zone_of(node)


def intensities(store: Store) -> Mapping[str, float | None]:
    """gCO2e/kWh by carbon zone, as nodes are ranked by now; None while unknown."""
    return store.state.intensities


# -- width -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RoomOfGang:
    """What a gang has and may still get, as a quota must count it. Amounts in base units.

    `there` is what pods request that wait for no budget: leaders, and workers that have room. `worker` is the
    size of one worker, None while no leader owns the gang's reservation. `open_slots` are promised workers
    that have not come, `growth` is how many more it may have. `exempt` says that carbon must not slow it
    down, `created` how many of its workers exist and wait.
    """

    there: list[Mapping[str, int]]
    worker: Mapping[str, int] | None = None
    open_slots: int = 0
    growth: int = 0
    exempt: bool = False
    created: int = 0


def rooms_of_gangs(store: Store, namespace: str, now: float) -> list[RoomOfGang]:
    """The gangs of a namespace."""
    gangs = store.state.gangs.items()
    return [_room_of(store, gang, now) for key, gang in gangs if key.namespace == namespace]


def _room_of(store: Store, gang: Gang, now: float) -> RoomOfGang:
    state = store.state
    leaders = (pod for pod in gang.leaders.values() if not pod.finished)
    workers = (pod for uid, pod in gang.workers.items() if state.runs(pod) or uid in state.claims)
    there = [pod.requests for pod in (*leaders, *workers)]
    admission = gang.admission
    if admission is None:
        return RoomOfGang(there)
    open_slots = sum(1 for slot in admission.slots if slot.open)
    growth = max(0, state.most_workers(admission) - state.workers_counted(gang) - open_slots)
    return RoomOfGang(
        there,
        admission.spec.worker,
        open_slots,
        growth,
        exempt=growth > 0 and store.entitlements.width(admission, now).exempt,
        created=sum(1 for pod in gang.workers.values() if pod.waiting and pod.uid not in state.claims),
    )


def workers_promised(store: Store) -> int:
    """Workers of all gangs that are bound, have a claim, or have a slot reserved."""
    return store.state.workers_promised()


# -- stages ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageTotals:
    """Sums over the applications whose stages are known. `left_out`: stages and parents without a place."""

    applications: int
    stages_open: int
    remaining_s: float
    left_out: int


def stage_totals(store: Store) -> StageTotals:
    """Sums for metrics."""
    stages = store.state.stages
    tables = [stages.priorities(key) for key in stages]
    graphs = [stages.graph(key) for key in stages]
    return StageTotals(
        applications=len(tables),
        stages_open=sum(len(each.by_stage) for each in tables),
        remaining_s=sum(each.remaining_s for each in tables),
        left_out=sum(graph.refused for graph in graphs if graph is not None),
    )


def priorities(store: Store, key: GangKey) -> Priorities:
    """How important the open stages of an application are; the same object until they change."""
    return store.state.stages.priorities(key)


def stages(store: Store, key: GangKey) -> tuple[StageView, ...]:
    """The stages of an application, as they are known."""
    return store.state.stages.stages(key)


@dataclass(frozen=True, slots=True)
class StageProgress:
    """What is known of an application's stages: how old that is, and how much found no place."""

    heard_age_s: float | None
    left_out: int


def stage_progress(store: Store, key: GangKey, now: float) -> StageProgress | None:
    """How well an application's stages are known; None if nothing is."""
    state = store.state
    if key not in state.stages:
        return None
    graph, heard_s = state.stages.graph(key), stages_heard_s(store, key)
    return StageProgress(
        heard_age_s=None if heard_s is None else max(0.0, now - heard_s),
        left_out=0 if graph is None else graph.refused,
    )
