"""Reads traces of carbon intensity: the five CSV layouts in which Electricity Maps' data is passed around.

Columns are found by their normalised names, never by position. A row that cannot be read or believed leaves a
gap and is counted; it costs no other row. Nothing is interpolated.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from carbon_api import times
from carbon_api.readings import Kind, Missing, Reason, Value, read
from carbon_api.series import MOST_ROWS, Series
from carbon_api.sources.base import SourceError

_UNIT = re.compile(r"\(?\bg\s?co(2|₂)(e|eq)?/kwh\)?")
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_TIMES: Final = ("datetime_utc", "utc_time", "datetime", "timestamp")
_ZONES: Final = ("zone_id", "zone_name", "zone")
_LIFE_CYCLE: Final = ("carbon_intensity_life_cycle", "carbon_intensity_lca")
_DIRECT: Final = ("carbon_intensity_direct",)
_UNSAID: Final = ("carbon_intensity_avg", "carbon_intensity")
_LONGEST_STEP_S: Final = 86_400
_LONGEST_HOLE_S: Final = 366 * 86_400
"""A hole longer than this has a wrong year beside it."""


@dataclass
class Notes:
    """Irregularities of a trace, for the log."""

    rows: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    duplicates: int = 0
    conflicts: int = 0
    gaps: int = 0

    @property
    def refused_rows(self) -> int:
        """Rows that could not be used; those of other zones are not meant."""
        return sum(count for reason, count in self.refused.items() if reason is not Reason.WRONG_ZONE)

    def __str__(self) -> str:
        parts = [f"{self.rows} rows", f"{self.gaps} gaps"]
        parts += [f"{count} refused ({reason})" for reason, count in sorted(self.refused.items())]
        if self.duplicates:
            parts.append(f"{self.duplicates} duplicates, {self.conflicts} of them contradicting")
        return ", ".join(parts)


@dataclass(frozen=True)
class Columns:
    """Where a layout keeps what is needed. `zone` and `estimated` may be absent."""

    time: str
    value: str
    zone: str | None
    estimated: str | None


def normalised(header: str) -> str:
    """A column name in lower case, without its unit, words joined by underscores."""
    plain = _UNIT.sub(" ", header.lower().lstrip("\ufeff"))
    return _NOT_WORD.sub("_", plain).strip("_")


def columns(header: Iterable[str], direct: bool, name: str) -> Columns:
    """The columns to read. `direct` asks for direct factors, not life-cycle ones; `name` is the file's.

    Raises `SourceError` if time or value is not there, or the file has other factors than those wanted.
    """
    known = {normalised(each) for each in header}
    time = next((each for each in _TIMES if each in known), None)
    if time is None:
        raise SourceError(f"{name}: no column holds the time; one of {', '.join(_TIMES)} is needed")
    wanted = _DIRECT if direct else _LIFE_CYCLE
    value = next((each for each in (*wanted, *_UNSAID) if each in known), None)
    if value is None:
        raise SourceError(
            f"{name}: no column holds the {'direct' if direct else 'life-cycle'} carbon intensity"
        )
    if value in _UNSAID:
        said = "direct" if "_direct_" in name else "lifecycle" if "_lifecycle_" in name else None
        if direct and said != "direct":
            raise SourceError(f"{name}: holds no intensity with direct factors; set factors: life-cycle")
        if not direct and said == "direct":
            raise SourceError(f"{name}: holds direct factors; set factors: direct")
    zone = next((each for each in _ZONES if each in known), None)
    return Columns(time, value, zone, "data_estimated" if "data_estimated" in known else None)


def read_trace(paths: Sequence[Path], zone: str, direct: bool = False) -> tuple[Series, Notes]:
    """The series of a zone in one or more files, and what was odd about them.

    `zone` must be the one the rows name, if they name any. Raises `SourceError` when nothing usable is there.
    """
    notes = Notes()
    values: dict[int, Value | None] = {}  # None: rows contradict each other
    others: set[str] = set()
    for path in paths:
        for value in _values(path, zone, direct, notes, others):
            at_s = int(value.at_s)
            if at_s not in values:
                values[at_s] = value
                continue
            notes.duplicates += 1
            known = values[at_s]
            if known is None or known.g_per_kwh != value.g_per_kwh:
                notes.conflicts += 1
                values[at_s] = None
    shown = ", ".join(path.name for path in paths)
    if not values:
        hint = f"; it has {', '.join(sorted(others)[:10])}" if others else ""
        raise SourceError(f"{shown}: no usable row for zone {zone}{hint} ({notes})")
    series = _series(zone, _together(values, notes), shown, notes)
    notes.gaps = int((~series.present).sum())
    return series, notes


def _values(path: Path, zone: str, direct: bool, notes: Notes, others: set[str]) -> Iterator[Value]:
    """The believable rows of one file."""
    try:
        # Bytes that are no UTF-8 spoil the cell that they stand in, not the file.
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if any("\ufffd" in name for name in header):
                raise SourceError(f"{path} is not a CSV file: its first line is no text in UTF-8")
            names = [normalised(each) for each in header]
            where = columns(names, direct, path.name)
            for cells in _rows(rows, notes):
                if not any(cells):
                    continue
                row = dict(zip(names, cells, strict=False))
                notes.rows += 1
                if where.zone is not None and (named := row.get(where.zone, "").strip()) != zone:
                    others |= {named} - {""}
                    notes.refused[Reason.WRONG_ZONE if named else Reason.UNREADABLE] += 1
                    continue
                value = _value(row, where, zero_possible=direct)
                if isinstance(value, Missing):
                    notes.refused[value.reason] += 1
                else:
                    yield value
    except OSError as problem:
        raise SourceError(f"{path}: {problem.strerror or 'cannot be read'}") from None
    except csv.Error as problem:
        raise SourceError(f"{path} is not a CSV file: {problem}") from None


def _rows(rows: Iterator[list[str]], notes: Notes) -> Iterator[list[str]]:
    """The rows that are CSV; others are counted."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error:
            notes.rows += 1
            notes.refused[Reason.UNREADABLE] += 1


def _together(values: Mapping[int, Value | None], notes: Notes) -> Mapping[int, Value | None]:
    """The longest stretch without a hole of more than a year. Rows outside it have a wrong year: counted."""
    moments = sorted(values)
    cuts = [row for row in range(1, len(moments)) if moments[row] - moments[row - 1] > _LONGEST_HOLE_S]
    bounds = [0, *cuts, len(moments)]
    stretches = [moments[first:last] for first, last in pairwise(bounds)]
    kept = max(stretches, key=len)
    if len(kept) < len(moments):
        notes.refused[Reason.UNREADABLE] += len(moments) - len(kept)
    return {at_s: values[at_s] for at_s in kept}


def _value(row: Mapping[str, str], where: Columns, *, zero_possible: bool) -> Value | Missing:
    try:
        written = row.get(where.time, "")
        at_s = float(int(written)) if where.time == "timestamp" else times.parse(written)
    except ValueError:
        return Missing(Reason.UNREADABLE, "the time cannot be read")
    if at_s != int(at_s):
        return Missing(Reason.UNREADABLE, "the time is not a whole second")
    try:
        raw = float(row.get(where.value, ""))
    except ValueError:
        return Missing(Reason.NOT_A_NUMBER, "the value is not a number")
    estimated = row.get(where.estimated or "", "").strip().lower() == "true"
    return read(raw, at_s, Kind.AVERAGE, "replay", estimated, zero_possible=zero_possible)


def _series(zone: str, values: Mapping[int, Value | None], shown: str, notes: Notes) -> Series:
    """The values on the raster of their most common distance and phase."""
    moments = np.array(sorted(values), dtype=np.int64)
    step_s = 3600
    if len(moments) > 1:
        distances, counts = np.unique(np.diff(moments), return_counts=True)
        step_s = int(distances[counts.argmax()])
    if step_s > _LONGEST_STEP_S:
        raise SourceError(f"{shown}: values are {step_s} s apart; hourly ones or finer are needed")
    phases, counts = np.unique(moments % step_s, return_counts=True)
    on_raster = moments % step_s == phases[counts.argmax()]
    if strays := int((~on_raster).sum()):
        notes.refused[Reason.UNREADABLE] += strays
    moments = moments[on_raster]
    start_s = int(moments[0])
    rows = (moments - start_s) // step_s
    if rows[-1] >= MOST_ROWS:
        raise SourceError(f"{shown}: the times span more than {MOST_ROWS} steps; is one of them wrong?")
    numbers = np.full(int(rows[-1]) + 1, np.nan)
    flags = np.zeros(len(numbers), dtype=np.bool_)
    for row, at_s in zip(rows.tolist(), moments.tolist(), strict=True):
        if (value := values[at_s]) is not None:
            numbers[row], flags[row] = value.g_per_kwh, value.estimated
    return Series(zone, Kind.AVERAGE, "replay", step_s, start_s, numbers, flags if flags.any() else None)
