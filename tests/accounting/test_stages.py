"""Energy of stages: an application's energy within each cell of time, split by task time."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.export import write_csv
from extender.adapters.accounting.kpis import Report, collect
from extender.adapters.accounting.ledger import Ledger
from extender.adapters.accounting.page import render
from extender.adapters.accounting.report import By, plain, print_report
from extender.adapters.accounting.stages import StageTasks, TaskTime
from extender.core.events import PodSeen, StagesReported
from extender.core.stages.events import (
    JobStarted,
    MoreTasksEnded,
    StageCompleted,
    StageEvent,
    StageInfo,
    StageSubmitted,
    TasksEnded,
)
from tests.accounting import builders as b

SCAN = StageInfo(3, 30, 10, name="scan")
JOIN = StageInfo(4, 40, 4, parents=(3,), name="join")
JOB = JobStarted(0, (SCAN, JOIN))


def heard(tasks: StageTasks, *events: StageEvent, now: float) -> list[TaskTime]:
    return tasks.hear(events, now)


# -- task times ------------------------------------------------------------------------------------


def test_tasks_that_ended_since_the_last_report_began_that_much_earlier() -> None:
    tasks = StageTasks()
    assert heard(tasks, JOB, now=100) == []
    assert heard(tasks, MoreTasksEnded(3, 0, 2, 8000), now=110) == [TaskTime("30", "scan", 106, 110, 8)]
    assert heard(tasks, MoreTasksEnded(3, 0, 3, 6000), now=120) == [TaskTime("30", "scan", 108, 120, 6)]


def test_a_stage_that_is_told_afterwards_is_placed_where_it_ran() -> None:
    tasks = StageTasks()
    events = (JOB, StageSubmitted(SCAN, 100_000), TasksEnded(3, 0, 10, 50_000), StageCompleted(SCAN, 130_000))
    assert heard(tasks, *events, now=900) == [TaskTime("30", "scan", 100, 130, 50)]


def test_attempts_and_copies_of_a_stage_are_one() -> None:
    tasks = StageTasks()
    copy = StageInfo(9, 30, 10, name="scan")
    times = heard(tasks, JOB, JobStarted(1, (copy,)), MoreTasksEnded(9, 0, 1, 1000), now=10)
    times += heard(tasks, MoreTasksEnded(3, 1, 1, 2000), now=10)
    assert [(each.stage, each.task_s) for each in times] == [("30", 1), ("30", 2)]


def test_two_sources_that_tell_the_same_count_once() -> None:
    tasks = StageTasks()
    heard(tasks, JOB, now=0)
    times = heard(tasks, MoreTasksEnded(3, 0, 5, 5000), now=10)
    times += heard(tasks, TasksEnded(3, 0, 4, 4000), now=11)
    times += heard(tasks, TasksEnded(3, 0, 6, 6500), now=12)
    times += heard(tasks, TasksEnded(3, 0, 6, 6500), now=13)
    assert sum(each.task_s for each in times) == 6.5


def test_tasks_of_a_stage_nobody_named_yet_wait_for_its_name() -> None:
    tasks = StageTasks()
    assert heard(tasks, MoreTasksEnded(3, 0, 1, 1000), now=10) == []
    (time,) = heard(tasks, JOB, now=20)
    assert (time.stage, time.task_s) == ("30", 1)


@given(st.data())
def test_in_any_order_all_task_time_counts_once(data: st.DataObject) -> None:
    reports = data.draw(
        st.lists(st.tuples(st.sampled_from([3, 4]), st.integers(1, 5), st.integers(0, 9999)), max_size=12)
    )
    events: list[StageEvent] = [MoreTasksEnded(stage, 0, n, ms) for stage, n, ms in reports]
    events += [JOB, StageSubmitted(SCAN, 90_000), StageCompleted(JOIN, 150_000)]
    random.Random(data.draw(st.integers())).shuffle(events)
    tasks, now, found = StageTasks(), 100.0, defaultdict(float)
    while events:
        now += data.draw(st.floats(0, 50))
        count = data.draw(st.integers(1, len(events)))
        for time in heard(tasks, *events[:count], now=now):
            assert time.start_s < time.end_s <= now
            found[time.stage] += time.task_s
        del events[:count]
    wanted = {
        "30": sum(ms for s, _, ms in reports if s == 3),
        "40": sum(ms for s, _, ms in reports if s == 4),
    }
    assert {key: found[key] for key in wanted} == pytest.approx({k: ms / 1000 for k, ms in wanted.items()})


# -- energy ----------------------------------------------------------------------------------------


async def booked(ledger: Ledger, *reports: tuple[float, tuple[StageEvent, ...]], until_s: float) -> Report:
    """A worker of 50 W runs from 0 on; its application reports."""
    books = b.accountant(ledger)
    books.intensity("DE", 360.0, 0)
    books.intensity("DE", Missing("stale"), 900)
    b.feed(books, [(event, 0.0) for event in b.lists(b.node())])
    b.feed(books, [(PodSeen(b.pod("w1", "n1")), 0.0), (PodSeen(b.pod("x", app=None, where="n1")), 0.0)])
    for at_s, events in reports:
        books.apply(StagesReported(b.APP, events), at_s)
        await books.flush(at_s)
    await books.flush(until_s)
    books.close(until_s)
    return collect(ledger, 0, until_s + 300)


def wh(report: Report) -> dict[str, float]:
    """Watt-seconds by stage."""
    return {each.stage: round(3.6e6 * each.energy_kwh, 6) for each in report.stages}


async def test_energy_is_split_by_task_time_and_grams_follow_the_hour(ledger: Ledger) -> None:
    scan = (JOB, StageSubmitted(SCAN, 300_000), MoreTasksEnded(3, 0, 10, 450_000))
    scan = (*scan, StageCompleted(SCAN, 600_000))
    both = (StageSubmitted(JOIN, 600_000), MoreTasksEnded(4, 0, 4, 600_000))
    both = (*both, StageCompleted(JOIN, 1_200_000))
    again = (MoreTasksEnded(3, 1, 1, 900_000), StageSubmitted(StageInfo(3, 30, 1, 1, name="scan"), 900_000))
    report = await booked(ledger, (600, scan), (1200, (*both, *again)), until_s=1500)
    # 50 W: nothing before 300; scan until 600; join until 900; then join 300 s and scan 900 s until 1200.
    assert wh(report) == {"30": 15000 + 0.75 * 15000, "40": 15000 + 0.25 * 15000, "": 30000}
    found = {each.stage: each for each in report.stages}
    assert (found["30"].name, found[""].name) == ("scan", "")
    assert found["30"].carbon_g == pytest.approx(15000 / 3.6e6 * 360), "the rest was at an unknown intensity"
    assert found["30"].unknown_kwh == pytest.approx(0.75 * 15000 / 3.6e6)
    assert found["40"].task_s == pytest.approx(600)
    total = sum(each.energy_kwh for each in report.stages)
    (application,) = report.applications
    assert total == pytest.approx(application.energy_kwh)


async def test_reports_of_nobody_are_nobodys(ledger: Ledger) -> None:
    report = await booked(ledger, until_s=600)
    assert report.stages == []
    books = b.accountant(ledger)
    b.feed(books, [(event, 700.0) for event in b.lists(b.node())])
    books.apply(StagesReported(b.APP, (JOB, MoreTasksEnded(3, 0, 1, 1000))), 800)
    await books.flush(900)
    assert list(ledger.select("SELECT * FROM stages")) == []


async def test_a_log_that_is_read_again_after_a_restart_counts_once(ledger: Ledger) -> None:
    events = (JOB, StageSubmitted(SCAN, 100_000), TasksEnded(3, 0, 10, 50_000), StageCompleted(SCAN, 200_000))
    await booked(ledger, (250, events), until_s=300)
    books = b.accountant(ledger)
    b.feed(books, [(event, 310.0) for event in b.lists(b.node(), b.pod("w1", "n1"))])
    books.apply(StagesReported(b.APP, events), 320)
    books.apply(StagesReported(b.APP, (StageSubmitted(JOIN, 310_000), TasksEnded(4, 0, 1, 5_000))), 330)
    await books.flush(400)
    rows = list(ledger.select("SELECT stage, SUM(task_s) FROM stages GROUP BY stage ORDER BY stage"))
    assert rows == [("30", pytest.approx(50)), ("40", pytest.approx(5))]


async def test_stages_are_in_the_report_and_in_the_exports(ledger: Ledger, tmp_path: Path) -> None:
    events = (JOB, StageSubmitted(SCAN, 1_000), TasksEnded(3, 0, 10, 50_000), StageCompleted(SCAN, 200_000))
    report = await booked(ledger, (250, events), until_s=300)
    console = Console(width=150, record=True, file=(tmp_path / "out").open("w"))
    print_report(console, report, [By.STAGE])
    shown = console.export_text()
    console.file.close()
    assert "team/app" in shown
    assert "scan" in shown
    assert "scan" in render(report)
    assert plain(report)["stages"][0]["name"] == "scan"
    write_csv(ledger, tmp_path, 0, 300)
    header, row = (tmp_path / "stages.csv").read_text().splitlines()
    assert header == "cell,namespace,application,stage,name,task_s,energy_kwh,carbon_g,unknown_kwh"
    assert row.split(",")[1:5] == ["team", "app", "30", "scan"]
    assert float(row.split(",")[5]) == pytest.approx(50)
