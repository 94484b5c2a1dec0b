"""The plan itself: a start for every waiting application (see the package for the idea)."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
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
    is room, in the place of its creation. `late`: there is no room for it by its latest start. `at_once`: it
    may start whenever it finds room, also before it is planned. `rather_now`: now would be no dirtier. Means
    are what is expected, and None where nothing was compared.
    """

    at_s: float
    place: Place | None
    mean: float | None = None
    mean_now: float | None = None
    by_choice: bool = False
    due: bool = False
    late: bool = False
    at_once: bool = False
    rather_now: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How it plans. `notice_s` is how long before its latest start an application must have room in sight.

    `margin_s` is how long before its latest start it is planned at the latest, and `spare_s` how much longer
    than its run time room is planned for it: starts and ends take a moment. `keep` is the share of its carbon
    that another start must save before a planned one is changed, `dirtier` how much more a start at once may
    emit than the planned one. `full` is the share of the free room ahead above which what waits is too much:
    then nothing is held. `in_order`: in the queue nobody overtakes those that do not wait by choice.
    """

    notice_s: float = 1200.0
    margin_s: float = 300.0
    spare_s: float = 60.0
    keep: float = 0.01
    dirtier: float = 0.01
    full: float = 0.75
    in_order: bool = True


@dataclass(frozen=True, slots=True)
class _Kept:
    """Room kept for a latest start: the slots first..end-1 of a place."""

    place: Place
    first: int
    end: int


@dataclass(slots=True)
class Plan:
    """The starts, and the room that is left beside them. `overloaded`: nothing is held.

    `promised` is the room that is left where everybody who may wait starts as late as possible: who takes
    only of that makes nobody late. `kept` is what was promised to each.
    """

    horizon: Horizon
    room: Room
    options: Options
    starts: dict[Hashable, Start] = field(default_factory=dict[Hashable, Start])
    overloaded: bool = False
    promised: Room = field(init=False)
    kept: dict[Hashable, _Kept] = field(default_factory=dict[Hashable, "_Kept"])

    def __post_init__(self) -> None:
        self.promised = self.room

    def join(self, job: Waiting) -> Start:
        """Plan one more application beside the others, whose starts stay as they are."""
        if job.latest_s is None:
            self.starts[job.key] = self.earliest(job, 0)
        else:
            self.starts[job.key] = self.cleanest(job) or self.earliest(job, 0, due=True)
            self.release(job)
        return self.starts[job.key]

    def promise(self, job: Waiting) -> None:
        """Keep room for an application at the last moment at which it may still start."""
        room, last = self.promised, self._last(job)
        ends = self._ends(job, last)
        best: tuple[int, Place] | None = None
        for place, _ in job.places:
            starts = np.flatnonzero(startable(room.fits(place, job.need), ends))
            if len(starts) and (best is None or starts[-1] > best[0]):
                best = int(starts[-1]), place
        if best is not None:
            first, place = best
            kept = self.kept[job.key] = _Kept(place, first, int(ends[first]))
            room.take(place, job.need, kept.first, kept.end)

    def choose(self, jobs: Sequence[Waiting]) -> Generator[None, None, None]:
        """The cleanest start for each, in this order; beside the promises to the others if it must be."""
        room = self.room
        self.room = room.copy()
        for job in jobs:
            start = self.cleanest(job)
            if start is None:
                break
            self.starts[job.key] = start
            yield
        else:
            return
        # Somebody would be late: everybody exchanges what was promised for the best that is left beside it.
        self.room = self.promised.copy()
        for job in jobs:
            kept = self.kept.get(job.key)
            if kept is not None:
                self.room.take(kept.place, -job.need, kept.first, kept.end)
            self.starts[job.key] = self.cleanest(job) or self.earliest(job, 0, due=True)
            yield

    def release(self, job: Waiting) -> None:
        """Let an application start at once where it would, if that is in the way of no promise."""
        room, kept, start = self.promised, self.kept.get(job.key), self.starts[job.key]
        if start.by_choice or start.due:
            return
        if self.horizon.flat:
            # There is nothing to wait for: the queue is what it is without a plan.
            self.starts[job.key] = replace(start, at_once=True)
            return
        if not start.rather_now:
            return
        if kept is not None:
            room.take(kept.place, -job.need, kept.first, kept.end)
        end = int(self._ends(job, 0)[0])
        for place, _ in job.places:
            if room.fits(place, job.need)[:end].all():
                room.take(place, job.need, 0, end)
                self.starts[job.key] = replace(start, at_once=True)
                return
        if kept is not None:
            room.take(kept.place, job.need, kept.first, kept.end)

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

    def cleanest(self, job: Waiting) -> Start | None:
        """The start of least expected carbon that has room and is not after the latest one; None: no room."""
        horizon, room = self.horizon, self.room
        last = self._last(job)
        ends = self._ends(job, last)
        means = np.full((len(job.places), last + 1), np.inf)
        now, expected_now = math.inf, math.inf
        for number, (place, zone) in enumerate(job.places):
            costs = horizon.run_means(zone, job.runtime_s, last)
            ok = startable(room.fits(place, job.need), ends)
            means[number, ok] = costs[ok]
            now = min(now, float(costs[0]))
            expected_now = min(expected_now, horizon.expected_mean(zone, job.runtime_s, 0))
        by_slot = means.min(axis=0, initial=np.inf)
        least = float(by_slot.min())
        if not math.isfinite(least):
            return None
        slot = int((by_slot <= least * (1 + EARLIER)).argmax())
        if job.planned_s is not None:
            kept = horizon.slot_of(job.planned_s)
            if kept <= last and by_slot[kept] <= least * (1 + self.options.keep):
                slot = kept
        number = int(means[:, slot].argmin())
        place, zone = job.places[number]
        room.take(place, job.need, slot, int(ends[slot]))
        earliest = int(np.isfinite(by_slot).argmax())
        return Start(
            float(horizon.start_times[slot]),
            place,
            horizon.expected_mean(zone, job.runtime_s, slot),
            expected_now,
            by_choice=slot > earliest,
            rather_now=now <= float(means[number, slot]) * (1 + self.options.dirtier),
        )

    def _last(self, job: Waiting) -> int:
        """The last slot in which an application may start."""
        assert job.latest_s is not None
        return min(self.horizon.starts - 1, self.horizon.slot_of(job.latest_s - self.options.margin_s))

    def _ends(self, job: Waiting, last: int) -> NDArray[np.int64]:
        horizon = self.horizon
        length_s = job.runtime_s + self.options.spare_s
        ends = np.ceil((horizon.start_times[: last + 1] + length_s - horizon.first_s) / SLOT_S - 1e-9)
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
    for each in running:
        end = horizon.slots_until(each.until_s) if each.until_s < math.inf else horizon.slots
        for row in np.flatnonzero(each.used.any(axis=1)).tolist():
            plan.room.free[row, :, :end] -= each.used[row][:, None]
    # 2. Those that do not wait by choice follow in the order of the queue, those that are due among them.
    flexible = sorted((job for job in waiting if job.latest_s is not None), key=_slack)
    due = {job.key for job in flexible if (job.latest_s or 0.0) - options.notice_s <= horizon.now_s}
    taken = plan.room.copy()
    for last_time in (False, True):
        yield from _prompt(plan, [job for job in waiting if job.latest_s is None or job.key in due], due)
        others = [job for job in flexible if job.key not in due]
        plan.overloaded = _overloaded(plan, others)
        # 3. Room for the latest starts of the others; who finds none is due.
        plan.promised = plan.room.copy()
        for job in others:
            plan.promise(job)
            yield
        lacking = {job.key for job in others if job.key not in plan.kept}
        if last_time or not lacking:
            break
        due |= lacking
        plan.room, plan.starts, plan.kept = taken, {}, {}
    # 4. What is left is shared out among the others, the least slack first.
    yield from plan.choose(others)
    # 5. Who would rather not wait starts as soon as there is room, if that makes nobody late.
    now_first = sorted(others, key=lambda job: (plan.starts[job.key].at_s > horizon.now_s, job.rank))
    for job in now_first:
        plan.release(job)


def _prompt(plan: Plan, jobs: Iterable[Waiting], due: Collection[Hashable]) -> Generator[None, None, None]:
    """Each as early as it fits, in the order of the queue."""
    first = 0
    for job in sorted(jobs, key=lambda job: job.rank):
        start = plan.earliest(job, first if plan.options.in_order else 0, due=job.key in due)
        plan.starts[job.key] = start
        if start.at_s < math.inf:
            first = plan.horizon.slot_of(start.at_s)
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
