"""Events of a Spark driver's stages: one vocabulary for event logs and for the in-driver agent.

Times are milliseconds since 1970 as Spark writes them, sizes are bytes. As JSON every event carries its
name in `type`; unknown fields are ignored, so that either side may be the newer one.
"""

from __future__ import annotations

import msgspec


class _Event(msgspec.Struct, frozen=True, tag_field="type", tag=True):
    """Base of all events; the class name is the JSON tag."""


class StageInfo(msgspec.Struct, frozen=True):
    """One attempt of a stage. Its id is not stable, `key` is."""

    stage_id: int
    attempt: int
    name: str
    tasks: int
    parent_ids: tuple[int, ...] = ()
    rdd_ids: tuple[int, ...] = ()
    profile_id: int = 0
    submitted_ms: int | None = None
    completed_ms: int | None = None
    failure: str = ""

    @property
    def key(self) -> int:
        """The stage's last RDD: equal for every copy of one shuffle, whatever number the copy has.

        A stage without RDDs (never seen in practice) answers a negative number of its own.
        """
        return max(self.rdd_ids, default=-1 - self.stage_id)


class LogStart(_Event, frozen=True):
    """First line of every log."""

    spark_version: str


class ApplicationStart(_Event, frozen=True):
    """The driver is up."""

    app_id: str
    name: str
    time_ms: int
    user: str = ""


class ApplicationEnd(_Event, frozen=True):
    """The driver stopped its context; nothing follows."""

    time_ms: int


class JobStart(_Event, frozen=True):
    """An action began: the stages it may run, of which those with kept shuffle output are skipped."""

    job_id: int
    time_ms: int
    stages: tuple[StageInfo, ...]
    pool: str = ""
    sql_execution_id: str = ""


class JobEnd(_Event, frozen=True):
    """An action ended."""

    job_id: int
    time_ms: int
    succeeded: bool


class StageSubmitted(_Event, frozen=True):
    """A stage's tasks are about to run."""

    stage: StageInfo


class StageCompleted(_Event, frozen=True):
    """An attempt of a stage ended; `stage.failure` says why if it failed."""

    stage: StageInfo


class TaskStart(_Event, frozen=True):
    """A task was launched on an executor."""

    stage_id: int
    attempt: int
    task_id: int
    index: int
    executor_id: str
    launch_ms: int
    speculative: bool = False


class TaskEnd(_Event, frozen=True):
    """A task ended. `reason` is Spark's, `Success` when it succeeded; metrics are 0 if none came."""

    stage_id: int
    attempt: int
    task_id: int
    index: int
    executor_id: str
    launch_ms: int
    finish_ms: int
    reason: str
    run_ms: int = 0
    cpu_ns: int = 0
    gc_ms: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    shuffle_read_bytes: int = 0
    shuffle_write_bytes: int = 0
    spilled_bytes: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the task's result counts."""
        return self.reason == "Success"

    @property
    def duration_ms(self) -> int:
        """From launch to finish as the driver saw it, never negative."""
        return max(0, self.finish_ms - self.launch_ms)


class TaskProgress(_Event, frozen=True):
    """Tasks of one stage attempt that ended since the last report, added up by the agent."""

    stage_id: int
    attempt: int
    succeeded: int
    failed: int
    duration_ms: int = 0
    max_duration_ms: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    shuffle_read_bytes: int = 0
    shuffle_write_bytes: int = 0
    spilled_bytes: int = 0


class ExecutorAdded(_Event, frozen=True):
    """An executor registered with the driver."""

    executor_id: str
    time_ms: int
    host: str
    cores: int
    profile_id: int = 0


class ExecutorRemoved(_Event, frozen=True):
    """An executor is gone."""

    executor_id: str
    time_ms: int
    reason: str = ""


class ProfileAdded(_Event, frozen=True):
    """A resource profile: cores of an executor (0: not said) and CPUs of a task."""

    profile_id: int
    executor_cores: int = 0
    task_cpus: float = 1.0


LogEvent = (
    LogStart
    | ApplicationStart
    | ApplicationEnd
    | JobStart
    | JobEnd
    | StageSubmitted
    | StageCompleted
    | TaskStart
    | TaskEnd
    | ExecutorAdded
    | ExecutorRemoved
    | ProfileAdded
)

Update = (
    ApplicationEnd
    | JobStart
    | JobEnd
    | StageSubmitted
    | StageCompleted
    | TaskProgress
    | ExecutorAdded
    | ExecutorRemoved
    | ProfileAdded
)
