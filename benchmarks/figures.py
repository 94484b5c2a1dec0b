"""Measurements of a run, and the machine they were made on."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile. Raises `ValueError` when there are no values."""
    if not values:
        raise ValueError("a percentile needs at least one value")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(int(rank), 1) - 1]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    `p50` is the median of all samples, `p99` is there only when there are at least 100 of them.
    `rounds` are the medians of the single rounds of the run: their range says how far to trust `p50`.
    `load` is the 1-minute load average when it was measured.
    """

    name: str
    unit: str
    p50: float
    p99: float | None
    samples: int
    rounds: tuple[float, ...]
    load: float

    @property
    def spread(self) -> float:
        """Range of the rounds' medians, as a share of `p50`."""
        return (max(self.rounds) - min(self.rounds)) / self.p50 if self.p50 else 0.0

    def value(self, statistic: str) -> float | None:
        """`p50` or `p99`. Raises `ValueError` for another word."""
        if statistic not in ("p50", "p99"):
            raise ValueError(f"unknown statistic {statistic!r}: use p50 or p99")
        return self.p50 if statistic == "p50" else self.p99


def figure(name: str, unit: str, rounds: Iterable[Sequence[float]]) -> Figure:
    """A figure from the samples of one or more rounds. Raises `ValueError` when a round is empty."""
    parts = [list(part) for part in rounds]
    samples = [value for part in parts for value in part]
    return Figure(
        name=name,
        unit=unit,
        p50=statistics.median(samples),
        p99=percentile(samples, 99) if len(samples) >= 100 else None,
        samples=len(samples),
        rounds=tuple(statistics.median(part) for part in parts),
        load=os.getloadavg()[0],
    )


class Figures:
    """The figures of a run by name, in the order measured."""

    def __init__(self, figures: Iterable[Figure] = ()) -> None:
        self._by_name: dict[str, Figure] = {}
        for each in figures:
            self.add(each)

    def add(self, measured: Figure) -> Figure:
        """Keep a figure; a name is used once."""
        if measured.name in self._by_name:
            raise ValueError(f"{measured.name} was measured already")
        self._by_name[measured.name] = measured
        return measured

    def find(self, name: str) -> Figure | None:
        """The figure of that name, None when it was not measured in this run."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Figure]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when a run was made: figures of two machines are not comparable."""

    date: str
    commit: str
    cpu: str
    cores: int
    memory_mb: int
    python: str
    load: tuple[float, float, float] = field(default_factory=os.getloadavg)

    @staticmethod
    def here() -> Machine:
        """This machine, now."""
        return Machine(
            date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            commit=_commit(),
            cpu=_cpu(),
            cores=os.cpu_count() or 1,
            memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
            python=platform.python_version(),
        )

    def describe(self) -> str:
        """One line for a table's caption."""
        load = " ".join(f"{value:.1f}" for value in self.load)
        return (
            f"{self.date}, {self.cpu}, {self.cores} cores, Python {self.python}, {self.commit}, load {load}"
        )


def as_json(machine: Machine, figures: Figures) -> dict[str, Any]:
    """The document of a run."""
    return {"machine": asdict(machine), "figures": [asdict(each) for each in figures]}


def from_json(document: dict[str, Any]) -> Figures:
    """The figures of a document that `as_json` made. Raises `ValueError` when it is another one."""
    try:
        return Figures(Figure(**{**entry, "rounds": tuple(entry["rounds"])}) for entry in document["figures"])
    except (KeyError, TypeError) as problem:
        raise ValueError(f"this is not a result of the benchmarks: {problem}") from None


def _commit() -> str:
    """Short commit, with + when files that git knows were changed; `unknown` outside a checkout."""
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return text.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
