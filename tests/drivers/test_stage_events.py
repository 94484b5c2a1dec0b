"""Updates of drivers and lines of event logs become the core's stage events."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.eventlog import events as spark
from extender.adapters.spark.stage_events import MOST_PARENTS, Nonsense, slices, stage_event, stage_events
from extender.core.stages import events as core
from extender.core.stages.graph import StageGraph

STAGE = spark.StageInfo(
    stage_id=3,
    attempt=1,
    name="collect at etl.py:7",
    tasks=8,
    parent_ids=(2, 1, 2),
    rdd_ids=(7, 9, 8),
    profile_id=4,
    submitted_ms=1_000,
    completed_ms=5_000,
    failure="lost",
)
OURS = core.StageInfo(3, 9, 8, 1, (2, 1), "collect at etl.py:7", 4)


def test_a_stage_is_known_by_its_highest_rdd() -> None:
    event = stage_event(spark.StageSubmitted(STAGE))
    assert event == core.StageSubmitted(OURS, 1_000)


def test_a_completed_stage_says_when_and_why_it_failed() -> None:
    assert stage_event(spark.StageCompleted(STAGE)) == core.StageCompleted(OURS, 5_000, "lost")


def test_a_job_names_its_stages_and_only_edges_between_them() -> None:
    parent = spark.StageInfo(1, 0, "map", 2, rdd_ids=(4,))
    event = stage_event(spark.JobStart(5, 77, (parent, STAGE)))
    assert event == core.JobStarted(
        5,
        (core.StageInfo(1, 4, 2, 0, (), "map"), core.StageInfo(3, 9, 8, 1, (1,), STAGE.name, 4)),
        77,
    )


def test_a_job_ends() -> None:
    ended = stage_event(spark.JobEnd(5, 99, succeeded=False))
    assert ended == core.JobEnded(5, succeeded=False, time_ms=99)


@pytest.mark.parametrize(
    ("succeeded", "failed", "duration_ms", "told"),
    [(4, 0, 400, 400), (3, 1, 400, 300), (0, 2, 400, None), (0, 0, 0, None)],
)
def test_only_tasks_that_succeeded_count(
    succeeded: int, failed: int, duration_ms: int, told: int | None
) -> None:
    event = stage_event(spark.TaskProgress(3, 1, succeeded, failed, duration_ms))
    assert event == (None if told is None else core.MoreTasksEnded(3, 1, succeeded, told))


def test_a_task_of_an_event_log_counts_once_it_succeeded() -> None:
    task: dict[str, Any] = {
        "stage_id": 3,
        "attempt": 0,
        "task_id": 1,
        "index": 0,
        "executor_id": "1",
        "launch_ms": 100,
        "finish_ms": 350,
    }
    assert stage_event(spark.TaskEnd(**task, reason="Success")) == core.MoreTasksEnded(3, 0, 1, 250)
    assert stage_event(spark.TaskEnd(**task, reason="TaskKilled")) is None


def test_what_is_not_about_stages_says_nothing() -> None:
    others = [
        spark.LogStart("4.0.0"),
        spark.ApplicationStart("app", "etl", 1),
        spark.ApplicationEnd(1),
        spark.ExecutorAdded("1", 1, "host", 4),
        spark.ExecutorRemoved("1", 1),
        spark.ProfileAdded(1),
    ]
    assert stage_events(others) == ([], 0)


def test_nonsense_is_left_out_and_counted() -> None:
    wrong = [
        spark.JobEnd(-1, 5, succeeded=True),
        spark.TaskProgress(1, 0, -2, 0),
        spark.TaskProgress(1, 0, 2, -1),
        spark.TaskProgress(1, 0, 2, 0, -7),
        spark.StageSubmitted(msgspec.structs.replace(STAGE, tasks=-3)),
        spark.JobStart(1, 5, (msgspec.structs.replace(STAGE, attempt=-1),)),
        spark.StageSubmitted(msgspec.structs.replace(STAGE, tasks=10**400)),
        spark.TaskProgress(1, 0, 10**400, 0, 10**400),
        spark.TaskProgress(1, 0, 1, 10**400, 10**400),
    ]
    right = spark.JobEnd(1, 5, succeeded=True)
    events, nonsense = stage_events([*wrong, right])
    assert events == [core.JobEnded(1, succeeded=True, time_ms=5)]
    assert nonsense == len(wrong)


def test_nonsense_says_which_number_is_wrong() -> None:
    with pytest.raises(Nonsense, match=r"JobEnded\.job_id must be"):
        stage_event(spark.JobEnd(-1, 5, succeeded=True))


def test_portions_keep_the_order_and_leave_nothing_out() -> None:
    stages = tuple(core.StageInfo(n, n, 1) for n in range(1_200))
    events: list[core.StageEvent] = [core.JobEnded(n) for n in range(1_200)]
    events[700:700] = [core.JobStarted(0, stages), core.JobStarted(1, stages[:100])]
    portions = list(slices(events))
    assert [event for portion in portions for event in portion] == events
    assert [len(portion) for portion in portions] == [500, 200, 1, 400, 101]
    assert list(slices([])) == [()], "a sign of life"


def test_texts_and_parents_are_cut() -> None:
    parents = tuple(range(2 * MOST_PARENTS))
    long = spark.StageInfo(9_999, 0, "n" * 10_000, 1, parents, failure="f" * 10_000)
    event = stage_event(spark.StageCompleted(long))
    assert isinstance(event, core.StageCompleted)
    assert len(event.stage.parents) == MOST_PARENTS
    assert len(event.stage.name) == len(event.failure) == 200


NUMBERS = st.integers(-5, 20) | st.integers(-(2**63), 2**63 - 1)
STAGES = st.builds(
    spark.StageInfo,
    stage_id=NUMBERS,
    attempt=NUMBERS,
    name=st.text(max_size=5),
    tasks=NUMBERS,
    parent_ids=st.lists(NUMBERS, max_size=4).map(tuple),
    rdd_ids=st.lists(NUMBERS, max_size=4).map(tuple),
    submitted_ms=st.none() | NUMBERS,
    completed_ms=st.none() | NUMBERS,
    failure=st.sampled_from(["", "lost"]),
)
UPDATES = st.lists(
    st.one_of(
        st.builds(
            spark.JobStart, job_id=NUMBERS, time_ms=NUMBERS, stages=st.lists(STAGES, max_size=4).map(tuple)
        ),
        st.builds(spark.JobEnd, job_id=NUMBERS, time_ms=NUMBERS, succeeded=st.booleans()),
        st.builds(spark.StageSubmitted, stage=STAGES),
        st.builds(spark.StageCompleted, stage=STAGES),
        st.builds(
            spark.TaskProgress,
            stage_id=NUMBERS,
            attempt=NUMBERS,
            succeeded=NUMBERS,
            failed=NUMBERS,
            duration_ms=NUMBERS,
        ),
    ),
    max_size=20,
)


@given(UPDATES)
def test_whatever_a_driver_says_the_graph_takes_what_is_left(updates: list[Any]) -> None:
    events, nonsense = stage_events(updates)
    assert len(events) + nonsense <= len(updates)
    graph = StageGraph()
    graph.apply(events)
    assert set(graph.standings) == set(graph.stages)
