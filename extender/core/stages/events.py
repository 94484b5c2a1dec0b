"""What a driver says of its jobs and stages, as the core hears it.

Times are milliseconds since 1970 and durations are milliseconds, whole numbers as Spark writes them:
sums of them do not depend on the order in which reports arrive. Every event checks itself and raises
`ValueError` when it makes no sense: numbers are those of a Java int (times and durations: exact as float64).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_END: Final = 2**31
_END_MS: Final = 2**53


def _check(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{_name(owner, name)} must be a whole number from 0; fix the sender")
        if value >= (_END_MS if name.endswith("_ms") else _END):
            raise ValueError(f"{_name(owner, name)} is larger than Spark can count; fix the sender")


def _name(owner: object, name: str) -> str:
    return f"{type(owner).__name__}.{name}"


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A stage as one job announces it.

    `stage_id` is a number that the next job does not reuse; `rdd_id`, the stage's last RDD (highest id),
    is what all copies of a stage have in common. `parents` are stage ids. `tasks` counts the partitions
    this attempt computes: fewer than before when only lost ones are repeated.
    """

    stage_id: int
    rdd_id: int
    tasks: int
    attempt: int = 0
    parents: tuple[int, ...] = ()
    name: str = ""
    resource_profile: int = 0

    def __post_init__(self) -> None:
        _check(self, "stage_id", "tasks", "attempt", "resource_profile")
        if not -_END <= self.rdd_id < _END:
            raise ValueError(f"{_name(self, 'rdd_id')} is larger than Spark can count; fix the sender")


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An action began. Of its stages Spark skips those whose shuffle output exists."""

    job_id: int
    stages: tuple[StageInfo, ...]
    time_ms: int = 0

    def __post_init__(self) -> None:
        _check(self, "job_id", "time_ms")


@dataclass(frozen=True, slots=True)
class StageSubmitted:
    """An attempt of a stage got its tasks."""

    stage: StageInfo
    time_ms: int = 0

    def __post_init__(self) -> None:
        _check(self, "time_ms")


@dataclass(frozen=True, slots=True)
class TasksEnded:
    """Tasks of an attempt that succeeded so far: totals, so that hearing it twice changes nothing.

    `task_ms` is the sum of their durations.
    """

    stage_id: int
    attempt: int
    finished: int
    task_ms: int

    def __post_init__(self) -> None:
        _check(self, "stage_id", "attempt", "finished", "task_ms")


@dataclass(frozen=True, slots=True)
class MoreTasksEnded:
    """Tasks of an attempt that succeeded since the last report: amounts to add.

    The one event that must not be applied twice: the caller drops repeated batches.
    """

    stage_id: int
    attempt: int
    finished: int
    task_ms: int

    def __post_init__(self) -> None:
        _check(self, "stage_id", "attempt", "finished", "task_ms")


@dataclass(frozen=True, slots=True)
class StageCompleted:
    """An attempt of a stage ended; `failure` says why it failed and is empty if it did not."""

    stage: StageInfo
    time_ms: int = 0
    failure: str = ""

    def __post_init__(self) -> None:
        _check(self, "time_ms")


@dataclass(frozen=True, slots=True)
class JobEnded:
    """An action ended, well or not: none of its stages will run for it any more."""

    job_id: int
    succeeded: bool = True
    time_ms: int = 0

    def __post_init__(self) -> None:
        _check(self, "job_id", "time_ms")


StageEvent = JobStarted | StageSubmitted | TasksEnded | MoreTasksEnded | StageCompleted | JobEnded
