"""Key figures of a stretch of time: in total, by node, namespace, time, strategy and application.

Figures of applications (waiting, turnaround, saving) count whole applications: those that lived at some
moment of the stretch, with all their bookings. Figures of energy count the cells of which any part lies in
it, whole: energy is in the books by cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.baseline import Footprint, Saving, split_saving
from extender.adapters.accounting.books import ApplicationRow, IntensityRow, Kind
from extender.adapters.accounting.ledger import Ledger, application_of, step_of
from extender.adapters.accounting.schema import IN_WINDOW, STAGE_ENERGY
from extender.core.facts import GangKey

REMAINDER: Final = "(unused)"

MOST_STAGES: Final = 1000


@dataclass(slots=True)
class Group:
    """Energy of one node, namespace, bucket of time or strategy.

    `remainder_kwh` is the part that no pod carries. `carbon_g` is that of `known_kwh`, the energy whose
    intensity is known; `unknown_kwh` is the rest. `core_s` are requested
    core-seconds, `free_core_s` those that no pod requested.
    `applications_g` is the known carbon of gangs and `baseline_g` (by time only) their counterfactual's.
    `nodes` drew power, `nodes_used` had pods.
    """

    name: str
    energy_kwh: float = 0.0
    remainder_kwh: float = 0.0
    carbon_g: float = 0.0
    known_kwh: float = 0.0
    unknown_kwh: float = 0.0
    core_s: float = 0.0
    free_core_s: float = 0.0
    applications_g: float = 0.0
    baseline_g: float = 0.0
    nodes: int = 0
    nodes_used: int = 0

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """Mean intensity, weighted by energy; None where none is known."""
        return self.carbon_g / self.known_kwh if self.known_kwh > 0 else None

    @property
    def utilisation(self) -> float | None:
        """Requested share of the cores, 0..1; None without cores."""
        cores = self.core_s + self.free_core_s
        return self.core_s / cores if cores > 0 else None


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 95th percentile (nearest rank) of `count` values."""

    count: int
    mean: float
    p50: float
    p95: float


def spread(values: Iterable[float]) -> Spread | None:
    """The spread of values; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None

    def rank(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Spread(len(ordered), math.fsum(ordered) / len(ordered), rank(0.5), rank(0.95))


@dataclass(frozen=True, slots=True)
class Application:
    """One application with its energy, carbon and saving; what is not known says why."""

    row: ApplicationRow
    energy_kwh: float
    actual: Footprint | Missing
    baseline: Footprint | Missing

    @property
    def saving(self) -> Saving | Missing:
        """The saving against the same work at submission."""
        if isinstance(self.actual, Missing):
            return self.actual
        return (
            self.baseline if isinstance(self.baseline, Missing) else split_saving(self.actual, self.baseline)
        )


@dataclass(frozen=True, slots=True)
class Runs:
    """Applications of one strategy. Makespan: from the first submission to the last end.

    `saving` sums those whose saving is known; `unknown_savings` counts the others.
    """

    name: str
    applications: int
    ended: int
    energy_kwh: float
    carbon_g: float
    carbon_unknown: int
    waiting_s: Spread | None
    turnaround_s: Spread | None
    makespan_s: float | None
    saving: Saving
    unknown_savings: int


@dataclass(frozen=True, slots=True)
class StageShare:
    """A stage's part of its application's energy, by task time within each cell.

    `stage` is empty for what belongs to no stage: there were no tasks in that cell. `carbon_g` is that of the
    energy whose intensity is known, `unknown_kwh` the rest.
    """

    app: GangKey
    stage: str
    name: str
    task_s: float
    energy_kwh: float
    carbon_g: float
    unknown_kwh: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report shows. `bucket_s` is the length of a bucket of `times`.

    `stages` are the largest `MOST_STAGES`, of applications that reported any. `price_per_kwh` is the reader's
    tariff, in any currency; None without one.
    """

    since_s: float
    until_s: float
    bucket_s: float
    total: Group
    nodes: Sequence[Group]
    namespaces: Sequence[Group]
    times: Sequence[tuple[float, Group]]
    strategies: Sequence[Runs]
    applications: Sequence[Application]
    sources_kwh: Mapping[str, float]
    unknown_kwh: Mapping[str, float]
    outcomes: Mapping[str, int]
    intensities: Mapping[str, Sequence[IntensityRow]] = field(
        default_factory=dict[str, Sequence[IntensityRow]]
    )
    stages: Sequence[StageShare] = ()
    price_per_kwh: float | None = None

    @property
    def heaviest(self) -> list[Application]:
        """Applications, those that took most energy first."""
        return sorted(self.applications, key=lambda each: (-each.energy_kwh, each.row.submitted_s))


_SUMS: Final = """
    COALESCE(SUM(energy_kwh), 0),
    COALESCE(SUM(CASE WHEN namespace = '' THEN energy_kwh END), 0),
    COALESCE(SUM(carbon_g), 0),
    COALESCE(SUM(CASE WHEN unknown_reason = '' THEN energy_kwh END), 0),
    COALESCE(SUM(CASE WHEN unknown_reason <> '' THEN energy_kwh END), 0),
    COALESCE(SUM(CASE WHEN namespace <> '' THEN core_s END), 0),
    COALESCE(SUM(CASE WHEN namespace = '' THEN core_s END), 0),
    COALESCE(SUM(CASE WHEN app_id <> '' THEN carbon_g END), 0),
    COUNT(DISTINCT node),
    COUNT(DISTINCT CASE WHEN namespace <> '' THEN node END)
"""
_WITHIN: Final = f"WHERE kind = ? AND {IN_WINDOW}"


def extent(ledger: Ledger) -> tuple[float, float] | None:
    """First and last booked moment; None of an empty ledger."""
    ((start_s, end_s),) = ledger.select("SELECT MIN(start_s), MAX(end_s) FROM bookings WHERE kind = 'actual'")
    return None if start_s is None else (start_s, end_s)


def collect(ledger: Ledger, since_s: float, until_s: float, bucket_s: float = 3600.0) -> Report:
    """Read the key figures of `[since_s, until_s)`, cells at its ends whole. Raises `LedgerError`."""
    window = (Kind.ACTUAL.value, since_s, until_s)
    (total,) = ledger.select(f"SELECT {_SUMS} FROM bookings {_WITHIN}", window)  # noqa: S608
    ended = applications(ledger, since_s, until_s)
    return Report(
        since_s,
        until_s,
        bucket_s,
        _group("total", total),
        _groups(ledger, "node", window),
        [_named(group) for group in _groups(ledger, "namespace", window)],
        _times(ledger, window, bucket_s),
        _strategies(ended),
        ended,
        _energy_by(ledger, "source", window, ""),
        _energy_by(ledger, "unknown_reason", window, "AND unknown_reason <> ''"),
        _outcomes(ledger, since_s, until_s),
        _intensities(ledger, since_s, until_s),
        _stages(ledger, since_s, until_s),
    )


def _group(name: str, row: Sequence[Any]) -> Group:
    *amounts, nodes, used = row
    return Group(name, *amounts, nodes=nodes, nodes_used=used)


def _groups(ledger: Ledger, column: str, window: tuple[Any, ...]) -> list[Group]:
    query = f"SELECT {column}, {_SUMS} FROM bookings {_WITHIN} GROUP BY {column} ORDER BY {column}"  # noqa: S608
    return [_group(name, sums) for name, *sums in ledger.select(query, window)]


def _named(group: Group) -> Group:
    group.name = group.name or REMAINDER
    return group


def _times(ledger: Ledger, window: tuple[Any, ...], bucket_s: float) -> list[tuple[float, Group]]:
    """Groups by bucket; node counts are the largest of the bucket's cells. Empty buckets are left out."""
    buckets: dict[float, Group] = {}

    def bucket(cell_s: float) -> Group:
        start_s = math.floor(cell_s / bucket_s) * bucket_s
        return buckets.setdefault(start_s, Group(f"{start_s:g}"))

    for cell in _groups(ledger, "cell_s", window):
        mine = bucket(float(cell.name))
        mine.energy_kwh += cell.energy_kwh
        mine.remainder_kwh += cell.remainder_kwh
        mine.carbon_g += cell.carbon_g
        mine.known_kwh += cell.known_kwh
        mine.unknown_kwh += cell.unknown_kwh
        mine.core_s += cell.core_s
        mine.free_core_s += cell.free_core_s
        mine.applications_g += cell.applications_g
        mine.nodes, mine.nodes_used = max(mine.nodes, cell.nodes), max(mine.nodes_used, cell.nodes_used)
    query = f"SELECT cell_s, COALESCE(SUM(carbon_g), 0) FROM bookings {_WITHIN} GROUP BY cell_s"  # noqa: S608
    for cell_s, carbon_g in ledger.select(query, (Kind.BASELINE.value, *window[1:])):
        bucket(cell_s).baseline_g += carbon_g
    return sorted(buckets.items(), key=lambda item: item[0])


def _energy_by(ledger: Ledger, column: str, window: tuple[Any, ...], also: str) -> dict[str, float]:
    query = f"SELECT {column}, SUM(energy_kwh) FROM bookings {_WITHIN} {also} GROUP BY {column}"  # noqa: S608
    return _largest_first(ledger.select(query, window))


def _outcomes(ledger: Ledger, since_s: float, until_s: float) -> dict[str, int]:
    query = "SELECT outcome, COUNT(*) FROM decisions WHERE at_s >= ? AND at_s < ? GROUP BY outcome"
    return _largest_first(ledger.select(query, (since_s, until_s)))


def _largest_first(rows: Iterable[tuple[Any, ...]]) -> dict[str, Any]:
    return dict(sorted(rows, key=lambda row: (-row[1], row[0])))


def _intensities(ledger: Ledger, since_s: float, until_s: float) -> dict[str, list[IntensityRow]]:
    query = """
        SELECT zone, start_s, g_per_kwh, unknown_reason FROM intensities
        WHERE start_s < ? AND start_s >= COALESCE(
            (SELECT MAX(in_force.start_s) FROM intensities AS in_force
             WHERE in_force.zone = intensities.zone AND in_force.start_s <= ?), 0)
        ORDER BY zone, start_s
    """
    out: dict[str, list[IntensityRow]] = {}
    for row in ledger.select(query, (until_s, since_s)):
        step = step_of(row)
        out.setdefault(step.zone, []).append(step)
    return out


def applications(ledger: Ledger, since_s: float, until_s: float) -> list[Application]:
    """Applications that lived at some moment of `[since_s, until_s)`, with all their bookings."""
    query = """
        SELECT namespace, app_id, strategy, submitted_s, started_s, ended_s, baseline_s, baseline_missing,
               end_estimated
        FROM applications WHERE submitted_s < ? AND (ended_s IS NULL OR ended_s >= ?) ORDER BY submitted_s
    """
    rows = [application_of(row) for row in ledger.select(query, (until_s, since_s))]
    sums = """
        SELECT namespace, app_id, kind, SUM(energy_kwh), SUM(carbon_g),
               SUM(CASE WHEN unknown_reason <> '' THEN energy_kwh ELSE 0 END), MAX(unknown_reason)
        FROM bookings WHERE app_id <> '' GROUP BY namespace, app_id, kind
    """
    booked = {(GangKey(row[0], row[1]), row[2]): row[3:] for row in ledger.select(sums)}
    nothing = (0.0, 0.0, 0.0, "")
    out: list[Application] = []
    for row in rows:
        actual = booked.get((row.app, Kind.ACTUAL), nothing)
        baseline: Footprint | Missing
        if isinstance(row.baseline_s, Missing):
            baseline = row.baseline_s
        else:
            baseline = _footprint(booked.get((row.app, Kind.BASELINE), nothing))
        out.append(Application(row, actual[0], _footprint(actual), baseline))
    return out


def _footprint(row: Sequence[Any]) -> Footprint | Missing:
    energy_kwh, carbon_g, unknown_kwh, reason = row
    if unknown_kwh > 0:
        return Missing(f"intensity of {unknown_kwh:.3g} kWh not known: {reason}")
    return Footprint(energy_kwh, carbon_g or 0.0)


def _stages(ledger: Ledger, since_s: float, until_s: float) -> list[StageShare]:
    query = f"""
        {STAGE_ENERGY}
        SELECT namespace, app_id, stage, MAX(name), SUM(task_s), SUM(energy_kwh), COALESCE(SUM(carbon_g), 0),
               SUM(unknown_kwh)
        FROM shares GROUP BY namespace, app_id, stage ORDER BY 6 DESC, 1, 2, 3 LIMIT {MOST_STAGES}
    """  # noqa: S608
    rows = ledger.select(query, (since_s, until_s))
    return [StageShare(GangKey(namespace, app_id), *rest) for namespace, app_id, *rest in rows]


def _strategies(applications: Sequence[Application]) -> list[Runs]:
    by_name: dict[str, list[Application]] = {}
    for application in applications:
        by_name.setdefault(application.row.strategy or "(not named)", []).append(application)
    return [_runs(name, those) for name, those in sorted(by_name.items())]


def _runs(name: str, applications: Sequence[Application]) -> Runs:
    rows = [each.row for each in applications]
    ends = [row.ended_s for row in rows if row.ended_s is not None]
    savings = [each.saving for each in applications]
    known = [saving for saving in savings if not isinstance(saving, Missing)]
    carbon = [each.actual.carbon_g for each in applications if not isinstance(each.actual, Missing)]
    waits, turnarounds = [row.waiting_s for row in rows], [row.turnaround_s for row in rows]
    return Runs(
        name,
        len(rows),
        len(ends),
        math.fsum(each.energy_kwh for each in applications),
        math.fsum(carbon),
        len(rows) - len(carbon),
        spread(wait for wait in waits if not isinstance(wait, Missing)),
        spread(each for each in turnarounds if not isinstance(each, Missing)),
        max(ends) - min(row.submitted_s for row in rows) if ends else None,
        Saving(math.fsum(s.by_energy_g for s in known), math.fsum(s.by_intensity_g for s in known)),
        len(savings) - len(known),
    )
