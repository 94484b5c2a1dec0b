"""The profile of an application: the description that the simulator reads.

Seconds count from the start of the application, sizes are bytes, stages are named by their last RDD.
"""

from __future__ import annotations

import msgspec

from extender.adapters.spark.eventlog.reader import Counts

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


class Durations(msgspec.Struct, frozen=True):
    """Task durations: how many, their mean, and values at `QUANTILES`, empty if there was no task."""

    count: int = 0
    mean_s: float = 0.0
    quantiles_s: tuple[float, ...] = ()


class StageProfile(msgspec.Struct, frozen=True):
    """One stage with all its copies and attempts.

    `first_wave`: tasks that were the first of the stage on their task slot (they load classes, broadcast
    variables and caches); `later_waves`: all others. `tasks`: of one run. `runs`: attempts that ran;
    `skipped`: copies that did not run because their output was there. Failed tasks count in `failed` only.
    """

    key: int
    name: str
    parents: tuple[int, ...]
    jobs: tuple[int, ...]
    after: tuple[int, ...]
    tasks: int
    runs: int
    skipped: int
    failed: int
    profile_id: int
    submitted_s: float | None
    completed_s: float | None
    first_wave: Durations
    later_waves: Durations
    cpu_s: float
    gc_s: float
    input_bytes: int
    output_bytes: int
    shuffle_read_bytes: int
    shuffle_write_bytes: int
    spilled_bytes: int


class Width(msgspec.Struct, frozen=True):
    """Prediction for `executors` executors: run time, speed-up over one, and busy share of task slots."""

    executors: int
    runtime_s: float
    speedup: float
    utilization: float


class ObservedWidth(msgspec.Struct, frozen=True):
    """How long the application had so many executors, and how many tasks ran meanwhile on average."""

    executors: int
    time_s: float
    mean_running_tasks: float


class Executor(msgspec.Struct, frozen=True):
    """An executor's cores and life; `removed_s` is None if it lived to the end."""

    executor_id: str
    cores: int
    added_s: float
    removed_s: float | None


class Workload(msgspec.Struct, frozen=True):
    """One application. `complete`: its log has the end. `running_tasks`: (seconds, tasks) at each change."""

    app_id: str
    name: str
    spark_version: str
    started_ms: int
    duration_s: float
    complete: bool
    slots_per_executor: int
    stages: tuple[StageProfile, ...]
    executors: tuple[Executor, ...]
    observed_width: tuple[ObservedWidth, ...]
    width_response: tuple[Width, ...]
    running_tasks: tuple[tuple[float, int], ...]
    counts: Counts


class Profile(msgspec.Struct, frozen=True):
    """The file that `carbon-scheduler profile` writes."""

    workloads: tuple[Workload, ...]
    version: int = 1
    quantiles: tuple[float, ...] = QUANTILES
