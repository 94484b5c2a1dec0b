"""The published experiment: eight stress-ng tasks, whose work follows series of the NAB benchmark."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from extender.bsp.core.forecasting import Forecaster, Outlook, Persistence, Ridge, outlook
from extender.bsp.core.profile import Profile
from extender.bsp.inputs import InputsUnusable, Recorded

Floats = NDArray[np.float64]

SERIES: Final = {
    "affinity": "nyc_taxi_1",
    "atomic": "nyc_taxi_2",
    "bsearch": "nyc_taxi_3",
    "cap": "nyc_taxi_4",
    "chmod": "art_daily_small_noise",
    "memcpy": "ambient_temperature_system_failure_1",
    "vecmath": "ambient_temperature_system_failure_2",
    "zero": "ambient_temperature_system_failure_3",
}

_LEAST_SIZE: Final = 10.0
_SIZE_RANGE: Final = 40.0
_TESTED: Final = 1000
"""Rows over which sizes are scaled to 10..50, as the original does."""

_BEFORE_END: Final = 1019
_LEADS: Final = 10
_EARLIER: Final = 300
_DAY_S: Final = 86_400
_WEEK_S: Final = 7 * _DAY_S


@dataclass(frozen=True, slots=True)
class Series:
    """Values at equal distances, and how many of them make a day and a week."""

    values: Floats
    seasons: tuple[int, ...]


def read_series(path: Path) -> Series:
    """A CSV file with the columns timestamp and value. Raises `InputsUnusable`."""
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        values = np.array([float(row["value"]) for row in rows])
        first, second = (datetime.fromisoformat(row["timestamp"]) for row in rows[:2])
        apart_s = (second - first).total_seconds()
    except OSError as problem:
        raise InputsUnusable(f"{path}: {problem.strerror}") from None
    except (KeyError, ValueError, TypeError) as problem:
        raise InputsUnusable(f"{path}: not a CSV file with timestamp and value: {problem}") from None
    if apart_s <= 0:
        raise InputsUnusable(f"{path}: the timestamps must ascend")
    return Series(values, tuple(round(season / apart_s) for season in (_DAY_S, _WEEK_S) if season > apart_s))


@dataclass(frozen=True, slots=True)
class Experiment:
    """The work that is done, and the forecasts of it; arrays are `[row, lead, member]`.

    `forecast` is the original's LSTM network, `perfect` scales each lead by its own range like the original,
    `ours` and `certain` (a perfect forecast for our controllers) scale all leads like the work that is done.
    """

    profile: Profile
    actual: Floats
    forecast: Floats
    perfect: Floats
    ours: Outlook
    certain: Outlook
    persistence: Floats

    def first(self, members: int) -> Experiment:
        """The same with the first so many members."""
        few = slice(0, members)
        return Experiment(
            self.profile.first(members),
            self.actual[:, few],
            self.forecast[:, :, few],
            self.perfect[:, :, few],
            Outlook(self.ours.mean[:, :, few], self.ours.errors[:, :, few]),
            Outlook(self.certain.mean[:, :, few], self.certain.errors[:, :, few]),
            self.persistence[:, :, few],
        )

    @property
    def steps(self) -> int:
        """Supersteps of a run."""
        return len(self.actual)


def prepare(recorded: Recorded, folder: Path) -> Experiment:
    """The experiment from its record and the folder of series. Raises `InputsUnusable`."""
    with threadpool_limits(1):  # the matrices are small: more threads only wait for each other
        return _prepare(recorded, folder)


def _prepare(recorded: Recorded, folder: Path) -> Experiment:
    steps, files = len(recorded.actual), []
    for member in recorded.profile.members:
        if member not in SERIES:
            raise InputsUnusable(f"no series belongs to the member {member}; known are {', '.join(SERIES)}")
        files.append(read_series(folder / f"{SERIES[member]}.csv"))
    for file, member in zip(files, recorded.profile.members, strict=True):
        if len(file.values) < _BEFORE_END + 2 * _EARLIER:
            raise InputsUnusable(
                f"{SERIES[member]}.csv has {len(file.values)} values, too few for its forecasts"
            )
    firsts = [len(each.values) - _BEFORE_END for each in files]
    sizes = [_scaled(each.values, each.values, first) for each, first in zip(files, firsts, strict=True)]
    ridge: list[Forecaster] = [Ridge(each.seasons) for each in files]
    certain = np.stack(
        [_leads(size, first, steps) for size, first in zip(sizes, firsts, strict=True)], axis=2
    )
    persistence = outlook(sizes, [Persistence()] * len(sizes), firsts, steps, _LEADS, 0).mean
    return Experiment(
        recorded.profile,
        certain[:, 0],
        recorded.forecast,
        np.stack(
            [_own_ranges(each.values, first, steps) for each, first in zip(files, firsts, strict=True)],
            axis=2,
        ),
        outlook(sizes, ridge, firsts, steps, _LEADS, _EARLIER),
        Outlook(certain, np.zeros((steps + _LEADS, _LEADS, len(files)))),
        persistence,
    )


def _scaled(values: Floats, like: Floats, first: int) -> Floats:
    """Sizes from 10 to 50 over the tested rows that begin at `first`."""
    tested = like[first : first + _TESTED]
    return _LEAST_SIZE + _SIZE_RANGE * (values - tested.min()) / (tested.max() - tested.min())


def _leads(sizes: Floats, first: int, steps: int) -> Floats:
    return sizes[first + np.arange(steps)[:, None] + np.arange(_LEADS)]


def _own_ranges(values: Floats, first: int, steps: int) -> Floats:
    """Each lead scaled over its own rows, so that a later lead has slightly other sizes."""
    columns = [
        _scaled(values[first + lead : first + lead + steps], values, first + lead) for lead in range(_LEADS)
    ]
    return np.stack(columns, axis=1)
