"""Forecasts of work sizes that see the past only: persistence, the season before, and ridge regression.

Each forecast is made at an origin: the values before the origin are known, and lead 0 is the origin itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_INPUTS: Final = ((24, 2, 0.01), (12, 8, 0.02))
"""Two regressions are averaged. Of each: last values, values on either side of a season ago, shrinkage.

The narrow one is better at the first lead, the wide one at later ones.
"""

_REFIT_EVERY: Final = 50
_LEAST_ROWS: Final = 60


class ForecastUnusable(ValueError):
    """A series that is too short for what it should forecast; the text says how many values are missing."""


@dataclass(frozen=True, slots=True)
class Persistence:
    """The last known value, at every lead."""

    def paths(self, values: Floats, origins: Ints, leads: int) -> Floats:
        """Forecasts `[origin, lead]`."""
        return np.repeat(values[origins - 1][:, None], leads, axis=1)


@dataclass(frozen=True, slots=True)
class Seasonal:
    """The value of one season ago, moved by how far the last known value is from its own."""

    season: int

    def paths(self, values: Floats, origins: Ints, leads: int) -> Floats:
        """Forecasts `[origin, lead]`; persistence where a season is not known yet."""
        ahead = np.arange(leads)
        at = origins[:, None] + ahead - self.season * (1 + ahead // self.season)
        last = values[origins - 1]
        before = np.maximum(origins - 1 - self.season, 0)
        seasonal = values[np.maximum(at, 0)] + (last - values[before])[:, None]
        return np.where((origins > self.season)[:, None], seasonal, last[:, None])


@dataclass(frozen=True, slots=True)
class Ridge:
    """Two ridge regressions for each lead: the last values, and those around one and two seasons ago.

    It forecasts the change from the last known value. The regressions are fitted again every 50 origins, each
    time on what was known then, the scales of the inputs included.
    """

    seasons: tuple[int, ...] = ()

    def paths(self, values: Floats, origins: Ints, leads: int) -> Floats:
        """Forecasts `[origin, lead]` for ascending origins. Too little past raises `ForecastUnusable`."""
        forecasts = np.empty((len(origins), leads))
        for start in range(0, len(origins), _REFIT_EVERY):
            some = slice(start, start + _REFIT_EVERY)
            for lead in range(leads):
                forecasts[some, lead] = np.mean(
                    [self._forecast(values, origins[some], lead, *inputs) for inputs in _INPUTS], axis=0
                )
        return forecasts

    def _forecast(
        self, values: Floats, origins: Ints, lead: int, lags: int, around: int, shrinkage: float
    ) -> Floats:
        known = int(origins[0])
        shifts = self._shifts(lead, known, lags, around)
        trained = np.arange(int(-shifts.min()), known - lead)
        if len(trained) < _LEAST_ROWS:
            missing = _LEAST_ROWS - len(trained)
            raise ForecastUnusable(f"{known} values are too few for lead {lead}: {missing} more are needed")
        inputs, last = _inputs(values, trained, shifts)
        change = values[trained + lead] - last
        mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
        scaled = (inputs - mean) / scale
        normal = scaled.T @ scaled + shrinkage * len(trained) * np.eye(scaled.shape[1])
        weights = np.linalg.solve(normal, scaled.T @ (change - change.mean()))
        inputs, last = _inputs(values, origins, shifts)
        return last + change.mean() + ((inputs - mean) / scale) @ weights

    def _shifts(self, lead: int, known: int, lags: int, around: int) -> Ints:
        """Where the inputs lie relative to the origin, all before it; no season longer than half the past."""
        shifts = [-1 - lag for lag in range(1, lags)]
        for season in self.seasons:
            for times in (1, 2):
                centre = lead - season * times
                if known > 2 * season * times:
                    shifts += [centre + each for each in range(-around, around + 1) if centre + each < -1]
        return np.array(sorted(set(shifts)))


def _inputs(values: Floats, origins: Ints, shifts: Ints) -> tuple[Floats, Floats]:
    """Values relative to the last known one, and that one."""
    last = values[origins - 1]
    relative = values[origins[:, None] + shifts] - last[:, None]
    return np.column_stack([relative, last]), last


Forecaster = Persistence | Seasonal | Ridge


@dataclass(frozen=True, slots=True)
class Outlook:
    """Forecasts `mean[row, lead, member]`, and how wrong earlier ones were: quantiles come from those errors.

    `errors[row, lead, member]` are value less forecast of origins before the first row and of the rows
    themselves. Row r may look at errors whose value was known before it, which `scenarios` sees to.
    """

    mean: Floats
    errors: Floats

    @property
    def earlier(self) -> int:
        """How many origins there are before the first row."""
        return len(self.errors) - len(self.mean)

    def scenarios(self, row: int, count: int, leads: int, seed: int = 0, memory: int = 400) -> Floats:
        """Equally likely paths `[scenario, lead, member]`, of the errors in the last `memory` origins.

        A member's errors, in the order of their first lead, give one path for each of `count` quantiles.
        Members are paired at random, for their errors are taken to be independent.
        """
        random = np.random.default_rng((seed, row))
        complete = self.errors[: self.earlier + row - leads + 1, :leads][-memory:]
        if len(complete) < count:
            raise ForecastUnusable(
                f"{count} scenarios need as many past forecasts, there are {len(complete)}"
            )
        at = ((np.arange(count) + 0.5) / count * len(complete)).astype(np.int64)
        paths: list[Floats] = []
        for member in range(self.mean.shape[2]):
            errors = complete[:, :, member]
            ordered = errors[np.argsort(errors[:, 0], kind="stable")]
            paths.append(self.mean[row, :leads, member] + ordered[at][random.permutation(count)])
        return np.stack(paths, axis=2)


def outlook(
    series: Sequence[Floats],
    forecasters: Sequence[Forecaster],
    firsts: Sequence[int],
    rows: int,
    leads: int,
    earlier: int,
) -> Outlook:
    """Forecast each member's series for `rows` origins from its `first` on, and the `earlier` ones before.

    The errors of rows whose values lie beyond a series are not a number; nothing may look at them.
    """
    means: list[Floats] = []
    errors: list[Floats] = []
    for values, forecaster, first in zip(series, forecasters, firsts, strict=True):
        origins = np.arange(first - earlier, first + rows)
        paths = forecaster.paths(values, origins, leads)
        beyond = np.append(values, np.full(leads + rows, np.nan))
        errors.append(beyond[origins[:, None] + np.arange(leads)] - paths)
        means.append(paths[earlier:])
    return Outlook(np.stack(means, axis=2), np.stack(errors, axis=2))
