"""One line of Spark's event log to one typed event: the JSON names of Spark 3.5 and 4.x live here alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

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


class GarbageLine(ValueError):
    """A line that is no event of Spark, or an event that lacks what it must have."""


class LineTooLong(ValueError):
    """A line that says more than it may; the text says how much."""


class _Raw(msgspec.Struct, frozen=True):
    """A projection of one JSON object; fields that we do not name are skipped unread."""


class _Head(_Raw, frozen=True):
    event: str = msgspec.field(name="Event")


class _Log(_Raw, frozen=True):
    version: str = msgspec.field(name="Spark Version", default="")


class _App(_Raw, frozen=True):
    name: str = msgspec.field(name="App Name")
    time_ms: int = msgspec.field(name="Timestamp")
    app_id: str | None = msgspec.field(name="App ID", default=None)
    user: str | None = msgspec.field(name="User", default=None)


class _Timestamp(_Raw, frozen=True):
    time_ms: int = msgspec.field(name="Timestamp")


class _Rdd(_Raw, frozen=True):
    rdd_id: int = msgspec.field(name="RDD ID")


class _Stage(_Raw, frozen=True):
    stage_id: int = msgspec.field(name="Stage ID")
    tasks: int = msgspec.field(name="Number of Tasks")
    attempt: int = msgspec.field(name="Stage Attempt ID", default=0)
    name: str = msgspec.field(name="Stage Name", default="")
    rdds: tuple[_Rdd, ...] = msgspec.field(name="RDD Info", default=())
    parent_ids: tuple[int, ...] = msgspec.field(name="Parent IDs", default=())
    profile_id: int = msgspec.field(name="Resource Profile Id", default=0)
    submitted_ms: int | None = msgspec.field(name="Submission Time", default=None)
    completed_ms: int | None = msgspec.field(name="Completion Time", default=None)
    failure: str | None = msgspec.field(name="Failure Reason", default=None)

    def info(self) -> StageInfo:
        return StageInfo(
            self.stage_id,
            self.attempt,
            self.name,
            self.tasks,
            self.parent_ids,
            tuple(rdd.rdd_id for rdd in self.rdds),
            self.profile_id,
            self.submitted_ms,
            self.completed_ms,
            self.failure or "",
        )


class _Properties(_Raw, frozen=True):
    pool: str | None = msgspec.field(name="spark.scheduler.pool", default=None)
    execution: str | None = msgspec.field(name="spark.sql.execution.id", default=None)


class _JobStart(_Raw, frozen=True):
    job_id: int = msgspec.field(name="Job ID")
    time_ms: int = msgspec.field(name="Submission Time")
    stages: tuple[msgspec.Raw, ...] = msgspec.field(name="Stage Infos", default=())
    properties: _Properties | None = msgspec.field(name="Properties", default=None)


class _Result(_Raw, frozen=True):
    result: str = msgspec.field(name="Result", default="")


class _JobEnd(_Raw, frozen=True):
    job_id: int = msgspec.field(name="Job ID")
    time_ms: int = msgspec.field(name="Completion Time")
    result: _Result = msgspec.field(name="Job Result", default=_Result())


class _StageEvent(_Raw, frozen=True):
    stage: _Stage = msgspec.field(name="Stage Info")


class _TaskInfo(_Raw, frozen=True):
    task_id: int = msgspec.field(name="Task ID")
    executor_id: str = msgspec.field(name="Executor ID")
    launch_ms: int = msgspec.field(name="Launch Time")
    index: int = msgspec.field(name="Index", default=0)
    finish_ms: int = msgspec.field(name="Finish Time", default=0)
    speculative: bool = msgspec.field(name="Speculative", default=False)


class _Reason(_Raw, frozen=True):
    reason: str = msgspec.field(name="Reason", default="")


class _Bytes(_Raw, frozen=True):
    read: int = msgspec.field(name="Bytes Read", default=0)
    written: int = msgspec.field(name="Bytes Written", default=0)


class _ShuffleRead(_Raw, frozen=True):
    remote: int = msgspec.field(name="Remote Bytes Read", default=0)
    local: int = msgspec.field(name="Local Bytes Read", default=0)


class _ShuffleWrite(_Raw, frozen=True):
    written: int = msgspec.field(name="Shuffle Bytes Written", default=0)


class _Metrics(_Raw, frozen=True):
    run_ms: int = msgspec.field(name="Executor Run Time", default=0)
    cpu_ns: int = msgspec.field(name="Executor CPU Time", default=0)
    gc_ms: int = msgspec.field(name="JVM GC Time", default=0)
    spilled: int = msgspec.field(name="Disk Bytes Spilled", default=0)
    input: _Bytes = msgspec.field(name="Input Metrics", default=_Bytes())
    output: _Bytes = msgspec.field(name="Output Metrics", default=_Bytes())
    shuffle_read: _ShuffleRead = msgspec.field(name="Shuffle Read Metrics", default=_ShuffleRead())
    shuffle_write: _ShuffleWrite = msgspec.field(name="Shuffle Write Metrics", default=_ShuffleWrite())


class _Task(_Raw, frozen=True):
    stage_id: int = msgspec.field(name="Stage ID")
    task: _TaskInfo = msgspec.field(name="Task Info")
    attempt: int = msgspec.field(name="Stage Attempt ID", default=0)
    reason: _Reason = msgspec.field(name="Task End Reason", default=_Reason())
    metrics: _Metrics | None = msgspec.field(name="Task Metrics", default=None)


class _ExecutorInfo(_Raw, frozen=True):
    host: str = msgspec.field(name="Host", default="")
    cores: int = msgspec.field(name="Total Cores", default=1)
    profile_id: int = msgspec.field(name="Resource Profile Id", default=0)


class _Executor(_Raw, frozen=True):
    executor_id: str = msgspec.field(name="Executor ID")
    time_ms: int = msgspec.field(name="Timestamp")
    info: _ExecutorInfo = msgspec.field(name="Executor Info", default=_ExecutorInfo())
    reason: str | None = msgspec.field(name="Removed Reason", default=None)


class _Amount(_Raw, frozen=True):
    amount: float = msgspec.field(name="Amount", default=0.0)


class _Profile(_Raw, frozen=True):
    profile_id: int = msgspec.field(name="Resource Profile Id")
    executor: dict[str, _Amount] = msgspec.field(name="Executor Resource Requests", default={})
    task: dict[str, _Amount] = msgspec.field(name="Task Resource Requests", default={})


def _job_start(raw: _JobStart) -> LogEvent:
    properties = raw.properties or _Properties()
    stages = tuple(_STAGE.decode(stage).info() for stage in raw.stages)
    return JobStart(raw.job_id, raw.time_ms, stages, properties.pool or "", properties.execution or "")


def _task_start(raw: _Task) -> LogEvent:
    task = raw.task
    where = (raw.stage_id, raw.attempt, task.task_id, task.index)
    return TaskStart(*where, task.executor_id, task.launch_ms, task.speculative)


def _task_end(raw: _Task) -> LogEvent:
    task, metrics = raw.task, raw.metrics or _Metrics()
    return TaskEnd(
        raw.stage_id,
        raw.attempt,
        task.task_id,
        task.index,
        task.executor_id,
        task.launch_ms,
        task.finish_ms,
        raw.reason.reason,
        metrics.run_ms,
        metrics.cpu_ns,
        metrics.gc_ms,
        metrics.input.read,
        metrics.output.written,
        metrics.shuffle_read.remote + metrics.shuffle_read.local,
        metrics.shuffle_write.written,
        metrics.spilled,
    )


def _executor_added(raw: _Executor) -> LogEvent:
    info = raw.info
    return ExecutorAdded(raw.executor_id, raw.time_ms, info.host, info.cores, info.profile_id)


def _profile(raw: _Profile) -> LogEvent:
    cores = raw.executor.get("cores", _Amount()).amount
    return ProfileAdded(raw.profile_id, int(cores), raw.task.get("cpus", _Amount(1.0)).amount)


# Spark's name of the event: the projection to decode, and what makes our event of it.
_KINDS: dict[str, tuple[type[_Raw], Callable[[Any], LogEvent]]] = {
    "LogStart": (_Log, lambda raw: LogStart(raw.version)),
    "ApplicationStart": (
        _App,
        lambda raw: ApplicationStart(raw.app_id or "", raw.name, raw.time_ms, raw.user or ""),
    ),
    "ApplicationEnd": (_Timestamp, lambda raw: ApplicationEnd(raw.time_ms)),
    "JobStart": (_JobStart, _job_start),
    "JobEnd": (_JobEnd, lambda raw: JobEnd(raw.job_id, raw.time_ms, raw.result.result == "JobSucceeded")),
    "StageSubmitted": (_StageEvent, lambda raw: StageSubmitted(raw.stage.info())),
    "StageCompleted": (_StageEvent, lambda raw: StageCompleted(raw.stage.info())),
    "TaskStart": (_Task, _task_start),
    "TaskEnd": (_Task, _task_end),
    "ExecutorAdded": (_Executor, _executor_added),
    "ExecutorRemoved": (
        _Executor,
        lambda raw: ExecutorRemoved(raw.executor_id, raw.time_ms, raw.reason or ""),
    ),
    "ResourceProfileAdded": (_Profile, _profile),
}
_HEAD = msgspec.json.Decoder(_Head)
_STAGE = msgspec.json.Decoder(_Stage)
_DECODERS = {
    f"SparkListener{name}": (msgspec.json.Decoder(raw), convert) for name, (raw, convert) in _KINDS.items()
}
_BEGINNING = re.compile(rb'\s*\{\s*"Event"\s*:\s*"([\w.$]+)"')


def useless(line: bytes) -> bool:
    """Whether a line begins as one we have no use for: most of the bytes of a log are such (plans of SQL).

    Spark writes the event's name first, so that nothing else of the line is looked at.
    """
    named = _BEGINNING.match(line)
    return named is not None and named[1].decode() not in _DECODERS


def decode_line(line: bytes, most_stages: float = math.inf) -> LogEvent | None:
    """The event on a line; None for one we have no use for (SQL plans, block updates, future events).

    Raises `GarbageLine` if the line is not JSON of an event or lacks a field without which it means nothing,
    and `LineTooLong` if it starts a job of more than `most_stages`.
    """
    if useless(line) and line.endswith(b"}"):
        return None
    try:
        decoder, convert = _DECODERS.get(_HEAD.decode(line).event, (None, None))
        if decoder is None or convert is None:
            return None
        raw = decoder.decode(line)
        if isinstance(raw, _JobStart) and len(raw.stages) > most_stages:
            raise LineTooLong(f"a job of {len(raw.stages)} stages")
        return convert(raw)
    except LineTooLong:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise GarbageLine(str(problem)) from None
