"""Another log in the place of the one that is followed: a driver's next SparkContext, as a rule."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from extender.adapters.spark.eventlog import reader
from extender.adapters.spark.eventlog.events import JobEnd
from extender.adapters.spark.eventlog.follow import LogDirectory, LogFollower, LogsFollower, Round
from extender.adapters.spark.eventlog.reader import EventLog
from extender.core.stages import events as core
from tests.eventlog.logs import END, Hand, frame, job, job_start, line, stage, standings, stepped, task

APP = "spark-1"


def context(started_ms: int, *lines: bytes) -> bytes:
    """What a SparkContext writes: all begin in nearly the same way."""
    return b"".join(
        [
            line("LogStart", Spark_Version="4.1.0"),
            line("BlockManagerAdded", Timestamp=started_ms),
            line("ApplicationStart", App_Name="a", Timestamp=started_ms, App_ID=APP),
            *lines,
        ]
    )


FIRST = context(1000, *job(0, [10, 20]), *job(1, [10, 20]))
SHORT = context(2000, job_start(0, stage(0, 9)))
LONG = context(2000, *(each for number in range(9) for each in job(number, [30, 40])))
JUST_BEGUN = line("LogStart", Spark_Version="4.1.0")


def overwritten(directory: Path, data: bytes) -> None:
    (directory / f"{APP}.inprogress").write_bytes(data)


def replaced(directory: Path, data: bytes) -> None:
    (directory / "new").write_bytes(data)
    (directory / "new").rename(directory / f"{APP}.inprogress")


def after_the_end(directory: Path, data: bytes) -> None:
    """The first context was stopped, so that its log has another name now."""
    live = directory / f"{APP}.inprogress"
    live.rename(directory / APP)
    live.write_bytes(data)


@pytest.mark.parametrize("data", [SHORT, LONG, JUST_BEGUN], ids=["short", "long", "begun"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("write", [overwritten, replaced, after_the_end])
def test_another_log_under_the_same_name_is_read_from_its_beginning(
    tmp_path: Path, write: Callable[[Path, bytes], None], packed: bool, data: bytes
):
    pack = frame if packed else bytes
    live = tmp_path / f"{APP}.inprogress"
    live.write_bytes(pack(FIRST))
    follower = LogFollower(str(live))
    assert follower.step()
    assert not follower.restarted
    write(tmp_path, pack(data))
    events = follower.step()
    assert follower.restarted
    assert standings(events) == standings(LogFollower(str(live)).step())
    with live.open("ab") as file:
        file.write(pack(b"".join(job(50, [1]))))
    assert follower.step()
    assert not follower.restarted
    assert not follower.problem


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("parts", [0, 1, 3])
def test_another_rolling_log_is_read_from_its_beginning(tmp_path: Path, ended: bool, parts: int):
    log = tmp_path / f"eventlog_v2_{APP}"

    def roll(name: str, *files: bytes) -> None:
        shutil.rmtree(log, ignore_errors=True)
        log.mkdir()
        (log / name).touch()
        for number, data in enumerate(files, 1):
            (log / f"events_{number}_{APP}").write_bytes(data)

    live, over = f"appstatus_{APP}.inprogress", f"appstatus_{APP}"
    roll(over if ended else live, FIRST, b"".join(job(2, [10])), END if ended else b"")
    follower = LogFollower(str(log))
    assert follower.step()
    assert follower.ended == ended
    files = [LONG, b"".join(job(10, [10])), b"".join(job(11, [10]))][:parts]
    roll(live, *files)
    events = follower.step()
    assert follower.restarted
    assert not follower.ended
    assert standings(events) == standings(LogFollower(str(log)).step())


def test_a_log_that_lives_again_after_its_end_is_another(tmp_path: Path):
    (tmp_path / APP).write_bytes(FIRST + END)
    follower = LogFollower(f"{tmp_path / APP}.inprogress")
    told = follower.step()
    assert follower.ended
    (tmp_path / f"{APP}.inprogress").write_bytes(FIRST)  # begins like the one before
    assert follower.step() == told
    assert (follower.restarted, follower.ended) == (True, False)


def test_nothing_of_the_first_log_is_added_up_with_the_second(tmp_path: Path):
    live = tmp_path / f"{APP}.inprogress"
    live.write_bytes(context(1000, job_start(0, stage(0, 9)), task(0, 0, 100), task(0, 1, 100)))
    follower = LogFollower(str(live), step_events=4)
    stepped(follower)
    live.write_bytes(context(2000, job_start(0, stage(0, 9)), task(0, 0, 7)))
    assert stepped(follower)[-1] == core.TasksEnded(0, 0, 1, 7)


@pytest.mark.parametrize("problem", [b"nothing\n" * 200, FIRST + END], ids=["damaged", "ended"])
def test_a_log_that_is_not_read_any_more_is_looked_at_for_another(tmp_path: Path, problem: bytes):
    path = tmp_path / APP
    path.write_bytes(problem)
    follower = LogFollower(str(path))
    follower.step()
    assert follower.left or follower.ended
    assert follower.step() == []
    assert follower.left or follower.ended
    path.write_bytes(LONG)
    assert follower.step()
    assert follower.restarted
    assert not follower.left


def test_a_log_that_has_ended_and_was_cleared_away_is_no_problem(tmp_path: Path):
    path = tmp_path / APP
    path.write_bytes(FIRST + END)
    follower = LogFollower(str(path))
    assert follower.step()
    path.unlink()
    assert follower.step() == []
    assert (follower.ended, follower.problem) == (True, "")


def test_a_round_says_with_the_first_portion_that_it_is_another_log(tmp_path: Path):
    logs = LogsFollower(LogDirectory(str(tmp_path)), Hand())
    (tmp_path / APP).write_bytes(FIRST + END)

    def told() -> list[bool]:
        done: Round[str] = logs.round({"one": APP})
        assert done.followed == {"one"}
        return [portion.restarted for portion in done.portions]

    assert told() == [False]
    (tmp_path / f"{APP}.inprogress").write_bytes(JUST_BEGUN)
    assert told() == [True], "although it tells nothing yet"
    assert told() == []
    with (tmp_path / f"{APP}.inprogress").open("ab") as file:
        file.write(b"".join(job(0, [10])))
    assert told() == [False]


def test_an_unchanged_object_is_neither_opened_nor_compared(monkeypatch: pytest.MonkeyPatch):
    memory = fsspec.filesystem("memory")
    path = f"/{uuid4()}/{APP}.inprogress"
    memory.pipe(path, FIRST)
    opened: list[str] = []
    tag = "x"
    info = type(memory).info
    monkeypatch.setattr(type(memory), "info", lambda self, at: {**info(self, at), "ETag": tag})
    read = type(memory).open
    monkeypatch.setattr(
        type(memory), "open", lambda self, at, *a, **k: opened.append(at) or read(self, at, *a, **k)
    )
    compare = type(memory).cat_file
    monkeypatch.setattr(
        type(memory), "cat_file", lambda self, at, **k: opened.append(at) or compare(self, at, **k)
    )
    log = EventLog(f"memory:/{path}")
    assert list(log.read())
    before = len(opened)
    assert list(log.read()) == []
    assert len(opened) == before
    memory.pipe(path, FIRST + b"".join(job(9, [1])))
    tag = "y"
    assert list(log.read())
    assert log.restarts == 0
    memory.pipe(path, LONG)
    tag = "z"
    assert list(log.read())
    assert log.restarts == 1
    memory.rm(path)


def test_a_file_that_was_compacted_while_it_was_read_is_no_other_log(tmp_path: Path):
    log = tmp_path / f"eventlog_v2_{APP}"
    log.mkdir()
    (log / f"appstatus_{APP}.inprogress").touch()
    (log / f"events_1_{APP}").write_bytes(FIRST)
    events = EventLog(str(log))
    assert list(events.read(1))
    (log / f"events_1_{APP}").unlink()
    (log / f"events_1_{APP}.compact").write_bytes(context(1000, *job(7, [1])))
    (log / f"events_2_{APP}").write_bytes(b"".join(job(8, [1])))
    assert [each.job_id for each in events.read() if isinstance(each, JobEnd)] == [7, 8]
    assert events.restarts == 0


def test_the_beginning_that_is_compared_holds_the_start_times():
    assert 1000 < reader._HEAD_BYTES < 10_000  # pyright: ignore[reportPrivateUsage]
