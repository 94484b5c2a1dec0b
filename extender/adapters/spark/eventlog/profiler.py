"""Turns the events of one log into a workload description, in memory that grows with stages, not tasks."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np

from extender.adapters.spark.eventlog.events import (
    ApplicationEnd,
    ApplicationStart,
    ExecutorAdded,
    ExecutorRemoved,
    JobEnd,
    JobStart,
    LogEvent,
    LogStart,
    ProfileAdded,
    StageCompleted,
    StageInfo,
    StageSubmitted,
    TaskEnd,
    TaskStart,
)
from extender.adapters.spark.eventlog.reader import Counts
from extender.adapters.spark.eventlog.width import width_response
from extender.adapters.spark.eventlog.workload import (
    QUANTILES,
    Durations,
    Executor,
    ObservedWidth,
    StageProfile,
    Workload,
)

_SAMPLE = 4096
_TIMELINE = 2048
_LATEST_MS = 253_402_300_799_999  # the year 9999
_MOST = 2**31 - 1  # Spark counts tasks and cores in an Int
_LARGEST = 2**63 - 1
_SUMS = (
    "gc_ms",
    "cpu_ns",
    "input_bytes",
    "output_bytes",
    "shuffle_read_bytes",
    "shuffle_write_bytes",
    "spilled_bytes",
)


def _possible(event: LogEvent) -> bool:
    """Whether times lie between 1970 and 9999, and no number is larger than Spark's Int."""
    times_ms, numbers = list[int | None](), list[int]()
    match event:
        case JobStart():
            times_ms = [event.time_ms]
            numbers = [event.job_id, *(number for stage in event.stages for number in _numbers(stage))]
        case StageSubmitted() | StageCompleted():
            times_ms, numbers = [event.stage.submitted_ms, event.stage.completed_ms], _numbers(event.stage)
        case TaskStart():
            times_ms = [event.launch_ms]
        case TaskEnd():
            times_ms = [event.launch_ms, event.finish_ms]
        case ExecutorAdded():
            times_ms, numbers = [event.time_ms], [event.cores, event.profile_id]
        case ProfileAdded():
            numbers = [event.executor_cores, event.profile_id]
        case LogStart():
            pass
        case _:
            times_ms = [event.time_ms]
    return all(time_ms is None or 0 <= time_ms <= _LATEST_MS for time_ms in times_ms) and all(
        0 <= number <= _MOST for number in numbers
    )


def _numbers(stage: StageInfo) -> list[int]:
    return [stage.stage_id, stage.attempt, stage.tasks, stage.profile_id, *stage.rdd_ids]


class _Sample:
    """A uniform sample of durations in ms, exact up to its size."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._values: list[int] = []
        self._count = 0
        self._sum = 0

    def add(self, value_ms: int) -> None:
        self._count += 1
        self._sum += value_ms
        if len(self._values) < _SAMPLE:
            self._values.append(value_ms)
        elif (slot := self._rng.randrange(self._count)) < _SAMPLE:
            self._values[slot] = value_ms

    def durations(self) -> Durations:
        if not self._count:
            return Durations()
        quantiles = np.quantile(np.array(self._values) / 1000, QUANTILES)
        return Durations(self._count, self._sum / self._count / 1000, tuple(float(q) for q in quantiles))


class _Timeline:
    """Changes of a level over time; neighbours are merged into ever longer steps when there are too many."""

    def __init__(self) -> None:
        self._step_ms = 1
        self._changes: Counter[int] = Counter()

    def change(self, time_ms: int, amount: int) -> None:
        self._changes[time_ms // self._step_ms] += amount
        while len(self._changes) > _TIMELINE:
            self._step_ms *= 2
            merged: Counter[int] = Counter()
            for step, change in self._changes.items():
                merged[step // 2] += change
            self._changes = merged

    def levels(self) -> list[tuple[int, int]]:
        """(ms, level from then on), ascending."""
        level, levels = 0, list[tuple[int, int]]()
        for step in sorted(self._changes):
            level += self._changes[step]
            levels.append((step * self._step_ms, level))
        return levels


@dataclass(slots=True)
class _Stage:
    first: _Sample
    later: _Sample
    info: StageInfo
    jobs: list[int] = field(default_factory=list)
    parents: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    submitted_ms: int | None = None
    completed_ms: int | None = None
    listed: int = 0
    runs: int = 0
    failed: int = 0
    sums: Counter[str] = field(default_factory=Counter)


class Profiler:
    """Takes events in log order; `workload()` describes what was taken so far. `rng` draws large samples."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._app: ApplicationStart | None = None
        self._nonsense = 0
        self._first_ms: int | None = None
        self._version = ""
        self._ended_ms: int | None = None
        self._last_ms = 0
        self._stages: dict[int, _Stage] = {}
        self._keys: dict[int, int] = {}
        self._ran: set[int] = set()
        self._running_jobs: dict[int, set[int]] = {}
        self._finished: set[int] = set()
        self._launched: defaultdict[tuple[int, int], Counter[str]] = defaultdict(Counter)
        self._first_wave: set[int] = set()  # tasks that run now
        self._executors: dict[str, ExecutorAdded] = {}
        self._removed_ms: dict[str, int] = {}
        self._profiles: dict[int, ProfileAdded] = {}
        self._running = _Timeline()

    def take(self, event: LogEvent) -> None:
        """Add one event. One that cannot be true is counted and passed over."""
        if not _possible(event):
            self._nonsense += 1
            return
        match event:
            case LogStart():
                self._version = event.spark_version
            case ApplicationStart():
                self._app = event
                self._seen(event.time_ms)
            case ApplicationEnd():
                self._ended_ms = event.time_ms
                self._seen(event.time_ms)
            case JobStart():
                self._job(event)
            case JobEnd():
                self._seen(event.time_ms)
                self._finished = self._running_jobs.pop(event.job_id, set()) or self._finished
            case StageSubmitted() | StageCompleted():
                self._stage_event(event)
            case TaskEnd():
                self._task(event)
            case ExecutorAdded():
                self._executors[event.executor_id] = event
                self._seen(event.time_ms)
            case ExecutorRemoved():
                self._removed_ms[event.executor_id] = event.time_ms
                self._seen(event.time_ms)
            case ProfileAdded():
                self._profiles[event.profile_id] = event
            case TaskStart():
                self._launch(event)

    def _seen(self, time_ms: int) -> None:
        if time_ms > 0:
            self._first_ms = time_ms if self._first_ms is None else min(self._first_ms, time_ms)
        self._last_ms = max(self._last_ms, time_ms)

    def _stage(self, info: StageInfo) -> _Stage:
        self._keys[info.stage_id] = info.key
        if info.key not in self._stages:
            self._stages[info.key] = _Stage(_Sample(self._rng), _Sample(self._rng), info)
        return self._stages[info.key]

    def _job(self, event: JobStart) -> None:
        self._seen(event.time_ms)
        keys = {self._stage(info).info.key for info in event.stages}
        for info in event.stages:
            stage = self._stage(info)
            stage.listed += 1
            stage.jobs.append(event.job_id)
            stage.parents |= {self._keys[each] for each in info.parent_ids if each in self._keys} - {info.key}
            if not self._running_jobs and stage.runs == 0:  # the driver waited for the job before
                stage.after |= self._finished - keys
        self._running_jobs[event.job_id] = keys

    def _stage_event(self, event: StageSubmitted | StageCompleted) -> None:
        info, stage = event.stage, self._stage(event.stage)
        if isinstance(event, StageSubmitted):
            stage.runs += 1
            stage.info = info  # adaptive execution may have changed the number of tasks
            self._ran.add(info.stage_id)
            if info.submitted_ms is not None:
                self._seen(info.submitted_ms)
                stage.submitted_ms = min(stage.submitted_ms or info.submitted_ms, info.submitted_ms)
        else:
            self._launched.pop((info.stage_id, info.attempt), None)
            if info.completed_ms is not None:
                stage.completed_ms = max(stage.completed_ms or 0, info.completed_ms)
                self._seen(info.completed_ms)

    def _launch(self, event: TaskStart) -> None:
        stage = self._stages.get(self._keys.get(event.stage_id, -1))
        if stage is None:
            return
        launched = self._launched[event.stage_id, event.attempt]
        launched[event.executor_id] += 1
        if launched[event.executor_id] <= self._slots(event.executor_id, stage.info.profile_id):
            self._first_wave.add(event.task_id)

    def _task(self, event: TaskEnd) -> None:
        first = event.task_id in self._first_wave
        self._first_wave.discard(event.task_id)
        stage = self._stages.get(self._keys.get(event.stage_id, -1))
        if stage is None:
            return
        self._seen(event.launch_ms)
        self._seen(event.finish_ms)
        if event.finish_ms >= event.launch_ms:
            self._running.change(event.launch_ms, 1)
            self._running.change(event.finish_ms, -1)
        if not event.succeeded:
            stage.failed += 1
            return
        (stage.first if first else stage.later).add(event.duration_ms)
        for name in _SUMS:
            stage.sums[name] += min(max(0, getattr(event, name)), _LARGEST)

    def _slots(self, executor_id: str, profile_id: int) -> int:
        """Tasks that an executor runs at once."""
        executor = self._executors.get(executor_id)
        profile = self._profiles.get(profile_id, ProfileAdded(profile_id))
        cores = executor.cores if executor is not None else profile.executor_cores
        return max(1, int(cores / max(profile.task_cpus, 0.001)))

    def workload(self, counts: Counts) -> Workload:
        """The description. Of a log without its beginning time counts from the first event."""
        app = self._app or ApplicationStart("", "", self._start_ms)
        ran = Counter(self._keys[each] for each in self._ran)
        stages = tuple(
            self._stage_profile(key, stage, ran[key]) for key, stage in sorted(self._stages.items())
        )
        slots = [self._slots(each, executor.profile_id) for each, executor in self._executors.items()]
        per_executor = int(np.median(slots)) if slots else 1
        end_ms = self._last_ms if self._ended_ms is None else self._ended_ms
        return Workload(
            app.app_id,
            app.name,
            self._version,
            app.time_ms,
            max(0.0, (end_ms - app.time_ms) / 1000),
            self._ended_ms is not None,
            per_executor,
            stages,
            tuple(
                Executor(
                    each,
                    added.cores,
                    self._since(added.time_ms) or 0.0,
                    self._since(self._removed_ms.get(each)),
                )
                for each, added in self._executors.items()
            ),
            tuple(self._observed(end_ms)),
            width_response(stages, per_executor),
            tuple((self._since(time_ms) or 0.0, level) for time_ms, level in self._running.levels()),
            msgspec.structs.replace(counts, nonsense=self._nonsense),
        )

    @property
    def _start_ms(self) -> int:
        return self._app.time_ms if self._app is not None else self._first_ms or 0

    def _since(self, time_ms: int | None) -> float | None:
        return None if time_ms is None else (time_ms - self._start_ms) / 1000

    def _stage_profile(self, key: int, stage: _Stage, ran: int) -> StageProfile:
        sums = stage.sums
        return StageProfile(
            key=key,
            name=stage.info.name,
            parents=tuple(sorted(stage.parents)),
            jobs=tuple(sorted(set(stage.jobs))),
            after=tuple(sorted(stage.after)),
            tasks=stage.info.tasks,
            runs=stage.runs,
            skipped=max(0, stage.listed - ran),
            failed=stage.failed,
            profile_id=stage.info.profile_id,
            submitted_s=self._since(stage.submitted_ms),
            completed_s=self._since(stage.completed_ms),
            first_wave=stage.first.durations(),
            later_waves=stage.later.durations(),
            cpu_s=sums["cpu_ns"] / 1e9,
            gc_s=sums["gc_ms"] / 1000,
            **{name: min(sums[name], _LARGEST) for name in _SUMS if name.endswith("_bytes")},
        )

    def _observed(self, end_ms: int) -> Iterable[ObservedWidth]:
        executors = [(added.time_ms, 1) for added in self._executors.values()]
        executors += [(time_ms, -1) for each, time_ms in self._removed_ms.items() if each in self._executors]
        levels = self._running.levels()
        changes = [(time_ms, "executors", change) for time_ms, change in executors]
        changes += [
            (time_ms, "tasks", level - before)
            for (time_ms, level), before in zip(levels, [0, *(level for _, level in levels)], strict=False)
        ]
        level: Counter[str] = Counter()
        time_ms: Counter[int] = Counter()
        task_ms: Counter[int] = Counter()
        previous_ms = self._start_ms
        for at_ms, what, change in [*sorted(changes), (end_ms, "", 0)]:
            passed_ms = max(0, at_ms - previous_ms)
            time_ms[level["executors"]] += passed_ms
            task_ms[level["executors"]] += passed_ms * level["tasks"]
            previous_ms = max(previous_ms, at_ms)
            level[what] += change
        for width, passed_ms in sorted(time_ms.items()):
            if width > 0 and passed_ms:
                yield ObservedWidth(width, passed_ms / 1000, task_ms[width] / passed_ms)
