"""Rows of the ledger: bookings, applications, running pods, decisions. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.intensity import Intensity
from extender.core.facts import GangKey, Role

NOBODY: Final = GangKey("", "")
"""Holder of what remains with a node. No namespace has an empty name."""

CELL_S: Final = 300.0
"""Length of a cell of the ledger's time grid, which begins at the epoch."""

UNASKED: Final = Missing("the intensity was not requested")


class Kind(StrEnum):
    """Whether a booking is of what happened, or of the counterfactual (see `baseline`)."""

    ACTUAL = "actual"
    BASELINE = "baseline"


class BookingKey(NamedTuple):
    """Bookings with equal keys are one booking.

    `app` is a gang, `NOBODY`, or a namespace with an empty id: pods outside gangs. `source` says who
    gave the power and by which rule it was attributed (`kepler/measured`, `per-core/requests`).
    `unknown` is empty, or why the carbon is not known. `cell_s` is the start of a stretch of the
    ledger's time grid.
    """

    app: GangKey
    node: str
    zone: str
    kind: Kind
    source: str
    unknown: str
    cell_s: float


@dataclass(slots=True)
class Booking:
    """Energy within one cell of time. `carbon_g` means nothing where the key says unknown.

    `core_s` are requested core-seconds (of `NOBODY`: cores that no pod requested).
    """

    start_s: float
    end_s: float
    energy_kwh: float = 0.0
    carbon_g: float = 0.0
    core_s: float = 0.0

    def add(self, other: Booking) -> None:
        """Take another booking of the same key in."""
        self.start_s = min(self.start_s, other.start_s)
        self.end_s = max(self.end_s, other.end_s)
        self.energy_kwh += other.energy_kwh
        self.carbon_g += other.carbon_g
        self.core_s += other.core_s


Bookings = dict[BookingKey, Booking]


class StageKey(NamedTuple):
    """A stage of an application within a stretch of the ledger's time grid."""

    app: GangKey
    stage: str
    cell_s: float


@dataclass(slots=True)
class StageTime:
    """Seconds that tasks of a stage took; several run at once, so it may exceed the stretch."""

    name: str
    task_s: float = 0.0


StageTimes = dict[StageKey, StageTime]


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """An application's life. Times are seconds since the epoch, None where not (yet) known.

    `end_estimated`: it ended while nothing was observed, so `ended_s` is the last moment at which it is known
    to have run. `baseline_s` is where its counterfactual clock stands, or why it has none.
    """

    app: GangKey
    strategy: str
    submitted_s: float
    started_s: float | None
    ended_s: float | None
    baseline_s: float | Missing
    end_estimated: bool = False

    @property
    def waiting_s(self) -> float | Missing:
        """Time from submission to start."""
        if self.started_s is None:
            return Missing("not started") if self.ended_s is None else Missing("ended without starting")
        if isinstance(self.baseline_s, Missing):
            return self.baseline_s
        return self.started_s - self.submitted_s

    @property
    def turnaround_s(self) -> float | Missing:
        """Time from submission to end, of an application that ran."""
        if self.started_s is None or self.ended_s is None:
            return Missing("not started" if self.started_s is None else "not ended")
        return self.ended_s - self.submitted_s


@dataclass(frozen=True, slots=True)
class PodRow:
    """A living pod: `node` is empty while it waits. Gone pods are not kept."""

    uid: str
    app: GangKey
    name: str
    role: Role
    node: str
    requests: Mapping[str, int]


class IntensityRow(NamedTuple):
    """A step of a zone's intensity."""

    zone: str
    start_s: float
    value: Intensity


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer to filter: which node, by which strategy, with which score and at which intensity."""

    at_s: float
    app: GangKey
    pod: str
    node: str
    strategy: str
    outcome: str
    detail: str = ""
    score: float | None = None
    intensity: Intensity = UNASKED


@dataclass(slots=True)
class Batch:
    """Everything that changed in the books from `since_s` to `until_s`; written whole or not at all.

    `since_s` is None for the first batch of a new ledger. A pod or node mapped to None is gone.
    """

    since_s: float | None
    until_s: float
    bookings: Bookings = field(default_factory=dict[BookingKey, Booking])
    stages: StageTimes = field(default_factory=dict[StageKey, StageTime])
    applications: dict[GangKey, ApplicationRow] = field(default_factory=dict[GangKey, ApplicationRow])
    pods: dict[str, PodRow | None] = field(default_factory=dict[str, PodRow | None])
    nodes: dict[str, bool] = field(default_factory=dict[str, bool])
    intensities: list[IntensityRow] = field(default_factory=list[IntensityRow])
    decisions: list[Decision] = field(default_factory=list[Decision])

    def extend(self, later: Batch) -> None:
        """Take the batch that follows this one in, so that both are written as one."""
        self.until_s = later.until_s
        for key, booking in later.bookings.items():
            if (mine := self.bookings.get(key)) is None:
                self.bookings[key] = booking
            else:
                mine.add(booking)
        for key, time in later.stages.items():
            self.stages.setdefault(key, StageTime(time.name)).task_s += time.task_s
        self.applications |= later.applications
        self.pods |= later.pods
        self.nodes |= later.nodes
        self.intensities += later.intensities
        self.decisions += later.decisions


@dataclass(frozen=True, slots=True)
class Books:
    """Running applications, pods and nodes of a ledger that is opened. `until_s` is None for a new one."""

    until_s: float | None = None
    applications: tuple[ApplicationRow, ...] = ()
    pods: tuple[PodRow, ...] = ()
    nodes: frozenset[str] = frozenset()
    intensities: tuple[IntensityRow, ...] = ()
