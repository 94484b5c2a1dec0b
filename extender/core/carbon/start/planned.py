"""Starts by the plan of the whole cluster (`plan`), and by the grid alone (`best-start`).

The plan is made again when the forecast, the room, or what waits has changed, at most once in some seconds,
and outside of the routes that kube-scheduler calls: those read it. A gang that has just come is planned
beside the others at once.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from extender.core.carbon.plan.horizon import DEVIATIONS, SLOT_S, Floats, Horizon, horizon_of
from extender.core.carbon.plan.room import Place, Room
from extender.core.carbon.plan.runtimes import Estimate, Runtimes
from extender.core.carbon.plan.schedule import Options, Plan, Running, Start, Waiting, planning
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.gang import NOWHERE, Admission
from extender.core.gangs.spec import GangSpec
from extender.core.state import State

PLANNED: Final = frozenset({HoldPolicy.PLAN, HoldPolicy.BEST_START})

_OPTIONS: Final = Options()
_AGAIN_S: Final = 10.0
_PORTION: Final = 200
"""Gangs planned in one tick; a longer plan is made over several."""
_MOST_ROWS: Final = 64
_OVERRUN_S: Final = 120.0
"""A gang that overran its estimate is expected to go on for as long again as it did, and so long at least."""
_WINDOW_S: Final = 2 * SLOT_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plan says of a gang: hold it until `at_s`, or (None) let it go; `zone` is where."""

    at_s: float | None
    text: str = ""
    zone: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """When a running gang is expected to end, from what, and within which bounds, where earlier runs tell."""

    at_s: float
    text: str
    low_s: float | None = None
    high_s: float | None = None


@dataclass(slots=True)
class _World:
    """The cluster in rows: nodes of one carbon zone and one class each."""

    horizon: Horizon
    capacity: Floats
    row_of: np.ndarray
    zone_of: list[int]
    known: frozenset[int]


class PlannedStarts:
    """Keeps the plan and what came of it for each waiting leader (by uid)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.runtimes = Runtimes()
        self._plan: Plan | None = None
        self._alone: Plan | None = None
        self._world: _World | None = None
        self._making: tuple[Plan, _World, Generator[None, None, None]] | None = None
        self._verdicts: dict[str, Verdict] = {}
        self._held: dict[str, float] = {}
        self._due: set[str] = set()
        self._running_since_s: dict[GangKey, float] = {}
        self._running: dict[GangKey, tuple[str, int, GangSpec]] = {}
        self._seen: tuple[object, ...] = ()
        self._made_s = -math.inf

    # -- what others read ------------------------------------------------------------------------

    def behind(self, uid: str) -> bool:
        """Whether a gang goes behind all that do not wait by choice: it was held, and is not due."""
        return uid in self._held and uid not in self._due

    def verdict(
        self, leader: PodFacts, spec: GangSpec, flexibility: Flexibility, now: float
    ) -> Verdict | None:
        """What the plan says of a gang; None while nothing is known of any grid."""
        found = self._verdicts.get(leader.uid)
        if found is None:
            if self._plan is None or self._world is None:
                self.refresh(now)
                found = self._verdicts.get(leader.uid)
            if found is None and self._plan is not None and self._world is not None:
                job = self._job(leader, spec, flexibility, self._world, now)
                found = self._judged(leader, job, self._plan.join(job), self._plan, now)
        if found is None or self._world is None or not self._world.known:
            return None
        if found.at_s is not None and found.at_s <= now:
            return Verdict(None, zone=found.zone)
        return found

    def running_since_s(self, key: GangKey) -> float | None:
        """When a gang was first seen to run; None while it does not."""
        return self._running_since_s.get(key)

    def estimate(self, leader: PodFacts, spec: GangSpec) -> Estimate:
        """How long a gang is expected to run."""
        return self._estimate(leader, self._flexibility(leader), spec.min_workers)

    def end_of(self, admission: Admission, now: float) -> End:
        """When an admitted gang is expected to end."""
        owner = admission.leader
        since_s = self._running_since_s.get(admission.key, now)
        found = self._estimate(owner, self._flexibility(owner), admission.spec.min_workers)
        over_s = now - since_s - found.seconds
        if over_s >= 0:
            return End(now + max(_OVERRUN_S, over_s), found.text)
        if found.low_s is None or found.high_s is None:
            return End(since_s + found.seconds, found.text)
        low_s, high_s = max(now, since_s + found.low_s), max(now, since_s + found.high_s)
        return End(since_s + found.seconds, found.text, low_s, high_s)

    # -- making the plan -------------------------------------------------------------------------

    def refresh(self, now: float) -> None:
        """Make the plan again if what it was made from has changed; a new `carbon.version` tells of it."""
        state = self._state
        self._watch_runs(now)
        leaders = list(self._waiting())
        for gone in self._held.keys() - {leader.uid for leader, _, _ in leaders}:
            del self._held[gone]
        if self._making is None:
            if not any(self._plans(flexibility, leader) for leader, _, flexibility in leaders):
                self._plan, self._verdicts = None, {}
                return
            seen = (
                state.nodes.version,
                state.carbon.version,
                math.floor(now / SLOT_S),
                frozenset(leader.uid for leader, _, _ in leaders),
            )
            pause_s = _AGAIN_S + len(leaders) / 20
            if seen == self._seen or (self._plan is not None and now < self._made_s + pause_s):
                return
            self._seen, self._made_s = seen, now
            self._begin(leaders, now)
        assert self._making is not None
        plan, world, steps = self._making
        for _ in range(_PORTION):
            if next(steps, self) is self:
                self._making = None
                self._adopt(plan, world, leaders, now)
                return

    def _begin(self, leaders: Iterable[tuple[PodFacts, GangSpec, Flexibility]], now: float) -> None:
        world = self._look(now)
        running = [self._run(each, world, now) for each in self._state.admissions()]
        for each in running:
            world.capacity += each.used
        plan = Plan(world.horizon, Room(world.capacity, world.horizon.slots), _OPTIONS)
        self._alone = None
        jobs = [
            self._job(leader, spec, flexibility, world, now)
            for leader, spec, flexibility in leaders
            if self._plans(flexibility, leader) or not self._flexible(flexibility, leader, now)
        ]
        self._making = (plan, world, planning(plan, running, jobs))

    def _adopt(
        self,
        plan: Plan,
        world: _World,
        leaders: Iterable[tuple[PodFacts, GangSpec, Flexibility]],
        now: float,
    ) -> None:
        before, order = self._verdicts, {uid: self.behind(uid) for uid in self._held}
        self._plan, self._world, self._verdicts = plan, world, {}
        self._due = {str(key) for key, start in plan.starts.items() if start.due}
        if plan.overloaded:
            self._due.update(self._held)
        for leader, spec, flexibility in leaders:
            start = plan.starts.get(leader.uid)
            if not self._flexible(flexibility, leader, now):
                self._due.add(leader.uid)
            elif start is not None:
                job = self._job(leader, spec, flexibility, world, now)
                self._judged(leader, job, start, plan, now, before.get(leader.uid))
        if before != self._verdicts or order != {uid: self.behind(uid) for uid in self._held}:
            self._state.carbon.version += 1
            self._seen = (self._seen[0], self._state.carbon.version, *self._seen[2:])

    def _judged(
        self,
        leader: PodFacts,
        job: Waiting,
        start: Start,
        plan: Plan,
        now: float,
        before: Verdict | None = None,
    ) -> Verdict:
        uid = leader.uid
        zone = next((zone for place, zone in job.places if place == start.place), None)
        flexibility = self._flexibility(leader)
        if flexibility.policy is HoldPolicy.BEST_START:
            start = self._alone_start(job, plan)
        elif plan.overloaded:
            start = Start(now, start.place)
        if start.due or start.at_once or start.at_s <= now or start.at_s == math.inf:
            verdict = Verdict(None, zone=zone)
        elif before is not None and before.at_s == start.at_s:
            verdict = before
        else:
            latest_s = flexibility.latest_start_s(leader.created_s)
            estimate = self._estimate(leader, flexibility, self._size(leader))
            verdict = Verdict(start.at_s, _sentence(start, latest_s, estimate), zone)
        if verdict.at_s is not None:
            self._held[uid] = verdict.at_s
        self._verdicts[uid] = verdict
        return verdict

    def _alone_start(self, job: Waiting, plan: Plan) -> Start:
        """The start of least expected carbon on an empty cluster."""
        if self._alone is None:
            room = Room(np.full_like(plan.room.capacity, np.inf), plan.horizon.slots)
            self._alone = Plan(plan.horizon, room, plan.options)
        return self._alone.cleanest(job) or self._alone.earliest(job, 0, due=True)

    # -- the cluster as the plan sees it -----------------------------------------------------------

    def _look(self, now: float) -> _World:
        state, table = self._state, self._state.nodes
        names = table.carbon_zones
        outlooks = [state.carbon.outlook(name, now) if name else None for name in names]
        horizon = horizon_of(outlooks, now, DEVIATIONS[state.policy.carbon.risk])
        alive = np.flatnonzero(table.class_of >= 0)
        pairs = np.stack([table.carbon_zone[alive], table.class_of[alive]])
        kinds, numbers = np.unique(pairs, axis=1, return_inverse=True)
        if kinds.shape[1] > _MOST_ROWS:
            kinds, numbers = np.unique(pairs[:1], axis=1, return_inverse=True)
        row_of = np.full(len(table.class_of), -1, dtype=np.int64)
        row_of[alive] = numbers.ravel()
        capacity = np.zeros((max(1, kinds.shape[1]), len(table.columns)))
        np.add.at(capacity, row_of[alive], np.maximum(table.free[:, alive], 0).T)
        known = frozenset(zone for zone, outlook in enumerate(outlooks) if outlook is not None)
        return _World(horizon, capacity, row_of, kinds[0].tolist(), known)

    def _run(self, admission: Admission, world: _World, now: float) -> Running:
        table, spec, owner = self._state.nodes, admission.spec, admission.leader
        used = np.zeros_like(world.capacity)

        def add(row: int, amount: np.ndarray) -> None:
            if 0 <= row < len(world.row_of) and world.row_of[row] >= 0:
                used[world.row_of[row], : len(amount)] += amount

        claim = self._state.claims.get(owner.uid)
        add(
            claim.row if claim is not None else table.row_of.get(owner.node, -1), table.vector(owner.requests)
        )
        seated: set[str] = set()
        for slot in admission.slots:
            seated.add(slot.pod_uid)
            if slot.row != NOWHERE:
                add(slot.row, table.vector(spec.worker))
        for pod in admission.gang.workers.values():
            if pod.occupies and pod.uid not in seated:
                add(table.row_of.get(pod.node, -1), table.vector(pod.requests))
        return Running(used, self.end_of(admission, now).at_s + _OPTIONS.spare_s)

    def _job(
        self, leader: PodFacts, spec: GangSpec, flexibility: Flexibility, world: _World, now: float
    ) -> Waiting:
        table = self._state.nodes
        need = np.zeros(world.capacity.shape[1])
        own = table.vector(leader.requests).astype(np.float64)
        need[: len(own)] += own
        worker = table.vector(spec.worker).astype(np.float64)
        need[: len(worker)] += worker * spec.min_workers
        terms = spec.worker_terms if spec.min_workers else leader.terms
        rows = np.unique(world.row_of[table.eligible(terms)])
        rows = rows[rows >= 0].tolist()
        latest_s = flexibility.latest_start_s(leader.created_s)
        may_wait = self._flexible(flexibility, leader, now)
        return Waiting(
            key=leader.uid,
            rank=(-leader.priority, leader.created_s),
            runtime_s=self._estimate(leader, flexibility, spec.min_workers).seconds,
            need=need,
            places=self._places(rows, need, world),
            latest_s=latest_s if may_wait else None,
            held=leader.uid in self._held,
            planned_s=self._held.get(leader.uid),
        )

    def _places(self, rows: list[int], need: Floats, world: _World) -> tuple[tuple[Place, int], ...]:
        """By carbon zone; a gang too wide for any single one goes by the mean of all."""
        by_zone: dict[int, list[int]] = {}
        for row in rows:
            by_zone.setdefault(world.zone_of[row], []).append(row)
        whole = [
            (tuple(own), zone)
            for zone, own in by_zone.items()
            if (world.capacity[own].sum(axis=0) >= need - 1e-9).all()
        ]
        if whole:
            return tuple(whole)
        return ((tuple(rows), len(world.horizon.prices) - 1),) if rows else ()

    # -- who waits, and how long things run ----------------------------------------------------------

    def _waiting(self) -> Iterable[tuple[PodFacts, GangSpec, Flexibility]]:
        for gang in self._state.gangs.values():
            if gang.admission is not None:
                continue
            for leader in gang.leaders.values():
                spec = gang.specs.get(leader.uid)
                if leader.waiting and leader.gated == leader.hold_gate and isinstance(spec, GangSpec):
                    yield leader, spec, self._flexibility(leader)

    def _flexibility(self, leader: PodFacts) -> Flexibility:
        gang = self._state.gang_of(leader)
        spec = gang.specs.get(leader.uid) if gang is not None else None
        if not isinstance(spec, GangSpec):
            spec = gang.admission.spec if gang is not None and gang.admission is not None else None
        own = spec.flexibility if spec is not None else Flexibility()
        return self._state.policy.carbon.flexibility(leader.namespace, own)

    @staticmethod
    def _flexible(flexibility: Flexibility, leader: PodFacts, now: float) -> bool:
        return flexibility.start_policy is not HoldPolicy.NONE and now < flexibility.latest_start_s(
            leader.created_s
        )

    @staticmethod
    def _plans(flexibility: Flexibility, leader: PodFacts) -> bool:
        return (
            flexibility.start_policy in PLANNED and flexibility.latest_start_s(leader.created_s) > -math.inf
        )

    def _size(self, leader: PodFacts) -> int:
        gang = self._state.gang_of(leader)
        spec = gang.specs.get(leader.uid) if gang is not None else None
        return spec.min_workers if isinstance(spec, GangSpec) else 0

    def _estimate(self, leader: PodFacts, flexibility: Flexibility, size: int) -> Estimate:
        return self.runtimes.estimate(leader.namespace, leader.name, size, flexibility.runtime_s)

    def _watch_runs(self, now: float) -> None:
        """Learn how long applications run: from the Binding of the leader to its end."""
        for each in self._state.admissions():
            if each.runs and each.key not in self._running:
                self._running[each.key] = (each.leader.name, each.spec.min_workers, each.spec)
                self._running_since_s[each.key] = now
        for key in [key for key in self._running if not self._runs(key)]:
            name, size, _ = self._running.pop(key)
            self.runtimes.learn(key.namespace, name, size, now - self._running_since_s.pop(key))

    def _runs(self, key: GangKey) -> bool:
        gang = self._state.gangs.get(key)
        return gang is not None and gang.runs


def _sentence(start: Start, latest_s: float, estimate: Estimate) -> str:
    end_s = min(start.at_s + _WINDOW_S, latest_s)
    grid = ""
    if start.mean is not None and start.mean_now is not None:
        grid = f" (grid {start.mean:.0f} instead of {start.mean_now:.0f} g/kWh)"
    return (
        f"planned to start {_clock(start.at_s)} to {_clock(end_s)} UTC{grid};"
        f" at the latest {_clock(latest_s)}; run time {estimate.text}"
    )


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")
