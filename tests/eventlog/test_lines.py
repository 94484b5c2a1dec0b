"""Lines of Spark's event log as typed events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.eventlog.events import JobStart, StageInfo, TaskEnd
from extender.adapters.spark.eventlog.lines import GarbageLine, decode_line
from tests.cases import case_path


def line(event: str, **fields: Any) -> bytes:
    return json.dumps({"Event": f"SparkListener{event}", **fields}).encode()


def test_unknown_events_are_passed_over() -> None:
    assert decode_line(line("SomethingOfSpark9", Anything={"x": [1]})) is None
    assert decode_line(b'{"Event": "org.apache.spark.sql.execution.ui.SparkListenerSQLExecutionEnd"}') is None


def test_unknown_fields_are_passed_over() -> None:
    event = decode_line(
        line("JobStart", **{"Job ID": 3, "Submission Time": 7, "Stage Infos": [], "New Field": {"a": [None]}})
    )
    assert event == JobStart(3, 7, ())


def test_a_task_without_metrics_counts_with_zeros() -> None:
    task = {"Task ID": 1, "Executor ID": "2", "Launch Time": 10, "Finish Time": 4}
    reason = {"Reason": "ExecutorLostFailure"}
    event = decode_line(line("TaskEnd", **{"Stage ID": 1, "Task Info": task, "Task End Reason": reason}))
    assert isinstance(event, TaskEnd)
    assert (event.succeeded, event.duration_ms, event.shuffle_read_bytes) == (False, 0, 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"Event": 3}',
        line("JobStart"),
        line("JobEnd", **{"Job ID": "x"}),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_garbage_is_told_from_events(garbage: bytes) -> None:
    with pytest.raises(GarbageLine):
        decode_line(garbage)


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_line_raises_anything_else(garbage: bytes) -> None:
    with pytest.raises(GarbageLine):
        decode_line(garbage)


def test_the_last_rdd_is_the_key_wherever_it_stands() -> None:
    assert StageInfo(0, 0, "s", 1, rdd_ids=(3, 9, 1)).key == 9
    assert StageInfo(4, 0, "s", 1).key < 0


@pytest.mark.parametrize(("aqe", "jobs", "tasks"), [("true", 5, 7), ("false", 2, 16)])
def test_captured_logs_decode_whole(aqe: str, jobs: int, tasks: int) -> None:
    lines = case_path(f"spark-captures/eventlog-trimmed-3.5.9-sql-aqe-{aqe}.jsonl").read_bytes().splitlines()
    events = [decode_line(line) for line in lines if line.strip()]
    assert None not in events
    assert sum(isinstance(event, JobStart) for event in events) == jobs
    assert sum(isinstance(event, TaskEnd) for event in events) == tasks
