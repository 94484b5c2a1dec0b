"""The grids of the experiment: shipped synthetic ones, recorded ones from a directory, and their forecasts.

Every forecast is made by the carbon service's default forecaster from what was known when it was issued.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from carbon_api.forecasts import forecaster
from carbon_api.readings import Missing
from carbon_api.series import Series
from carbon_api.sources.traces import read_trace
from carbon_api.synthetic import GRIDS, generate
from extender.lab.simulation.grid import Floats, Grid

DAY_S: Final = 86_400
HOUR_S: Final = 3600.0
ZONE: Final = "zone"
LONGEST_DAYS: Final = 18
"""Days of a trace that a run may need: eight of submissions, and the time until the last one has ended."""
_FORECAST_H: Final = 48
_HISTORY_DAYS: Final = 60
"""The forecaster needs about seven weeks before it is at its best."""
_FIRST_DAY: Final = 18_262  # 1 January 2020
_SYNTHETIC_DAYS: Final = 366 + 365


class Ahead(StrEnum):
    """Knowledge of the future.

    forecast  what the carbon service would have forecast then
    oracle    the future itself
    flat      nothing happens: every hour has the same intensity, and the forecast says so
    """

    FORECAST = "forecast"
    ORACLE = "oracle"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a grid comes from: a synthetic grid's name, or the CSV files of a recorded zone."""

    name: str
    utc_offset_h: float
    files: tuple[str, ...] = ()


RECORDED: Final = (
    Place("US-CAL-CISO", -8.0, ("US-CAL-CISO_2021_hourly.csv", "US-CAL-CISO_2022_hourly.csv")),
    Place("DE", 1.0, ("DE_2021H1.csv",)),
    Place("ES", 1.0, ("ES_2021_hourly.csv", "ES_2022_hourly.csv")),
)
SYNTHETIC: Final = tuple(Place(grid.name, grid.utc_offset_h) for grid in GRIDS.values())


def places(data: Path | None) -> list[Place]:
    """All synthetic grids, and the recorded ones whose files lie in this directory."""
    there = [
        each for each in RECORDED if data is not None and all((data / name).is_file() for name in each.files)
    ]
    return [*there, *SYNTHETIC]


@cache
def series(place: Place, data: Path | None) -> Series:
    """A grid's whole trace in hours."""
    if not place.files:
        return generate(place.name, 0, _FIRST_DAY * DAY_S, _SYNTHETIC_DAYS * 24)
    assert data is not None
    return read_trace([data / name for name in place.files], place.name)[0]


def week_start_s(trace: Series, seed: int) -> int:
    """Midnight UTC at which the experiment of a seed begins: seeds spread over the trace, evenly.

    After two years of history where the trace is that long, else after two months; and without a gap until
    the last gang has ended.
    """
    first = max(_HISTORY_DAYS, min(365, len(trace) // 48))
    last = len(trace) // 24 - LONGEST_DAYS
    day = first + int(_spread(seed) * (last - first))
    for later in range(first, last + 1):
        candidate = first + (day - first + later - first) % (last - first + 1)
        window = trace.values[candidate * 24 : (candidate + LONGEST_DAYS) * 24]
        if not np.isnan(window).any():
            return trace.start_s + candidate * DAY_S
    raise ValueError(f"{trace.zone}: no {LONGEST_DAYS} days without a gap")


def grid(place: Place, data: Path | None, seed: int, ahead: Ahead, kept: Path) -> Grid:
    """The grid of a seed's experiment. Forecasts are kept in the directory `kept`: they take seconds."""
    trace = series(place, data)
    start_s = week_start_s(trace, seed)
    row = (start_s - trace.start_s) // 3600
    values = np.array(trace.values[row : row + LONGEST_DAYS * 24])
    if ahead is Ahead.FLAT:
        values = np.full(len(values), float(values.mean()))
        return Grid(ZONE, float(start_s), HOUR_S, values, np.repeat(values[:, None], _FORECAST_H, axis=1))
    if ahead is Ahead.ORACLE:
        return Grid(ZONE, float(start_s), HOUR_S, values)
    return Grid(ZONE, float(start_s), HOUR_S, values, *_forecasts(trace, start_s, kept))


def _forecasts(trace: Series, start_s: int, kept: Path) -> Floats:
    """Forecasts issued at the beginning of each hour: means, lows, highs, float64[3, hours, 48].

    NaN where there was none.
    """
    digest = hashlib.blake2b(trace.values.tobytes(), digest_size=8).hexdigest()
    path = kept / f"forecasts-{trace.zone}-{start_s}-{digest}.npy"
    if path.is_file():
        return np.load(path)
    method = forecaster()
    out = np.full((3, LONGEST_DAYS * 24, _FORECAST_H), np.nan)
    for hour in range(out.shape[1]):
        made = method.forecast(trace, start_s + hour * HOUR_S, _FORECAST_H)
        if not isinstance(made, Missing):
            out[:, hour, : len(made)] = made.mean, made.low, made.high
    kept.mkdir(parents=True, exist_ok=True)
    # Another process may be at the same week: whoever is last writes the same numbers.
    partial = path.with_suffix(f".{os.getpid()}.npy")
    np.save(partial, out)
    partial.replace(path)
    return out


def _spread(number: int) -> float:
    """The van der Corput sequence in base 2: 0.5, 0.25, 0.75, 0.125, ... for 0, 1, 2, 3, ..."""
    number, out, part = number + 1, 0.0, 0.5
    while number:
        out += part * (number & 1)
        number >>= 1
        part /= 2
    return out
