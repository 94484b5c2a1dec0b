"""The profiler keeps every run, continues where it was, and gives a run the CPU that it should have."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extender.bsp.command import app
from extender.bsp.inputs import InputsUnusable, read_profile
from extender.bsp.profiler import (
    Point,
    ProfilingFailed,
    StressNg,
    finished,
    points,
    profile,
    quota,
    run_in,
    sequence,
    write_original,
)

GROUPS = Path("/sys/fs/cgroup")
ROOT = Path(__file__).resolve().parents[2]
WANTED = points(["zero", "cap"], [10, 20], [1000, 2000], 3)


def seconds(point: Point) -> float:
    return point.size * 1000 / point.millicores + point.run


def nothing(*_: object) -> None:
    """No listener."""


def can_limit() -> bool:
    group = GROUPS if (GROUPS / "cgroup.controllers").exists() else GROUPS / "cpu"
    return sys.platform == "linux" and os.access(group, os.W_OK)


def test_a_profile_that_was_broken_off_is_continued(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"

    def breaks(point: Point) -> float:
        if point == WANTED[9]:
            raise ProfilingFailed("power cut")
        return seconds(point)

    with pytest.raises(ProfilingFailed, match="power cut"):
        profile(WANTED, file, breaks, nothing)
    assert finished(file) == set(WANTED[:9])
    with file.open("a") as torn:
        torn.write("zero,10,10")
    left = [point for point in WANTED if point not in finished(file)]
    profile(left, file, seconds, nothing)
    measured = read_profile(file)
    assert measured.members == ("zero", "cap")
    assert measured.durations_s[0].tolist() == [[12, 7], [22, 12]]
    assert measured.spreads_s is not None
    assert measured.spreads_s == pytest.approx(1.0)


def test_the_original_s_layout_has_the_means(tmp_path: Path) -> None:
    profile(WANTED, tmp_path / "runs.csv", seconds, nothing)
    write_original(read_profile(tmp_path / "runs.csv"), tmp_path / "means.csv")
    lines = (tmp_path / "means.csv").read_text().splitlines()
    assert lines[:2] == ["task,workload_size,cpu_shares,duration", "zero,10,1000,12.000000"]
    assert len(lines) == 1 + 8


def test_every_point_is_run_once_before_any_is_repeated() -> None:
    first = WANTED[: len(WANTED) // 3]
    assert {point.run for point in first} == {1}
    assert len(set(WANTED)) == 24


def test_a_file_of_something_else_is_not_continued(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(ProfilingFailed, match="give another --output"):
        finished(file)
    assert file.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize(("text", "numbers"), [("10:20:4", [10, 14, 18]), ("5", [5]), ("3,1", [3, 1])])
def test_numbers_are_given_as_a_range_or_a_list(text: str, numbers: list[int]) -> None:
    assert sequence(text) == numbers


@pytest.mark.parametrize("text", ["", "1:2", "a", "0,5", "5:5:1"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(InputsUnusable):
        sequence(text)


def test_more_cpu_than_the_host_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfilingFailed, match="give a lower --cpu"), quota(tmp_path, 10**9):
        pass


def test_where_no_quota_can_be_set_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProfilingFailed, match="run as root"), quota(tmp_path, 500):
        pass


def test_an_unknown_stressor_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["profile", "--output", str(tmp_path / "x.csv"), "--member", "tea"])
    assert done.exit_code == 2
    assert "choose from affinity" in done.output


@pytest.mark.skipif(not can_limit(), reason="needs control groups that this user may make")
def test_a_run_is_throttled_to_its_quota_and_leaves_no_group() -> None:
    with quota(GROUPS, 100) as group:
        run_in(group, [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"])
        throttled = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())[
            "nr_throttled"
        ]
    assert int(throttled) > 0
    assert not group.exists()


@pytest.mark.skipif(not can_limit(), reason="needs control groups that this user may make")
def test_a_process_that_outlives_its_run_is_ended() -> None:
    with quota(GROUPS, 500) as group:
        run_in(group, ["/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 &"])
        assert (group / "cgroup.procs").read_text().strip()
    assert not group.exists()


@pytest.mark.skipif(not can_limit(), reason="needs control groups that this user may make")
def test_a_run_that_fails_is_an_error_with_its_text() -> None:
    with quota(GROUPS, 500) as group, pytest.raises(ProfilingFailed, match="no such stressor"):
        run_in(group, ["/bin/sh", "-c", "echo no such stressor >&2; exit 2"])
    with pytest.raises(ProfilingFailed, match="apt-get install stress-ng"):
        StressNg(program="stress-ng-is-not-here")(Point("zero", 10, 500, 1))


@pytest.mark.skipif(not can_limit(), reason="needs control groups that this user may make")
def test_a_profile_that_is_ended_by_a_signal_leaves_nothing_behind(tmp_path: Path) -> None:
    program, begun, file = tmp_path / "endless", tmp_path / "begun", tmp_path / "runs.csv"
    program.write_text(f"#!/bin/sh\necho $$ > {begun}.new && mv {begun}.new {begun}\nsleep 1000\n")
    program.chmod(0o755)
    command = [sys.executable, "-m", "extender.cli", "bsp", "profile", "--output", str(file)]
    command += ["--program", str(program), "--member", "zero", "--cpu", "500"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT) as running:
        while not begun.exists():
            assert running.poll() is None
            select.select([], [], [], 0.02)
        running.terminate()
        assert running.wait() == 128 + signal.SIGTERM
    assert not list(GROUPS.glob(f"**/carbon-scheduler-bsp-{running.pid}"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


@pytest.mark.skipif(
    not (can_limit() and shutil.which("stress-ng")), reason="needs stress-ng and control groups"
)
def test_real_stress_ng_is_profiled(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    options = ["--member", "bsearch", "--sizes", "1,2", "--cpu", "500,1000", "--scale", "0.001"]
    done = CliRunner().invoke(app, ["profile", "--output", str(file), *options])
    assert done.exit_code == 0, done.output
    assert len(finished(file)) == 12
