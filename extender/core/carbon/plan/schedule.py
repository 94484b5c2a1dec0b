"""The plan itself: a start for every waiting application (see the package for the idea)."""

from __future__ import annotations

import math
from collections.abc import Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.carbon.plan.horizon import SLOT_S, Floats, Horizon
from extender.core.carbon.plan.room import Place, Room, startable

EARLIER: Final = 0.005
"""A start is earlier by choice while it emits at most this share more: forecasts are not that exact."""


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """What an application that runs (or whose room is reserved) takes: by row and resource, until when.

    `until_s` is the end by its estimate; infinite where nothing is known.
    """

    used: Floats
    until_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """An application that waits.

    `rank` is its place in the queue by priority and creation. `latest_s` is its latest start; None: it does
    not wait by choice. `need` are amounts by resource, `places` where they may be taken, each with the number
    of its zone. `held`: it has been kept waiting by choice. `planned_s` is the start of the plan before.
    """

    key: Hashable
    rank: tuple[float, ...]
    runtime_s: float
    need: Floats
    places: tuple[tuple[Place, int], ...]
    latest_s: float | None = None
    held: bool = False
    planned_s: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """A planned start: when, in which place, and the mean price of the run then and if it began now.

    `by_choice`: it could start earlier, and waits for cleaner power. `due`: it is to start as soon as there
    is room, in the place of its creation. `late`: there is no room for it by its latest start. Prices are
    None where nothing was compared.
    """

    at_s: float
    place: Place | None
    mean: float | None = None
    mean_now: float | None = None
    by_choice: bool = False
    due: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How it plans. `notice_s` is how long before its latest start an application must have room in sight.

    `keep` is the share of its carbon that another start must save before a planned one is changed. `full` is
    the share of the free room ahead above which what waits is too much: then nothing is held. `in_order`: in
    the queue nobody overtakes those that do not wait by choice.
    """

    notice_s: float = 3 * SLOT_S
    keep: float = 0.01
    full: float = 0.75
    in_order: bool = True


@dataclass(slots=True)
class Plan:
    """The starts, and the room that is left beside them. `overloaded`: nothing is held."""

    horizon: Horizon
    room: Room
    options: Options
    starts: dict[Hashable, Start] = field(default_factory=dict[Hashable, Start])
    overloaded: bool = False

    def join(self, job: Waiting) -> Start:
        """Plan one more application beside the others, whose starts stay as they are."""
        start = self.starts[job.key] = self._placed(job)
        return start

    def _placed(self, job: Waiting) -> Start:
        if job.latest_s is None:
            return self.earliest(job, 0)
        return self.cleanest(job)

    def earliest(self, job: Waiting, not_before: int, due: bool = False) -> Start:
        """As soon as it fits; without any room ahead it is written nowhere."""
        horizon, room = self.horizon, self.room
        best: tuple[int, Place] | None = None
        ends = self._ends(job, horizon.slots - 1)
        for place, _ in job.places:
            ok = startable(room.fits(place, job.need), ends)
            ok[:not_before] = False
            first = int(ok.argmax())
            if ok[first] and (best is None or first < best[0]):
                best = first, place
        if best is None:
            return Start(math.inf, None, due=due, late=job.latest_s is not None)
        first, place = best
        room.take(place, job.need, first, int(ends[first]))
        at_s = float(horizon.start_times[first])
        return Start(at_s, place, due=due, late=job.latest_s is not None and at_s > job.latest_s)

    def cleanest(self, job: Waiting) -> Start:
        """The start of least expected carbon that has room and is not after the latest one."""
        horizon, room = self.horizon, self.room
        assert job.latest_s is not None
        last = min(horizon.starts - 1, horizon.slot_of(job.latest_s))
        ends = self._ends(job, last)
        means = np.full((len(job.places), last + 1), np.inf)
        now = math.inf
        for number, (place, zone) in enumerate(job.places):
            costs = horizon.run_means(zone, job.runtime_s, last)
            ok = startable(room.fits(place, job.need), ends)
            means[number, ok] = costs[ok]
            now = min(now, float(costs[0]))
        by_slot = means.min(axis=0, initial=np.inf)
        least = float(by_slot.min())
        if not math.isfinite(least):
            return self.earliest(job, 0, due=True)
        slot = int((by_slot <= least * (1 + EARLIER)).argmax())
        if job.planned_s is not None:
            kept = horizon.slot_of(job.planned_s)
            if kept <= last and by_slot[kept] <= least * (1 + self.options.keep):
                slot = kept
        number = int(means[:, slot].argmin())
        place = job.places[number][0]
        room.take(place, job.need, slot, int(ends[slot]))
        earliest = int(np.isfinite(by_slot).argmax())
        return Start(
            float(horizon.start_times[slot]),
            place,
            float(means[number, slot]),
            now,
            by_choice=slot > earliest,
        )

    def _ends(self, job: Waiting, last: int) -> NDArray[np.int64]:
        horizon = self.horizon
        ends = np.ceil((horizon.start_times[: last + 1] + job.runtime_s - horizon.first_s) / SLOT_S - 1e-9)
        return np.minimum(ends.astype(np.int64), horizon.slots)


def make(
    horizon: Horizon,
    capacity: Floats,
    running: Iterable[Running],
    waiting: Sequence[Waiting],
    options: Options = Options(),
) -> Plan:
    """The whole plan, from nothing."""
    plan = Plan(horizon, Room(capacity, horizon.slots), options)
    for _ in planning(plan, running, waiting):
        pass
    return plan


def planning(
    plan: Plan, running: Iterable[Running], waiting: Sequence[Waiting]
) -> Generator[None, None, None]:
    """As `make`, in portions: after each application the caller may do something else."""
    horizon, options = plan.horizon, plan.options
    # 1. Those that run stay until their estimated end.
    ends: list[float] = [horizon.now_s]
    for each in running:
        end = horizon.slots_until(each.until_s) if each.until_s < math.inf else horizon.slots
        for row in np.flatnonzero(each.used.any(axis=1)).tolist():
            plan.room.free[row, :, :end] -= each.used[row][:, None]
        if each.until_s < math.inf:
            ends.append(each.until_s)
    # 2. Those whose latest start is due take the place of their creation.
    flexible = sorted((job for job in waiting if job.latest_s is not None), key=_slack)
    due = yield from _due(plan, flexible, max(ends))
    # 3. Those that do not wait by choice follow in the order of the queue.
    prompt = [job for job in waiting if job.latest_s is None or job.key in due]
    first = 0
    for job in sorted(prompt, key=lambda job: job.rank):
        start = plan.earliest(job, first if options.in_order else 0, due=job.key in due)
        plan.starts[job.key] = start
        if start.at_s < math.inf:
            first = horizon.slot_of(start.at_s)
        yield
    # 4. What is left is shared out among the others, the least slack first.
    others = [job for job in flexible if job.key not in due]
    plan.overloaded = _overloaded(plan, others)
    for job in others:
        plan.starts[job.key] = plan.cleanest(job)
        yield


def _overloaded(plan: Plan, jobs: Sequence[Waiting]) -> bool:
    """Whether what may wait would fill the room there is until the last of the latest starts.

    Who comes later needs room too: a cluster that is held full has none for them.
    """
    latest = [job.latest_s for job in jobs if job.latest_s is not None]
    if not latest:
        return False
    horizon, room = plan.horizon, plan.room
    whole = room.capacity.sum(axis=0)
    asked = whole > 0
    last = max(1, min(horizon.starts, horizon.slot_of(max(latest))))
    free = np.maximum(room.free[:, asked, :last], 0.0).sum(axis=0) / whole[asked, None]
    backlog_s = sum(float((job.need[asked] / whole[asked]).max()) * job.runtime_s for job in jobs)
    return backlog_s > plan.options.full * float(free.min(axis=0).sum()) * SLOT_S


def _slack(job: Waiting) -> tuple[float, ...]:
    assert job.latest_s is not None
    return (job.latest_s, *job.rank)


def _due(plan: Plan, flexible: Sequence[Waiting], last_end_s: float) -> Generator[None, None, set[Hashable]]:
    """Those that, at the head of the queue, would start less than `notice_s` before their latest start."""
    due: set[Hashable] = set()
    horizon, notice_s = plan.horizon, plan.options.notice_s
    ahead = Plan(horizon, Room(plan.room.capacity, horizon.slots), plan.options)
    ahead.room.free[:] = plan.room.free
    for job in flexible:
        assert job.latest_s is not None
        if job.latest_s - notice_s > last_end_s and not due:
            break
        start = ahead.earliest(job, 0)
        if start.at_s + notice_s >= job.latest_s:
            due.add(job.key)
        yield
    return due
