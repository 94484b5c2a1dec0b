"""How good forecasts were: errors, intervals, and whether the cleanest hours were found.

A scheduler needs the order of hours more than their values, so the last question counts most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from carbon_api.forecasts.base import Floats, Forecaster
from carbon_api.readings import Missing
from carbon_api.series import Series

CLEANEST_HOURS: Final = (1, 4, 8)
"""How many cleanest hours of a day are looked for."""

LEAST_G: Final = 1.0
"""Actual values below this are left out of percentages, where they would drown everything else."""

_DAY_S: Final = 86_400


@dataclass(frozen=True)
class Trials:
    """Forecasts of one method beside what came: float64[issues, steps] each, gCO2e/kWh.

    `actual` is NaN where nothing was measured. `missing` counts issues at which there was no forecast.
    """

    zone: str
    method: str
    step_s: int
    issued_s: Floats
    mean: Floats
    low: Floats
    high: Floats
    actual: Floats
    missing: int

    @property
    def days(self) -> int:
        """Days that each forecast looks ahead."""
        return self.actual.shape[1] * self.step_s // _DAY_S


@dataclass(frozen=True)
class Found:
    """Whether the cleanest hours of a day were found.

    `overlap` is the share of them that the forecast chose, `regret_g` what the chosen hours emitted above
    the cleanest ones, gCO2e/kWh, and `regret_pct` the same in percent of those.
    """

    overlap: float
    regret_g: float
    regret_pct: float


@dataclass(frozen=True)
class Score:
    """One zone, one method, one day ahead (1 is the next 24 hours). NaN where nothing could be compared."""

    zone: str
    method: str
    day: int
    issues: int
    missing: int
    mape_pct: float
    mae_g: float
    coverage: float
    width_g: float
    cleanest: dict[int, Found]


def issue_times(series: Series, from_s: float, hours: Iterable[int], days: int) -> list[float]:
    """Every moment from `from_s` on, at the given UTC hours, after which `days` days of the series lie."""
    first = int(from_s // _DAY_S)
    last = (series.end_s - days * _DAY_S) // _DAY_S + 1
    moments = [day * _DAY_S + hour * 3600.0 for day in range(first, last + 1) for hour in sorted(set(hours))]
    return [at for at in moments if at >= from_s and at + days * _DAY_S <= series.end_s]


def try_out(
    series: Series, forecaster: Forecaster, issues: list[float], days: int, tick: Callable[[], None]
) -> Trials:
    """Issue a forecast at each moment, from what was known then. `tick` is called after each.

    Raises `ValueError` for steps that do not divide an hour.
    """
    if 3600 % series.step_s:
        raise ValueError(f"a back-test needs steps that divide an hour; {series.zone} has {series.step_s} s")
    steps = days * _DAY_S // series.step_s
    made: list[tuple[float, Floats, Floats, Floats, Floats]] = []
    for at in issues:
        forecast = forecaster.forecast(series, at, steps)
        if not isinstance(forecast, Missing) and len(forecast) == steps:
            actual = series.window(forecast.start_s, forecast.start_s + steps * series.step_s).values
            made.append((at, forecast.mean, forecast.low, forecast.high, actual))
        tick()
    times = np.array([at for at, *_ in made])
    shape = (len(made), steps)
    mean, low, high, actual = (np.array([row[part] for row in made]).reshape(shape) for part in range(1, 5))
    return Trials(
        series.zone,
        forecaster.name,
        series.step_s,
        times,
        mean,
        low,
        high,
        actual,
        len(issues) - len(made),
    )


def scores(trials: Trials) -> list[Score]:
    """A score for each day ahead."""
    return [_score(trials, day) for day in range(1, trials.days + 1)]


def mape_by_hour(trials: Trials) -> Floats:
    """Mean absolute percentage error by hour ahead, in percent."""
    shape = (len(trials.actual), -1, 3600 // trials.step_s)
    error = _percentages(trials.mean, trials.actual).reshape(shape)
    return np.array([_mean(error[:, hour]) for hour in range(error.shape[1])])


def _score(trials: Trials, day: int) -> Score:
    steps = _DAY_S // trials.step_s
    part = np.s_[:, (day - 1) * steps : day * steps]
    mean, low, high, actual = trials.mean[part], trials.low[part], trials.high[part], trials.actual[part]
    known = ~np.isnan(actual)
    inside = np.where(known, (actual >= low) & (actual <= high), np.nan)
    return Score(
        zone=trials.zone,
        method=trials.method,
        day=day,
        issues=len(actual),
        missing=trials.missing,
        mape_pct=_mean(_percentages(mean, actual)),
        mae_g=_mean(np.abs(mean - actual)),
        coverage=_mean(inside),
        width_g=_mean(high - low),
        cleanest={hours: _found(mean, actual, hours * 3600 // trials.step_s) for hours in CLEANEST_HOURS},
    )


def _percentages(mean: Floats, actual: Floats) -> Floats:
    usable = np.where(actual >= LEAST_G, actual, np.nan)
    return np.abs(mean - usable) / usable * 100.0


def _found(mean: Floats, actual: Floats, count: int) -> Found:
    """Over days without a gap: the `count` steps with the lowest forecast against the truly lowest."""
    whole = ~np.isnan(actual).any(axis=1)
    mean, actual = mean[whole], actual[whole]
    chosen = np.argsort(mean, axis=1, kind="stable")[:, :count]
    best = np.argsort(actual, axis=1, kind="stable")[:, :count]
    overlap = (chosen[:, :, None] == best[:, None, :]).any(axis=2)
    got = np.take_along_axis(actual, chosen, axis=1).mean(axis=1)
    possible = np.take_along_axis(actual, best, axis=1).mean(axis=1)
    share = (got - possible) / np.where(possible >= LEAST_G, possible, np.nan) * 100.0
    return Found(_mean(overlap.astype(np.float64)), _mean(got - possible), _mean(share))


def _mean(values: Floats) -> float:
    """The mean of what is known; NaN if nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
