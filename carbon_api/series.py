"""One zone's intensities at equal steps: what traces hold, histories answer and forecasters learn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from carbon_api.readings import HIGHEST_G_PER_KWH, Kind, Missing, Reading, Reason, Value

MOST_ROWS: Final = 5_000_000
"""Five-minute values of nearly fifty years: more is a wrong time stamp, not a series."""


@dataclass(frozen=True)
class Series:
    """Intensities of a zone in gCO2e/kWh, one every `step_s` from `start_s` (epoch seconds); NaN is missing.

    `estimated` flags values that the source calls estimated; None means that none is. Both arrays are
    read-only.
    Raises `ValueError` for a step that is not positive, and for numbers that cannot be intensities.
    """

    zone: str
    kind: Kind
    source: str
    step_s: int
    start_s: int
    values: NDArray[np.float64]
    estimated: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.step_s <= 0:
            raise ValueError(f"the step of a series must be positive, not {self.step_s} s")
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(f"a series has one dimension, not {values.ndim}")
        known = values[~np.isnan(values)]
        if known.size and not (known.min() >= 0.0 and known.max() <= HIGHEST_G_PER_KWH):
            raise ValueError(f"a series of {self.zone} has values outside 0..{HIGHEST_G_PER_KWH:.0f} g/kWh")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
        if self.estimated is not None:
            flags = np.array(self.estimated, dtype=np.bool_)
            if flags.shape != values.shape:
                raise ValueError("a series needs as many estimated flags as values")
            flags.flags.writeable = False
            object.__setattr__(self, "estimated", flags)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def end_s(self) -> int:
        """End of the last interval, in epoch seconds; this moment itself is not covered."""
        return self.start_s + self.step_s * len(self.values)

    @property
    def present(self) -> NDArray[np.bool_]:
        """True where a value is known."""
        return ~np.isnan(self.values)

    @property
    def times(self) -> NDArray[np.int64]:
        """Start of each interval in epoch seconds."""
        return self.start_s + self.step_s * np.arange(len(self.values), dtype=np.int64)

    def at(self, t: float) -> Reading:
        """The reading whose interval holds the moment `t` (epoch seconds)."""
        if not self.start_s <= t < self.end_s:
            return Missing(Reason.NOT_COVERED)
        return self.reading(int((t - self.start_s) // self.step_s))

    def reading(self, row: int) -> Reading:
        """The reading of a row."""
        value = float(self.values[row])
        if math.isnan(value):
            return Missing(Reason.GAP)
        flagged = self.estimated is not None and bool(self.estimated[row])
        return Value(value, self.start_s + self.step_s * row, self.kind, flagged, self.source)

    def _row_from(self, t: float) -> int:
        """The first row that does not start before `t`; the number of rows if there is none."""
        return math.ceil(min(max((t - self.start_s) / self.step_s, 0.0), float(len(self.values))))

    def readings(self) -> Iterator[tuple[int, Reading]]:
        """Every interval's start and reading, oldest first."""
        for row in range(len(self.values)):
            yield self.start_s + self.step_s * row, self.reading(row)

    def window(self, start_s: float, end_s: float) -> Series:
        """The intervals that start within start_s <= t < end_s, as a series; possibly empty."""
        first = self._row_from(start_s)
        last = max(first, self._row_from(end_s))
        return Series(
            self.zone,
            self.kind,
            self.source,
            self.step_s,
            self.start_s + self.step_s * first,
            self.values[first:last],
            None if self.estimated is None else self.estimated[first:last],
        )

    def repeated(self, start_s: float, end_s: float) -> Series:
        """Like `window`, but after its last whole day the series starts again, for ever.

        Time continues, only the values return: so hours of the day keep their place. A series shorter than a
        day repeats as a whole. Nothing lies before its start.
        """
        rows_a_day = max(1, 86_400 // self.step_s)
        period = (len(self.values) // rows_a_day) * rows_a_day or len(self.values)
        first = max(0, math.ceil((start_s - self.start_s) / self.step_s))
        count = max(0, math.ceil((end_s - self.start_s) / self.step_s) - first) if period else 0
        if count >= MOST_ROWS:
            raise ValueError(f"the window has more than {MOST_ROWS} intervals; request a shorter one")
        rows = np.arange(first, first + count) % max(1, period)
        return Series(
            self.zone,
            self.kind,
            self.source,
            self.step_s,
            self.start_s + self.step_s * first,
            self.values[rows],
            None if self.estimated is None else self.estimated[rows],
        )

    def merged(self, newer: Series, keep_s: float = math.inf) -> Series:
        """Both in one: known values of `newer` replace ours; what is older than `keep_s` before the end goes.

        Raises `ValueError` if zone, kind, source, step or raster differ: such values must not be mixed.
        """
        ours = (self.zone, self.kind, self.source, self.step_s, self.start_s % self.step_s)
        theirs = (newer.zone, newer.kind, newer.source, newer.step_s, newer.start_s % newer.step_s)
        if ours != theirs:
            raise ValueError(f"values of {theirs} cannot join a series of {ours}")
        end_s = max(self.end_s, newer.end_s)
        keep_rows = math.floor(min(keep_s / self.step_s, float(MOST_ROWS)))
        start_s = max(min(self.start_s, newer.start_s), end_s - keep_rows * self.step_s)
        values = np.full((end_s - start_s) // self.step_s, np.nan)
        flags = np.zeros(len(values), dtype=np.bool_)
        for part in (self.window(start_s, end_s), newer.window(start_s, end_s)):
            rows = np.flatnonzero(part.present) + (part.start_s - start_s) // self.step_s
            values[rows] = part.values[part.present]
            flags[rows] = False if part.estimated is None else part.estimated[part.present]
        return Series(
            self.zone, self.kind, self.source, self.step_s, start_s, values, flags if flags.any() else None
        )


def from_values(zone: str, step_s: int, values: Iterable[Value], kind: Kind, source: str) -> Series:
    """A series through values of one kind, whatever their order; the last one given for an interval counts.

    Raises `ValueError` if there is none, or if one is of another kind.
    """
    rows: dict[int, Value] = {}
    for value in values:
        if value.kind is not kind:
            raise ValueError(f"a {kind} series of {zone} cannot take a {value.kind} value")
        rows[math.floor(value.at_s / step_s)] = value
    if not rows:
        raise ValueError(f"no values to make a series of {zone} from")
    first, last = min(rows), max(rows)
    if last - first >= MOST_ROWS:
        raise ValueError(f"the values of {zone} are spread over more than {MOST_ROWS} intervals")
    numbers = np.full(last - first + 1, np.nan)
    flags = np.zeros(last - first + 1, dtype=np.bool_)
    for row, value in rows.items():
        numbers[row - first] = value.g_per_kwh
        flags[row - first] = value.estimated
    return Series(zone, kind, source, step_s, first * step_s, numbers, flags if flags.any() else None)
