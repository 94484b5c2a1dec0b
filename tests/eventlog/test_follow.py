"""Logs followed while their drivers write: nothing lost, nothing twice, everything bounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.spark.eventlog import follow as follow_module
from extender.adapters.spark.eventlog.events import LogEvent
from extender.adapters.spark.eventlog.files import LogUnreadable
from extender.adapters.spark.eventlog.follow import LogDirectory, LogFollower, LogsFollower, Round
from extender.adapters.spark.eventlog.reader import EventLog, LineLimits
from extender.core.stages import events as core
from tests.eventlog.logs import END, Hand, frame, job, job_start, line, stage, standings, stepped, task

MEMORY = fsspec.filesystem("memory")


def told(events: Sequence[core.StageEvent]) -> tuple[list[core.StageEvent], dict[Any, core.TasksEnded]]:
    """What does not depend on the steps: all but totals in order, and the last total of each attempt."""
    totals = {(each.stage_id, each.attempt): each for each in events if isinstance(each, core.TasksEnded)}
    return [each for each in events if not isinstance(each, core.TasksEnded)], totals


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[bytes], bool]:
    """Bytes of the files of a log, and whether it is one of Spark 4 (rolling, frames of zstd)."""
    durations = st.lists(st.integers(0, 900), min_size=1, max_size=6)
    jobs = [job(number, draw(durations)) for number in range(draw(st.integers(1, 4)))]
    if not draw(st.booleans()):
        return [b"".join(part for each in jobs for part in each) + END], False
    files: list[bytes] = []
    for number, lines in enumerate(jobs):
        whole = b"".join(lines) + (END if number == len(jobs) - 1 else b"")
        cuts = sorted({0, len(whole), *draw(st.lists(st.integers(0, len(whole)), max_size=3))})
        files.append(b"".join(frame(whole[a:b]) for a, b in pairwise(cuts)))
    return files, True


@settings(max_examples=60, deadline=None)
@given(logs(), st.data())
def test_any_increments_give_what_the_whole_log_gives(log: tuple[list[bytes], bool], data: st.DataObject):
    files, rolling = log
    root = f"/{uuid4()}"
    base = f"{root}/eventlog_v2_a" if rolling else f"{root}/a"
    names = [f"{base}/events_{number}_a.zstd" for number in range(1, len(files) + 1)]
    names = names if rolling else [f"{base}.inprogress"]
    if rolling:
        MEMORY.pipe(f"{base}/appstatus_a.inprogress", b"")
    else:
        MEMORY.pipe(names[0], b"")
    raw, follower = EventLog(f"memory:/{base}"), LogFollower(f"memory:/{base}", step_bytes=500, step_events=3)
    seen: list[LogEvent] = []
    events: list[core.StageEvent] = []
    for name, content in zip(names, files, strict=True):
        cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
        for cut in [*cuts, len(content)]:
            MEMORY.pipe(name, content[:cut])
            seen += raw.read()
            events += stepped(follower) if data.draw(st.booleans()) else follower.step()
    old, new = (f"{base}/appstatus_a.inprogress", f"{base}/appstatus_a") if rolling else (names[0], base)
    MEMORY.mv(old, new)
    seen += raw.read()
    events += stepped(follower)
    events += stepped(follower)
    whole = list(EventLog(f"memory:/{base}").read())
    assert seen == whole
    assert follower.ended
    assert not follower.problem
    at_once = LogFollower(f"memory:/{base}")
    expected = at_once.step()
    assert told(events) == told(expected)
    assert standings(events) == standings(expected)
    MEMORY.rm(root, recursive=True)


def test_totals_may_be_heard_twice(tmp_path: Path):
    path = tmp_path / "app-1.inprogress"
    path.write_bytes(b"".join(job(0, [10, 20, 30])))
    first, again = LogFollower(str(path)).step(), LogFollower(str(path)).step()
    assert core.TasksEnded(0, 0, 3, 60) in first
    assert standings(first) == standings([*first, *again])


@pytest.mark.parametrize("packed", [False, True])
def test_no_byte_of_a_log_that_grows_is_read_twice(tmp_path: Path, packed: bool):
    path = tmp_path / "app-1.inprogress"
    path.touch()
    counted: list[int] = []
    log = EventLog(str(path), advance=counted.append)
    for number in range(10):
        data = b"".join(job(number, [10] * 50))
        with path.open("ab") as file:
            file.write(frame(data) if packed else data)
        assert list(log.read())
        assert sum(counted) == path.stat().st_size


def test_a_step_stops_at_its_limits(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(b"".join(task(0, number, 1) for number in range(3_000)))
    follower = LogFollower(str(path), step_events=1_000)
    assert [follower.step() for _ in range(3)] == [[core.TasksEnded(0, 0, n, n)] for n in (1000, 2000, 3000)]
    assert follower.behind
    assert follower.step() == []
    assert (follower.behind, follower.ended) == (False, True)
    by_bytes = LogFollower(str(path), step_bytes=1)
    by_bytes.step()
    assert by_bytes.behind
    assert stepped(by_bytes)[-1] == core.TasksEnded(0, 0, 3000, 3000)


def test_ignored_lines_alone_do_not_keep_a_step_going(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(line("Ignored", Plan="x" * 1000) * 2_000 + job_start(0, stage(0, 1)))
    follower = LogFollower(str(path), step_bytes=200_000)
    assert follower.step() == []
    assert follower.behind
    assert [type(each) for each in stepped(follower)] == [core.JobStarted]


def test_a_damaged_log_is_left(tmp_path: Path):
    path = tmp_path / "app-1.zstd"
    path.write_bytes(frame(b"".join(job(0, [10]))) + b"\x28\xb5\x2f\xfd damaged" * 9)
    follower = LogFollower(str(path))
    assert isinstance(follower.step()[0], core.JobStarted)
    assert follower.left
    assert "damaged" in follower.problem
    with path.open("ab") as file:
        file.write(frame(b"".join(job(0, [10]))))
    assert follower.step() == []
    assert "damaged" in follower.problem


def test_a_log_of_garbage_is_left(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(b"nothing\n" * 200)
    follower = LogFollower(str(path))
    assert follower.step() == []
    assert "200 lines that are no events" in follower.problem


def real_stage(stage_id: int, rdds: int) -> dict[str, Any]:
    """As large as Spark writes one, with a stack trace and all that it says of an RDD."""
    scope = json.dumps({"id": "24", "name": "WholeStageCodegen (1)"})
    level = {"Use Disk": False, "Use Memory": False, "Use Off Heap": False, "Replication": 1}
    rdd = {"Name": "MapPartitionsRDD", "Scope": scope, "Parent IDs": [16], "Storage Level": level}
    return {
        **stage(stage_id, 200),
        "RDD Info": [{"RDD ID": stage_id * rdds + number, **rdd} for number in range(rdds)],
        "Details": "org.apache.spark.sql.Dataset.collect(Dataset.scala:3631)\n" * 25,
        "Accumulables": [],
    }


def test_a_job_of_a_thousand_stages_is_read(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(job_start(0, *(real_stage(number, 20) for number in range(1_000))))
    assert path.stat().st_size > 4 << 20
    (started,) = LogFollower(str(path)).step()
    assert isinstance(started, core.JobStarted)
    assert len(started.stages) == 1_000


def test_a_job_of_more_stages_than_are_kept_is_passed_over(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(job_start(0, *({"Stage ID": n, "Number of Tasks": 1} for n in range(5_001))))
    assert stepped(LogFollower(str(path))) == []


def test_long_plans_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "app-1.inprogress"
    plan = line("SQLAdaptiveExecutionUpdate", Plan="x" * 2_000)
    monkeypatch.setattr(follow_module, "_LINE", LineLimits(bytes=1_000))
    path.write_bytes(frame(plan * 101 + b"".join(job(0, [10]))))
    follower = LogFollower(str(path))
    assert isinstance(stepped(follower)[0], core.JobStarted)
    assert not follower.left


def test_windows_that_take_much_memory_are_damage(tmp_path: Path):
    large = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(1, window_log=26)
    ).compressobj()
    (tmp_path / "app-1.zstd").write_bytes(large.compress(b"".join(job(0, [10]))) + large.flush())
    follower = LogFollower(str(tmp_path / "app-1.zstd"))
    follower.step()
    assert follower.left


def test_nonsense_is_passed_over_and_counted(tmp_path: Path):
    path = tmp_path / "app-1"
    path.write_bytes(job_start(-3) + b"".join(job(0, [10])))
    follower = LogFollower(str(path))
    assert follower.step()
    assert follower.nonsense == 1


# -- where logs lie --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "app_id"),
    [
        ("spark-1", "spark-1"),
        ("spark-1.inprogress", "spark-1"),
        ("spark-1.zstd.inprogress", "spark-1"),
        ("spark-1_2.zstd", "spark-1"),
        ("eventlog_v2_spark-1", "spark-1"),
        ("eventlog_v2_spark-1_1", "spark-1"),
        ("eventlog_v2_spark-1_1", "spark-1_1"),
        ("my_app_-1-", "My.App$:1/"),
    ],
)
def test_names_of_logs(tmp_path: Path, name: str, app_id: str):
    (tmp_path / name).touch()
    for other in ("spark-11", "spark-", "eventlog_v2_spark-12", "x_spark-1", "spark-1_x"):
        (tmp_path / other).touch()
    assert LogDirectory(str(tmp_path)).find({app_id}) == {app_id: f"{tmp_path}/{name}"}


def test_the_latest_attempt_counts(tmp_path: Path):
    for name in ("a", "a_1", "a_2.inprogress", "eventlog_v2_a_10", "a_9"):
        (tmp_path / name).touch()
    assert LogDirectory(tmp_path.as_uri() + "/").find({"a", "b"}) == {
        "a": f"{tmp_path.as_uri()}/eventlog_v2_a_10"
    }


def test_a_directory_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(LogUnreadable, match="no such directory"):
        LogDirectory(str(tmp_path / "absent")).find({"a"})


# -- many logs -------------------------------------------------------------------------------------


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def follow(tmp_path: Path, hand: Hand) -> Callable[..., LogsFollower[str]]:
    return lambda **options: LogsFollower(LogDirectory(str(tmp_path)), hand, **options)


def told_of(done: Round[str]) -> list[str]:
    return [portion.key for portion in done.portions]


def test_logs_are_found_when_they_appear_and_dropped_when_unwanted(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    logs = follow()
    wanted = {"one": "spark-1", "two": "spark-2"}
    (tmp_path / "spark-1.inprogress").write_bytes(b"".join(job(0, [10])))
    first = logs.round(wanted)
    assert told_of(first) == ["one"]
    assert first.followed == {"one"}
    (tmp_path / "spark-2.inprogress").write_bytes(b"".join(job(0, [10])))
    assert logs.round(wanted).portions == []  # looked for a moment ago
    hand.now_s += 6.0
    assert told_of(logs.round(wanted)) == ["two"]
    assert logs.round({"two": "spark-2"}).followed == {"two"}
    assert told_of(logs.round(wanted)) == ["one"]  # from its beginning once more
    logs.close()


def test_an_application_of_another_id_has_another_log(
    tmp_path: Path, follow: Callable[..., LogsFollower[str]]
):
    write = {"spark-1": job(0, [10]), "spark-2": job(1, [10])}
    for app_id, lines in write.items():
        (tmp_path / f"{app_id}.inprogress").write_bytes(b"".join(lines))
    logs = follow()
    for number, app_id in enumerate(write):
        (portion,) = logs.round({"one": app_id}).portions
        first = portion.events[0]
        assert isinstance(first, core.JobStarted)
        assert first.job_id == number


def test_absent_logs_are_looked_for_less_and_less_often(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]], monkeypatch: pytest.MonkeyPatch
):
    looks: list[float] = []
    monkeypatch.setattr(LogDirectory, "find", lambda *_: looks.append(hand.now_s) or {})
    logs = follow()
    for _ in range(3_600):
        logs.round({"one": "spark-1"})
        hand.now_s += 1.0
    pauses_s = [b - a for a, b in pairwise(looks)]
    assert pauses_s[:24] == [5.0] * 24
    assert pauses_s[24:] == sorted(pauses_s[24:])
    assert max(pauses_s) == 300.0


def test_a_directory_that_fails_is_said_and_comes_back(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]], monkeypatch: pytest.MonkeyPatch
):
    class Strange(Exception):
        """No OSError, as clients of object stores raise."""

    def fail(*_: object) -> Any:
        raise Strange("503 slow down")

    logs = follow()
    with monkeypatch.context() as patch:
        patch.setattr(LogDirectory, "find", fail)
        assert logs.round({"one": "spark-1"}).directory_problem == "503 slow down"
    (tmp_path / "spark-1").write_bytes(b"".join(job(0, [10])))
    hand.now_s += 6.0
    done = logs.round({"one": "spark-1"})
    assert (done.directory_problem, done.followed) == ("", {"one"})


def test_a_log_that_cannot_be_read_is_tried_again_and_loses_nothing(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    path = tmp_path / "spark-1.inprogress"
    path.write_bytes(job_start(0, stage(0, 2)) + task(0, 0, 5))
    logs = follow()
    wanted = {"one": "spark-1"}
    events = list(logs.round(wanted).portions[0].events)
    hidden = path.rename(tmp_path / "elsewhere")
    done = logs.round(wanted)
    assert "no such event log" in done.problems["one"]
    assert done.followed == set()
    hidden.rename(path)
    with path.open("ab") as file:
        file.write(task(0, 1, 5))
    assert logs.round(wanted).portions == []  # not so soon
    hand.now_s += 6.0
    done = logs.round(wanted)
    assert done.problems == {}
    assert standings([*events, *done.portions[0].events]) == standings(LogFollower(str(path)).step())


def test_nothing_new_is_calm_only_where_what_is_flushed_is_seen(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    wanted = {"one": "spark-1"}
    content = b"".join(job(0, [10]))
    (tmp_path / "spark-1.inprogress").write_bytes(content)
    logs = follow()
    assert (logs.round(wanted).calm, logs.round(wanted).calm) == (set(), {"one"})
    (tmp_path / "spark-1.inprogress").unlink()
    assert logs.round(wanted).calm == set()
    root = f"memory://{uuid4()}"
    MEMORY.pipe(f"{root}/spark-1.inprogress", content)
    late = LogsFollower[str](LogDirectory(root), hand)
    assert [late.round(wanted).calm for _ in range(3)] == [set()] * 3
    assert late.round(wanted).followed == {"one"}
    MEMORY.rm(root, recursive=True)


def test_a_log_that_was_not_looked_at_in_a_round_is_not_calm(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    wanted = {str(number): f"spark-{number}" for number in range(4)}
    for app_id in wanted.values():
        (tmp_path / f"{app_id}.inprogress").write_bytes(b"".join(job(0, [10])))

    def step(self: LogFollower) -> list[core.StageEvent]:
        hand.now_s += 1.0
        return []

    logs = follow(round_s=2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LogFollower, "step", step)
        assert [logs.round(wanted).calm for _ in range(2)] == [{"0", "1"}, {"2", "3"}]


def test_a_log_of_which_much_is_unread_is_not_calm(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    ignored = line("Ignored", Plan="x" * 1_000)
    (tmp_path / "spark-1.inprogress").write_bytes(ignored * 20_000)

    def breathe() -> None:
        hand.now_s += 0.01  # every piece of the file

    logs = follow(breathe=breathe, round_s=1.0)
    first = logs.round({"one": "spark-1"})
    assert (first.behind, first.portions, first.calm) == (True, [], set())
    while (done := logs.round({"one": "spark-1"})).behind:
        pass
    assert done.calm == {"one"}


def test_a_round_ends_in_time_and_the_next_begins_where_it_ended(
    tmp_path: Path, hand: Hand, follow: Callable[..., LogsFollower[str]]
):
    wanted = {str(number): f"spark-{number}" for number in range(6)}
    for app_id in wanted.values():
        (tmp_path / f"{app_id}.inprogress").write_bytes(b"".join(job(0, [10])))

    def breathe() -> None:
        hand.now_s += 1.0  # every piece of a file takes a second

    logs = follow(breathe=breathe, round_s=2.0)
    rounds = [logs.round(wanted) for _ in range(3)]
    assert [told_of(each) for each in rounds] == [["0", "1"], ["2", "3"], ["4", "5"]]
    assert rounds[0].behind
    logs.close()
