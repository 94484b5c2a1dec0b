"""Measure members: stress-ng for each size of work on each amount of CPU, several times."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extender.bsp.core.profile import Profile
from extender.bsp.inputs import COLUMNS, InputsUnusable, read_profile

OPERATIONS: Final = {
    "affinity": 400_000,
    "atomic": 250_000,
    "bsearch": 4_000,
    "cap": 2_000_000,
    "chmod": 4_000,
    "memcpy": 4_000,
    "vecmath": 10_000,
    "zero": 1_000_000,
}
"""Bogo operations of each stressor for one unit of size: the published experiment's."""

OUR_COLUMNS: Final = (*COLUMNS, "run")
_PERIOD_US: Final = 100_000
_PATIENCE: Final = 100


class ProfilingFailed(RuntimeError):
    """A run that could not be made; the text says why and what to do. The runs before it are kept."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run: a stressor, a size of work, CPU in millicores, and which of the repeated runs it is."""

    member: str
    size: int
    millicores: int
    run: int


def points(members: Sequence[str], sizes: Sequence[int], millicores: Sequence[int], runs: int) -> list[Point]:
    """Every run. One run of each point comes before the second of any, so an early end leaves a grid."""
    return [
        Point(member, size, cpu, run)
        for run in range(1, runs + 1)
        for member in members
        for size in sizes
        for cpu in millicores
    ]


def finished(path: Path) -> set[Point]:
    """The runs that a file has. A last line that was cut off while it was written is removed from the file.

    Raises `ProfilingFailed` for a file that this profiler did not write.
    """
    if not path.exists():
        return set()
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(whole.splitlines()))
    if lines and tuple(lines[0]) != OUR_COLUMNS:
        raise ProfilingFailed(f"{path} does not begin with {','.join(OUR_COLUMNS)}: give another --output")
    if whole != text:
        path.write_text(whole)
    try:
        return {Point(cells[0], int(cells[1]), int(cells[2]), int(cells[4])) for cells in lines[1:]}
    except (ValueError, IndexError):
        raise ProfilingFailed(
            f"{path} has a line that is no run: correct it or give another --output"
        ) from None


def profile(
    some: Iterable[Point],
    path: Path,
    measure: Callable[[Point], float],
    after: Callable[[Point, float], None],
) -> None:
    """Measure the points and append each to the file as soon as it is known; `after` hears of it."""
    new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if new:
            lines.writerow(OUR_COLUMNS)
        for point in some:
            seconds = measure(point)
            lines.writerow([point.member, point.size, point.millicores, f"{seconds:.6f}", point.run])
            file.flush()
            os.fsync(file.fileno())
            after(point, seconds)


def write_original(measured: Profile, path: Path) -> None:
    """The means in the original's layout. Its reader wants the columns in this order, and no spread."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(COLUMNS)
        for m, member in enumerate(measured.members):
            for s, size in enumerate(measured.sizes):
                for c, cpu in enumerate(measured.millicores):
                    lines.writerow([member, f"{size:g}", f"{cpu:g}", f"{measured.durations_s[m, s, c]:.6f}"])


@dataclass(frozen=True, slots=True)
class StressNg:
    """Runs stress-ng in a control group of its own. `scale` multiplies the operations, for short runs.

    `instances` 0 starts one worker for each CPU of the host, like the original: under a quota they throttle
    each other.
    """

    program: str = "stress-ng"
    instances: int = 0
    scale: float = 1.0
    groups: Path = Path("/sys/fs/cgroup")

    def __call__(self, point: Point) -> float:
        """Seconds that the run took. Raises `ProfilingFailed`."""
        operations = max(1, round(OPERATIONS[point.member] * point.size * self.scale))
        command = [
            self.program,
            "--quiet",
            f"--{point.member}",
            str(self.instances),
            f"--{point.member}-ops",
            str(operations),
        ]
        with quota(self.groups, point.millicores) as group:
            return run_in(group, command)


def run_in(group: Path, command: Sequence[str]) -> float:
    """Run a command in a control group, and return the seconds that it took. Raises `ProfilingFailed`."""
    enter = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]
    begun = time.monotonic()
    try:
        done = subprocess.run(enter, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    except OSError as problem:
        raise ProfilingFailed(f"{command[0]} cannot be run: {problem.strerror}") from None
    seconds = time.monotonic() - begun
    if done.returncode:
        missing = done.returncode == 127
        advice = "; on Debian: apt-get install stress-ng" if missing else ""
        text = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise ProfilingFailed(f"{' '.join(command)}: {text}{advice}")
    return seconds


@contextmanager
def quota(groups: Path, millicores: int) -> Iterator[Path]:
    """A control group (version 1 or 2) whose processes together get so much CPU; it is removed in the end.

    Raises `ProfilingFailed` where the host has less CPU, or where no group can be made.
    """
    cpus = len(os.sched_getaffinity(0))
    if millicores > 1000 * cpus:
        raise ProfilingFailed(f"{millicores} millicores: this host has {cpus} CPUs; give a lower --cpu")
    second = (groups / "cgroup.controllers").exists()
    group = (groups if second else groups / "cpu") / f"carbon-scheduler-bsp-{os.getpid()}"
    quota_us = millicores * _PERIOD_US // 1000
    try:
        if second:
            (groups / "cgroup.subtree_control").write_text("+cpu")
        group.mkdir()
        if second:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    except OSError as problem:
        if group.is_dir():
            group.rmdir()
        raise ProfilingFailed(
            f"no CPU quota can be set below {groups} ({problem.strerror}): run as root, or name by --cgroup"
            " a group that is delegated to you"
        ) from None
    try:
        yield group
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """End what an interrupted run left in a group, wait for it, and remove the group."""
    for _ in range(_PATIENCE):
        try:
            group.rmdir()
        except OSError:
            for process in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            time.sleep(0.05)
        else:
            return
    raise ProfilingFailed(f"{group} is still in use: end its processes and remove it")


def draw(path: Path, picture: Path) -> None:
    """Durations over CPU, one panel a member, one line a size, with the spread of the runs. Needs `plots`."""
    from matplotlib.figure import Figure

    measured = read_profile(path)
    columns = min(4, len(measured.members))
    rows = -(-len(measured.members) // columns)
    figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
    for number, member in enumerate(measured.members):
        axes = figure.add_subplot(rows, columns, number + 1)
        for s, size in enumerate(measured.sizes):
            spread = None if measured.spreads_s is None else measured.spreads_s[number, s]
            axes.errorbar(
                measured.millicores, measured.durations_s[number, s], spread, label=f"{size:g}", capsize=2
            )
        axes.set(title=member, xlabel="millicores", ylabel="s", yscale="log")
        axes.legend(title="size", fontsize=6)
    figure.savefig(picture)


def sequence(text: str) -> list[int]:
    """Whole numbers from `first:end:step` (the end is left out) or `a,b,c`. Raises `InputsUnusable`."""
    try:
        if ":" in text:
            first, end, step = (int(part) for part in text.split(":"))
            found = list(range(first, end, step))
        else:
            found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputsUnusable(f"{text!r}: write first:end:step or a,b,c in whole numbers") from None
    if not found or min(found) < 1:
        raise InputsUnusable(f"{text!r}: there must be numbers, all of them 1 or more")
    return found
