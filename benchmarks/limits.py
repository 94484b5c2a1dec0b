"""Limits of a run, on ratios measured side by side, and goals that are reached or not.

Times of two machines, or of one machine under two loads, cannot be compared; the ratio of two things measured
in the same minute can. So a limit is a range for the ratio of two figures of one run, set from several
runs (`--calibrate`), and breaking one fails the run. Goals are absolute and are only reported.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, Machine, from_json

LIMITS = Path(__file__).with_name("limits.json")
_ROOM = 4.0
"""A limit is this many standard deviations from the mean of the runs it was set from ..."""
_LEAST_ROOM = 0.3
"""... but at least this share of the mean: a few quiet runs know little about noise."""


class LimitsError(Exception):
    """The data file of the limits cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """From which runs a limit was set."""

    mean: float
    spread: float
    runs: int
    date: str
    commit: str
    machine: str


@dataclass(frozen=True, slots=True)
class Limit:
    """A range for `figure` divided by `over`, both of one run. `why` says what it protects."""

    figure: str
    over: str
    why: str
    statistic: str = "p50"
    low: float | None = None
    high: float | None = None
    set_from: Provenance | None = None

    def ratio(self, figures: Figures) -> float | None:
        """The measured ratio; None when the run has not both figures."""
        above, below = figures.find(self.figure), figures.find(self.over)
        if above is None or below is None:
            return None
        top, bottom = above.value(self.statistic), below.value(self.statistic)
        return None if top is None or not bottom else top / bottom

    def calibrated(self, ratios: Sequence[float], machine: Machine) -> Limit:
        """The same limit with a range around what these runs measured. A side that is None stays open."""
        mean = statistics.fmean(ratios)
        spread = statistics.stdev(ratios) if len(ratios) > 1 else 0.0
        room = max(_ROOM * spread, _LEAST_ROOM * mean)
        known = Provenance(
            round(mean, 4), round(spread, 4), len(ratios), machine.date, machine.commit, machine.cpu
        )
        return replace(
            self,
            low=None if self.low is None else round(max(mean - room, 0.0), 3),
            high=None if self.high is None else round(mean + room, 3),
            set_from=known,
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """An absolute figure that is wanted: at most `high`, or at least `low`."""

    figure: str
    why: str
    statistic: str = "p50"
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit or goal held against a run. `value` is None when the run did not measure it."""

    what: Limit | Goal
    value: float | None

    @property
    def within(self) -> bool:
        """Whether the value is in the range."""
        low, high = self.what.low, self.what.high
        return (
            self.value is not None
            and (low is None or self.value >= low)
            and (high is None or self.value <= high)
        )

    @property
    def broken(self) -> bool:
        """Whether a limit was measured and does not hold."""
        return isinstance(self.what, Limit) and self.value is not None and not self.within


@dataclass(frozen=True, slots=True)
class Limits:
    """The data file."""

    limits: tuple[Limit, ...]
    goals: tuple[Goal, ...]

    @staticmethod
    def load(path: Path) -> Limits:
        """Read the file.

        Raises:
            LimitsError: it cannot be read, or an entry has not the expected keys.
        """
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            limits = tuple(_limit(entry) for entry in document["limits"])
            goals = tuple(Goal(**entry) for entry in document["goals"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise LimitsError(f"{path} cannot be used: {problem!r}") from None
        for each in (*limits, *goals):
            if each.low is None and each.high is None:
                raise LimitsError(
                    f"{path}: {each.figure} has neither low nor high, so nothing could break it"
                )
        return Limits(limits, goals)

    def save(self, path: Path) -> None:
        """Write the file."""
        document = {"limits": _entries(self.limits), "goals": _entries(self.goals)}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def check(self, figures: Figures) -> list[Verdict]:
        """Limits first, then goals; what was not measured has no value."""
        held = [Verdict(limit, limit.ratio(figures)) for limit in self.limits]
        for goal in self.goals:
            measured = figures.find(goal.figure)
            held.append(Verdict(goal, measured.value(goal.statistic) if measured is not None else None))
        return held


def calibrated(results: Sequence[Path], path: Path = LIMITS) -> Limits:
    """The limits of the file, with ranges set from the documents of earlier runs.

    Raises:
        LimitsError: the file or a result cannot be used.
    """
    known = Limits.load(path)
    try:
        documents = [json.loads(result.read_text(encoding="utf-8")) for result in results]
        runs = [from_json(document) for document in documents]
        machine = Machine(**{**documents[-1]["machine"], "load": tuple(documents[-1]["machine"]["load"])})
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise LimitsError(f"the results cannot be used: {problem}") from None
    limits: list[Limit] = []
    for limit in known.limits:
        ratios = [ratio for run in runs if (ratio := limit.ratio(run)) is not None]
        limits.append(limit.calibrated(ratios, machine) if ratios else limit)
    return replace(known, limits=tuple(limits))


def _limit(entry: dict[str, Any]) -> Limit:
    known = entry.get("set_from")
    return Limit(**{**entry, "set_from": Provenance(**known) if known else None})


def _entries(values: Sequence[Limit | Goal]) -> list[dict[str, Any]]:
    return [{key: value for key, value in asdict(each).items() if value is not None} for each in values]
