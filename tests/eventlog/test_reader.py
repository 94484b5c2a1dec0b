"""Whole logs: files and rolling directories, live or ended, damaged or not."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.eventlog.events import ApplicationEnd, JobEnd, LogEvent
from extender.adapters.spark.eventlog.files import LogFiles, LogUnreadable, find_logs
from extender.adapters.spark.eventlog.reader import EventLog, LineLimits
from tests.cases import case_path

CAPTURE = "spark-captures/eventlog-trimmed-3.5.9-sql-aqe-true.jsonl"


def job_end(job_id: int) -> bytes:
    event = {"Event": "SparkListenerJobEnd", "Job ID": job_id, "Completion Time": 5}
    return json.dumps(event).encode() + b"\n"


END = b'{"Event": "SparkListenerApplicationEnd", "Timestamp": 9}\n'


def jobs(events: Iterator[LogEvent]) -> list[int]:
    return [event.job_id for event in events if isinstance(event, JobEnd)]


def frames(*pieces: bytes) -> bytes:
    """Each piece a zstd frame without its length, as Spark's output stream writes them."""
    out = io.BytesIO()
    for piece in pieces:
        with zstandard.ZstdCompressor().stream_writer(out, closefd=False) as writer:
            writer.write(piece)
    return out.getvalue()


def rolling(tmp_path: Path, *, live: bool = False) -> Path:
    log = tmp_path / "eventlog_v2_spark-1"
    log.mkdir()
    (log / ("appstatus_spark-1" + ".inprogress" * live)).touch()
    return log


def test_one_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "spark-1"
    path.write_bytes(b"".join(map(job_end, range(3))) + END)
    log = EventLog(str(path))
    assert jobs(log.read()) == [0, 1, 2]
    assert not log.live
    assert list(log.read()) == []
    assert (log.counts.lines, log.counts.events, log.counts.garbage) == (4, 4, 0)


def test_a_live_file_is_followed_through_half_lines_and_its_rename(tmp_path: Path) -> None:
    live = tmp_path / "spark-1.inprogress"
    live.write_bytes(job_end(0) + job_end(1)[:20])
    log = EventLog(str(tmp_path / "spark-1"))
    assert jobs(log.read()) == [0]
    assert log.live
    with live.open("ab") as file:
        file.write(job_end(1)[20:] + END)
    live.rename(tmp_path / "spark-1")
    assert jobs(log.read()) == [1]
    assert not log.live
    assert log.counts.garbage == 0


def test_an_application_that_said_its_end_does_not_live_until_its_log_is_renamed(tmp_path: Path) -> None:
    (tmp_path / "spark-1.inprogress").write_bytes(job_end(0) + END)
    log = EventLog(str(tmp_path / "spark-1"))
    for _ in range(2):
        list(log.read())
        assert not log.live


def test_a_killed_drivers_last_line_is_counted_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "app-1"
    path.write_bytes(job_end(0) + b"not json\n\n" + job_end(1) + job_end(2)[:-8])
    log = EventLog(str(path))
    assert jobs(log.read()) == [0, 1]
    assert log.counts.garbage == 2


def test_a_last_line_without_its_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "app-1"
    path.write_bytes(job_end(0) + job_end(1).rstrip())
    assert jobs(EventLog(str(path)).read()) == [0, 1]


def test_files_of_several_frames_in_numeric_order(tmp_path: Path) -> None:
    log = rolling(tmp_path)
    for index in (1, 2, 10):
        first, second = job_end(index * 10), job_end(index * 10 + 1)
        (log / f"events_{index}_spark-1.zstd").write_bytes(frames(first + second[:9], second[9:]))
    reader = EventLog(str(log))
    assert jobs(reader.read()) == [10, 11, 20, 21, 100, 101]
    assert reader.counts.broken_files == 0


def test_a_line_may_not_run_on_into_the_next_file(tmp_path: Path) -> None:
    log = rolling(tmp_path)
    (log / "events_1_spark-1").write_bytes(job_end(1)[:10])
    (log / "events_2_spark-1").write_bytes(job_end(2))
    reader = EventLog(str(log))
    assert jobs(reader.read()) == [2]
    assert reader.counts.garbage == 1


def test_a_live_directory_resumes_within_a_frame_and_goes_on_to_new_files(tmp_path: Path) -> None:
    log = rolling(tmp_path, live=True)
    data = frames(b"".join(map(job_end, range(5))), job_end(5))
    part = log / "events_1_spark-1.zstd"
    reader = EventLog(str(log))
    assert jobs(reader.read()) == []
    seen: list[int] = []
    for end in range(0, len(data) + 1, 7):
        part.write_bytes(data[:end])
        seen += jobs(reader.read())
    part.write_bytes(data)
    seen += jobs(reader.read())
    assert seen == [0, 1, 2, 3, 4, 5]
    (log / "events_2_spark-1.zstd").write_bytes(frames(job_end(6) + END))
    (log / "appstatus_spark-1.inprogress").rename(log / "appstatus_spark-1")
    assert jobs(reader.read()) == [6]
    assert (reader.live, reader.counts.broken_files, reader.counts.garbage) == (False, 0, 0)


def test_a_truncated_frame_gives_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "spark-1.zstd"
    whole = frames(job_end(0), b"".join(map(job_end, range(1, 400))))
    path.write_bytes(whole[:-3])
    log = EventLog(str(path))
    seen = jobs(log.read())
    assert seen == list(range(len(seen)))
    assert seen
    assert log.counts.broken_files == 1


def test_a_damaged_file_does_not_take_the_next_with_it(tmp_path: Path) -> None:
    log = rolling(tmp_path)
    (log / "events_1_spark-1.zstd").write_bytes(frames(job_end(1)) + b"\x28\xb5\x2f\xfd damaged")
    (log / "events_2_spark-1.zstd").write_bytes(frames(job_end(2)))
    reader = EventLog(str(log))
    assert jobs(reader.read()) == [1, 2]
    assert reader.counts.broken_files == 1


def test_a_compacted_file_stands_for_those_before(tmp_path: Path) -> None:
    log = rolling(tmp_path)
    for name, job_id in (("events_1_a", 1), ("events_2_a", 2), ("events_2_a.compact", 20), ("events_3_a", 3)):
        (log / name).write_bytes(job_end(job_id))
    assert jobs(EventLog(str(log)).read()) == [20, 3]


def test_a_line_beyond_the_limit_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "app-1"
    path.write_bytes(job_end(0) + b"x" * 5000 + b"\n" + job_end(1))
    log = EventLog(str(path), limits=LineLimits(bytes=1000))
    assert jobs(log.read()) == [0, 1]
    assert log.counts.too_long == 1


def test_a_long_line_that_nobody_uses_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "app-1"
    plan = json.dumps({"Event": "org.apache.spark.sql.SparkListenerSQLExecutionStart", "p": "x" * 5000})
    path.write_bytes(plan.encode() + b"\n" + job_end(1))
    log = EventLog(str(path), limits=LineLimits(bytes=1000))
    assert jobs(log.read()) == [1]
    assert (log.counts.too_long, log.counts.ignored, log.counts.lines) == (0, 1, 2)


@pytest.mark.parametrize("field", ['"RDD Info":[%s]', '"Parent IDs":[%s]'])
def test_a_dense_line_is_passed_over_whatever_it_is_full_of(tmp_path: Path, field: str) -> None:
    path = tmp_path / "app-1"
    item = '{"RDD ID":1}' if "RDD" in field else "1"
    stage = '{"Stage ID":1,"Number of Tasks":1,' + field % ",".join([item] * 60_000) + "}"
    start = '{"Event":"SparkListenerJobStart","Job ID":1,"Submission Time":1,"Stage Infos":[' + stage + "]}\n"
    path.write_bytes(start.encode() + job_end(1))
    tight = EventLog(str(path), limits=LineLimits(objects=50_000, values=50_000))
    assert len(list(tight.read())) == tight.counts.too_long == 1
    wide = EventLog(str(path), limits=LineLimits(objects=70_000, values=70_000))
    assert len(list(wide.read())) == 2


def test_a_small_file_of_endless_zeros_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "app-1.zstd"
    path.write_bytes(frames(b"\0" * (1 << 24), b"\n" + job_end(1)))
    log = EventLog(str(path), limits=LineLimits(bytes=1 << 20))
    assert jobs(log.read()) == [1]
    assert log.counts.too_long == 1


def test_any_fsspec_url(tmp_path: Path) -> None:
    url = f"memory://{uuid4()}/spark-7"
    with fsspec.open(url, "wb") as file:
        file.write(job_end(4) + END)  # type: ignore[union-attr]
    assert jobs(EventLog(url).read()) == [4]
    assert find_logs(url.removesuffix("/spark-7")) == [url]


def test_a_directory_of_logs_means_each_of_them(tmp_path: Path) -> None:
    log = rolling(tmp_path)
    (tmp_path / "app-1").touch()
    (tmp_path / "notes.txt").touch()
    assert find_logs(str(tmp_path)) == [str(tmp_path / "app-1"), str(log)]
    assert find_logs(str(log)) == [str(log)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absent", "no such event log"),
        ("app-1.lz4", "spark.eventLog.compression.codec=zstd"),
        ("empty", "give one"),
    ],
)
def test_what_cannot_be_read_is_said_with_what_to_do(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "app-1.lz4").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogUnreadable, match=words):
        list(EventLog(str(tmp_path / name)).read())


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "app-1")
    (tmp_path / "app-2").symlink_to(tmp_path / "app-1")
    for name in ("app-1", "app-2"):
        with pytest.raises(LogUnreadable, match="neither"):
            list(EventLog(str(tmp_path / name)).read())
    log = rolling(tmp_path)
    os.mkfifo(log / "events_1_spark-1")
    (log / "events_2_spark-1").write_bytes(job_end(2))
    assert jobs(EventLog(str(log)).read()) == [2]


@pytest.mark.parametrize(
    ("mounts", "prompt"),
    [
        ("/dev/sda1 / ext4 rw 0 0", True),
        ("nas:/logs {} nfs4 rw 0 0", True),
        ("bucket {} fuse.gcsfuse rw 0 0\n/dev/sda1 / ext4 rw 0 0", False),
        ("bucket / fuse rw 0 0\n/dev/sda1 {} ext4 rw 0 0", True),
        ("bucket {}-other fuse.gcsfuse rw 0 0\n/dev/sda1 / ext4 rw 0 0", True),
        ("", True),
    ],
)
def test_only_local_file_systems_show_what_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, prompt: bool
) -> None:
    volume = tmp_path / "the logs"
    volume.mkdir()
    (tmp_path / "mounts").write_text(mounts.format(str(volume).replace(" ", "\\040")))
    monkeypatch.setattr("extender.adapters.spark.eventlog.files._MOUNTS", tmp_path / "mounts")
    assert LogFiles(str(volume / "spark-1")).prompt is prompt
    assert not LogFiles("memory://logs").prompt


def test_where_mounts_are_not_told_local_files_are_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extender.adapters.spark.eventlog.files._MOUNTS", tmp_path / "absent")
    assert LogFiles(str(tmp_path)).prompt


@pytest.mark.parametrize("call", ["info", "ls", "isdir", "open", "cat_file"])
def test_errors_of_a_file_systems_own_kind_are_said(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    class Throttled(Exception):
        """No OSError, and without a text."""

    def fail(*_: object, **__: object) -> None:
        raise Throttled

    url = f"memory://{uuid4()}/eventlog_v2_a"
    fs = fsspec.filesystem("memory")
    name = url if call == "info" else f"{url}/events_1_a"
    fs.pipe(name, job_end(1))
    if name != url:
        fs.pipe(f"{url}/appstatus_a.inprogress", b"")
    log = EventLog(url)
    assert list(log.read())
    monkeypatch.setattr(type(fs), call, fail)
    with pytest.raises(LogUnreadable, match="Throttled"):
        list((log if call != "open" else EventLog(url)).read())
    if call in ("ls", "isdir"):
        with pytest.raises(LogUnreadable, match="Throttled"):
            find_logs(url.removesuffix("/eventlog_v2_a"))


def test_an_unknown_protocol_is_said() -> None:
    with pytest.raises(LogUnreadable, match="nosuch"):
        EventLog("nosuch://bucket/app-1")


@given(st.lists(st.binary(max_size=60), max_size=12), st.booleans(), st.integers(0, 40))
def test_no_content_raises(pieces: list[bytes], compressed: bool, cut: int) -> None:
    data = frames(*pieces) if compressed else b"\n".join(pieces)
    url = f"memory://{uuid4()}/app-1"
    fs = fsspec.filesystem("memory")
    fs.pipe(url, data[: len(data) - cut] if cut < len(data) else data)
    log = EventLog(url)
    list(log.read())
    assert log.counts.lines == log.counts.events + log.counts.garbage + log.counts.ignored
    fs.rm(url)


@pytest.mark.parametrize("cut", [0, 1, 1000, 40_000])
def test_a_captured_log_gives_the_same_in_every_form(tmp_path: Path, cut: int) -> None:
    data = case_path(CAPTURE).read_bytes()
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "zstd").write_bytes(frames(data[:cut], data[cut:]))
    plain, packed = (list(EventLog(str(tmp_path / name)).read()) for name in ("plain", "zstd"))
    assert plain == packed
    assert isinstance(plain[-1], ApplicationEnd)
