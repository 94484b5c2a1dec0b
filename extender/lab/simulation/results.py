"""Results of a simulated run: the course of every gang, and what the cluster used."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

_LATE_S: Final = 1.0
"""A start counts as late from here on: the service looks at the time once a second."""


@dataclass(frozen=True, slots=True)
class GangRun:
    """One gang's course. Moments in seconds since the epoch.

    `latest_start_s` is the moment from which carbon must not hold it, None if it never may. `held_s` is how
    long its last answer was that it is held for carbon. `core_s` are core-seconds of all its pods from
    Binding to end, `grams` their CO2e; NaN where an intensity is unknown. It has `failed` when its driver was
    lost.
    """

    name: str
    namespace: str
    submitted_s: float
    started_s: float
    ended_s: float
    failed: bool
    latest_start_s: float | None
    held_s: float
    core_s: float
    kwh: float
    grams: float

    @property
    def flexible(self) -> bool:
        """Whether it could wait for clean power."""
        return self.latest_start_s is not None

    @property
    def waited_s(self) -> float:
        """From submission to start."""
        return self.started_s - self.submitted_s

    @property
    def late(self) -> bool:
        """Whether it started after its latest start."""
        return self.latest_start_s is not None and self.started_s > self.latest_start_s + _LATE_S


@dataclass(frozen=True)
class Run:
    """All gangs of a simulated run that have ended, in order of submission.

    `unfinished` are names of those that have not. `answers` counts the answers of filter by outcome.
    """

    gangs: Sequence[GangRun]
    unfinished: Sequence[str]
    answers: Mapping[str, int]
    attempts: int

    def part(self, chosen: Callable[[GangRun], bool]) -> list[GangRun]:
        """The gangs for which this holds."""
        return [gang for gang in self.gangs if chosen(gang)]

    def to_json(self) -> str:
        """Everything, the same text for the same run."""
        return json.dumps(
            {
                "gangs": [asdict(gang) for gang in self.gangs],
                "unfinished": list(self.unfinished),
                "answers": dict(sorted(self.answers.items())),
                "attempts": self.attempts,
            },
            sort_keys=True,
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums and means over gangs. Waiting in seconds."""

    gangs: int
    core_h: float
    kwh: float
    grams: float
    late: int
    worst_late_s: float
    waited_mean_s: float
    waited_p95_s: float

    @property
    def g_per_kwh(self) -> float:
        """Mean intensity of what was used; NaN of nothing."""
        return self.grams / self.kwh if self.kwh else math.nan


def totals(gangs: Iterable[GangRun]) -> Totals:
    """Sums and means over these gangs."""
    chosen = list(gangs)
    waited = sorted(gang.waited_s for gang in chosen)
    late = [gang.started_s - gang.latest_start_s for gang in chosen if gang.late and gang.latest_start_s]
    return Totals(
        gangs=len(chosen),
        core_h=math.fsum(gang.core_s for gang in chosen) / 3600,
        kwh=math.fsum(gang.kwh for gang in chosen),
        grams=math.fsum(gang.grams for gang in chosen),
        late=len(late),
        worst_late_s=max(late, default=0.0),
        waited_mean_s=math.fsum(waited) / len(waited) if waited else 0.0,
        waited_p95_s=waited[max(0, math.ceil(0.95 * len(waited)) - 1)] if waited else 0.0,
    )
