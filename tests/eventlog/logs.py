"""Event logs as Spark writes them, line by line, and a follower driven by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import zstandard

from extender.adapters.spark.eventlog.follow import LogFollower
from extender.core.stages import events as core
from extender.core.stages.graph import StageGraph


def line(event: str, **fields: Any) -> bytes:
    named = {name.replace("_", " "): value for name, value in fields.items()}
    return json.dumps({"Event": f"SparkListener{event}", **named}).encode() + b"\n"


def stage(stage_id: int, tasks: int, *parents: int) -> dict[str, Any]:
    return {
        "Stage ID": stage_id,
        "Number of Tasks": tasks,
        "Stage Name": f"stage {stage_id} ü",
        "RDD Info": [{"RDD ID": 10 * stage_id}, {"RDD ID": 10 * stage_id + 7}],
        "Parent IDs": list(parents),
    }


def task(stage_id: int, number: int, duration_ms: int, reason: str = "Success") -> bytes:
    info = {"Task ID": number, "Executor ID": "1", "Launch Time": 100, "Finish Time": 100 + duration_ms}
    return line("TaskEnd", **{"Stage ID": stage_id, "Task Info": info, "Task End Reason": {"Reason": reason}})


def job_start(job_id: int, *stages: dict[str, Any]) -> bytes:
    return line("JobStart", Job_ID=job_id, Submission_Time=1, Stage_Infos=list(stages))


def job(job_id: int, durations_ms: Sequence[int]) -> list[bytes]:
    """A job of two stages, the first with these tasks."""
    first, last = 2 * job_id, 2 * job_id + 1
    parent, child = stage(first, len(durations_ms)), stage(last, 1, first)
    return [
        job_start(job_id, parent, child),
        line("StageSubmitted", Stage_Info=parent),
        line("SomethingOfSpark9", Plan="x" * 300),
        *(task(first, number, each) for number, each in enumerate(durations_ms)),
        task(first, 99, 5, "ExecutorLostFailure"),
        line("StageCompleted", Stage_Info=parent),
        line("StageSubmitted", Stage_Info=child),
        b"not an event\n",
        task(last, 100, 40),
        line("StageCompleted", Stage_Info=child),
        line("JobEnd", Job_ID=job_id, Completion_Time=9, Job_Result={"Result": "JobSucceeded"}),
    ]


END = line("ApplicationEnd", Timestamp=9)


def frame(data: bytes) -> bytes:
    out = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


def standings(events: Sequence[core.StageEvent]) -> Any:
    graph = StageGraph()
    graph.apply(events)
    return graph.standings, sorted(graph.graph.edges), graph.task_s


def stepped(follower: LogFollower) -> list[core.StageEvent]:
    events = follower.step()
    while follower.behind:
        events += follower.step()
    return events


class Hand:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s
