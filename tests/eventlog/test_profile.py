"""Profiles of applications: what is measured, what is modelled, what is drawn."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from extender.adapters.spark.eventlog.events import (
    ApplicationEnd,
    ApplicationStart,
    ExecutorAdded,
    ExecutorRemoved,
    JobEnd,
    JobStart,
    LogEvent,
    StageCompleted,
    StageInfo,
    StageSubmitted,
    TaskEnd,
    TaskStart,
)
from extender.adapters.spark.eventlog.picture import draw
from extender.adapters.spark.eventlog.profiler import Profiler
from extender.adapters.spark.eventlog.reader import Counts
from extender.adapters.spark.eventlog.width import width_response
from extender.adapters.spark.eventlog.workload import Profile, StageProfile, Workload
from extender.cli import app
from tests.cases import case_path


def info(stage_id: int, key: int, tasks: int, *parents: int, at_ms: int | None = None) -> StageInfo:
    return StageInfo(stage_id, 0, f"stage {key}", tasks, parents, (key, 0), submitted_ms=at_ms)


def run_stage(stage: StageInfo, durations_ms: list[int], start_ms: int, slots: int) -> list[LogEvent]:
    """Events of a stage whose tasks run on executor 1, `slots` at once."""
    free = [start_ms] * slots
    starts: list[TaskStart] = []
    ends: list[TaskEnd] = []
    for index, duration_ms in enumerate(durations_ms):
        begin_ms = min(free)
        free[free.index(begin_ms)] = begin_ms + duration_ms
        task = (stage.stage_id, 0, stage.stage_id * 1000 + index, index, "1", begin_ms)
        starts.append(TaskStart(*task))
        ends.append(TaskEnd(*task, begin_ms + duration_ms, "Success", shuffle_write_bytes=10))
    ordered = sorted([*starts, *ends], key=lambda event: getattr(event, "finish_ms", event.launch_ms))
    done = msgspec.structs.replace(stage, submitted_ms=start_ms, completed_ms=max(free))
    return [StageSubmitted(done), *ordered, StageCompleted(done)]


def profiled(*events: LogEvent) -> Workload:
    profiler = Profiler(random.Random(0))
    for event in events:
        profiler.take(event)
    return profiler.workload(Counts())


START = (ApplicationStart("spark-1", "a job", 0), ExecutorAdded("1", 0, "host", 2))


def by_key(workload: Workload) -> dict[int, StageProfile]:
    return {stage.key: stage for stage in workload.stages}


def test_waves_are_told_apart_by_launch_even_if_a_later_one_ends_first() -> None:
    stage = info(0, 5, 4)
    tasks = run_stage(stage, [1000, 100, 50, 60], 0, slots=2)
    profile = by_key(profiled(*START, JobStart(0, 0, (stage,)), *tasks))[5]
    assert profile.first_wave.quantiles_s[0] == pytest.approx(0.1)
    assert profile.first_wave.quantiles_s[-1] == pytest.approx(1.0)
    assert profile.later_waves.mean_s == pytest.approx(0.055)
    assert profile.shuffle_write_bytes == 40


def test_copies_of_one_shuffle_are_one_stage() -> None:
    first, copy, second = info(0, 5, 1), info(1, 5, 1), info(2, 9, 1, 1)
    stages = by_key(
        profiled(
            *START,
            JobStart(0, 0, (first,)),
            *run_stage(first, [100], 0, 2),
            JobEnd(0, 100, True),
            JobStart(1, 200, (copy, second)),
            *run_stage(second, [100], 200, 2),
            JobEnd(1, 300, True),
        )
    )
    assert sorted(stages) == [5, 9]
    assert (stages[5].runs, stages[5].skipped, stages[5].jobs) == (1, 1, (0, 1))
    assert stages[9].parents == (5,)


def test_failed_tasks_are_no_durations() -> None:
    stage = info(0, 5, 1)
    lost = TaskEnd(0, 0, 7, 0, "1", 0, 900, "ExecutorLostFailure")
    profile = by_key(profiled(*START, JobStart(0, 0, (stage,)), StageSubmitted(stage), lost))[5]
    assert (profile.failed, profile.first_wave.count, profile.later_waves.count) == (1, 0, 0)


def test_observed_width_follows_executors() -> None:
    workload = profiled(
        *START,
        ExecutorAdded("2", 1000, "host", 2),
        ExecutorRemoved("2", 4000),
        ApplicationEnd(10_000),
    )
    assert [(width.executors, width.time_s) for width in workload.observed_width] == [(1, 7.0), (2, 3.0)]
    assert workload.complete


def test_one_stage_of_equal_tasks_scales_until_the_tasks_run_out() -> None:
    stage = info(0, 5, 8)
    workload = profiled(*START, JobStart(0, 0, (stage,)), *run_stage(stage, [1000] * 8, 0, slots=2))
    widths = width_response(workload.stages, 2, (1, 2, 4, 8))
    assert [width.runtime_s for width in widths] == pytest.approx([4, 2, 1, 1])
    assert [width.utilization for width in widths] == pytest.approx([1, 1, 1, 0.5])


def test_jobs_that_the_driver_ran_one_after_the_other_stay_so() -> None:
    first, second = info(0, 5, 2), info(1, 9, 2)
    workload = profiled(
        *START,
        JobStart(0, 0, (first,)),
        *run_stage(first, [1000] * 2, 0, 2),
        JobEnd(0, 1000, True),
        JobStart(1, 1000, (second,)),
        *run_stage(second, [1000] * 2, 1000, 2),
        JobEnd(1, 2000, True),
    )
    assert width_response(workload.stages, 2, (8,))[0].runtime_s == pytest.approx(2.0)


@given(st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=30), min_size=1, max_size=5))
def test_width_response_obeys_the_bounds_of_any_schedule(stages: list[list[int]]) -> None:
    events: list[LogEvent] = []
    at_ms = 0
    for number, durations_ms in enumerate(stages):
        stage = info(number, number + 1, len(durations_ms))
        events += [JobStart(number, at_ms, (stage,)), *run_stage(stage, durations_ms, at_ms, 2)]
        at_ms += sum(durations_ms)
        events.append(JobEnd(number, at_ms, True))
    for width in profiled(*START, *events).width_response:
        assert 0 < width.utilization <= 1 + 1e-9
        assert width.runtime_s > 0


@given(st.permutations(range(12)))
def test_events_in_any_order_or_missing_are_no_error(order: list[int]) -> None:
    stage, child = info(0, 5, 2, at_ms=5), info(1, 9, 1, 0, at_ms=9)
    events: list[LogEvent] = [
        *START,
        JobStart(0, 0, (stage, child)),
        *run_stage(stage, [10, 20], 0, 2),
        JobEnd(0, 90, True),
        ApplicationEnd(100),
        ExecutorRemoved("1", 95),
    ]
    assert len(events) == 12
    for cut in (12, 7, 3):
        msgspec.json.encode(profiled(*(events[index] for index in order[:cut])))


def test_pictures_of_empty_and_wide_applications(tmp_path: Path) -> None:
    draw(profiled(), tmp_path / "empty.svg")
    draw(profiled(ApplicationStart("spark-1", "costs $x_{ of $", 0)), tmp_path / "named.svg")
    events: list[LogEvent] = list(START)
    for number in range(60):
        stage = info(number, number + 1, 1)
        events += [JobStart(number, number, (stage,)), *run_stage(stage, [50 + number], number, 2)]
    draw(profiled(*events, ApplicationEnd(500)), tmp_path / "wide.svg")
    assert "20 shorter stages not drawn" in (tmp_path / "wide.svg").read_text()


def test_the_command_writes_description_and_picture(tmp_path: Path) -> None:
    log = case_path("spark-captures/eventlog-trimmed-3.5.9-sql-aqe-true.jsonl")
    output, picture = tmp_path / "profile.json", tmp_path / "picture.svg"
    arguments = ["profile", str(log), "--output", str(output), "--picture", str(picture)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    profile = msgspec.json.decode(output.read_bytes(), type=Profile)
    (workload,) = profile.workloads
    assert {stage.key: stage.parents for stage in workload.stages} == {
        3: (),
        7: (),
        16: (3, 7),
        17: (3, 7),
        20: (17,),
    }
    assert sum(stage.runs for stage in workload.stages) == 5
    assert sum(stage.skipped for stage in workload.stages) == 7
    assert "<svg" in picture.read_text()


def logged(event: str, **fields: object) -> str:
    named = {name.replace("_", " "): value for name, value in fields.items()}
    return json.dumps({"Event": f"SparkListener{event}", **named}) + "\n"


def test_a_log_that_cannot_be_read_keeps_no_other_one_from_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "logs"
    directory.mkdir()
    good = logged("ApplicationStart", App_Name="good", Timestamp=5000, App_ID="app-1")
    (directory / "app-1").write_text(good)
    (directory / "app-2.inprogress").touch()
    (directory / "app-3.lz4").touch()
    (directory / "app-[bold]").write_text(good + "no event\n")
    done = CliRunner().invoke(app, ["profile", "logs", "absent", "logs/app-1", "--output", "profile.json"])
    assert done.exit_code == 0, done.output
    profile = msgspec.json.decode(Path("profile.json").read_bytes(), type=Profile)
    assert [each.name for each in profile.workloads] == ["good", "good"]
    for words in (
        "left out: logs/app-2.inprogress: no events of Spark",
        "left out: logs/app-3.lz4: compressed with lz4",
        "left out: absent: no such event log",
        "logs/app-[bold]: 1 lines that are no events",
    ):
        assert words in done.stderr
    assert any(line.startswith("app-[bold] ") for line in done.stderr.splitlines()), "as in the progress bar"
    (directory / "app-1").unlink()
    (directory / "app-[bold]").unlink()
    none = CliRunner().invoke(app, ["profile", "logs", "absent"])
    assert none.exit_code == 2
    assert "app-2.inprogress" in none.output
    assert "absent" in none.output


def test_a_log_without_its_beginning_counts_from_its_first_event() -> None:
    stage = info(0, 5, 2, at_ms=1_700_000_001_000)
    begun = JobStart(0, 1_700_000_000_000, (stage,))
    workload = profiled(begun, *run_stage(stage, [1000, 1000], 1_700_000_001_000, 1))
    assert workload.started_ms == 1_700_000_000_000
    assert workload.duration_s == pytest.approx(3.0)
    (found,) = workload.stages
    assert found.submitted_s == pytest.approx(1.0)


def test_numbers_that_no_machine_has_take_neither_memory_nor_time() -> None:
    stage = info(0, 5, 2**31 - 1)
    workload = profiled(
        ApplicationStart("spark-1", "", 0),
        ExecutorAdded("1", 0, "host", 2**31 - 1),
        JobStart(0, 0, (stage,)),
        *run_stage(stage, [1000], 0, 1),
    )
    assert workload.slots_per_executor == 2**31 - 1
    assert workload.width_response[-1].runtime_s > 0


@pytest.mark.parametrize(
    "event",
    [
        ApplicationStart("spark-1", "", -1),
        ExecutorAdded("1", 0, "host", 2**40),
        ExecutorAdded("1", 2**62, "host", 1),
        JobStart(0, 0, (info(0, 5, -4),)),
        JobStart(0, 0, (info(0, 2**70, 1),)),
        JobStart(2**70, 0, ()),
        StageSubmitted(info(0, 5, 1, at_ms=2**62)),
        TaskStart(0, 0, 1, 0, "1", -(10**15)),
        TaskEnd(0, 0, 1, 0, "1", 0, 2**62, "Success"),
        ApplicationEnd(2**62),
    ],
)
def test_an_event_that_cannot_be_true_is_passed_over_and_counted(event: LogEvent) -> None:
    odd, plain = profiled(*START, event), profiled(*START)
    assert odd.counts.nonsense == 1
    assert msgspec.structs.replace(odd, counts=Counts()) == plain


def test_sums_fit_the_file() -> None:
    stage = info(0, 5, 3)
    huge = {"spilled_bytes": 2**80, "gc_ms": 2**80, "input_bytes": -5}
    ends = [TaskEnd(0, 0, number, number, "1", 0, 9, "Success", **huge) for number in range(3)]
    workload = profiled(*START, JobStart(0, 0, (stage,)), *ends)
    assert workload.stages[0].spilled_bytes == 2**63 - 1
    assert workload.stages[0].input_bytes == 0
    assert msgspec.json.decode(msgspec.json.encode(workload), type=Workload) == workload


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent"], "no such event log"),
        (["app-1"], "is it an event log"),
        (["app-1", "--picture", "x.jpeg"], "must end in .svg"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("app-1").write_text(json.dumps({"no": "event"}))
    done = CliRunner().invoke(app, ["profile", *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_a_picture_without_matplotlib_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(app, ["profile", str(tmp_path), "--picture", str(tmp_path / "x.svg")])
    assert done.exit_code == 2
    assert "pip install 'carbon-scheduler[plots]'" in done.output
