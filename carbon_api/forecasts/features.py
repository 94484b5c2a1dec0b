"""Features of a linear forecast: deviations from the usual day, as seen at an issue hour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from carbon_api.forecasts.base import Floats
from carbon_api.forecasts.blend import AHEAD, PROFILE_DAYS
from carbon_api.forecasts.hours import DAY, Hours

NEEDS: Final = 14 * DAY
"""Hours before an issue that its features look at."""

_LAGS: Final = 48
_WEEKDAY_WEIGHT: Final = 0.3
_SEASON_WEIGHT: Final = 0.3
_USUAL: Final = 5.3
_DAYS_PER_YEAR: Final = 365.25


@dataclass(frozen=True)
class Rows:
    """Issues as rows: `features` float64[n, FEATURES], the `usual` day repeated, and the `targets` around it.

    All in logarithms. `targets` (float64[n, 96]) is NaN where the hour is not over yet; `sound` says which
    rows have mostly measured, not filled, hours before and after them.
    """

    issues: np.ndarray
    features: Floats
    usual: Floats
    targets: Floats
    sound: np.ndarray


def rows_at(hours: Hours, issues: np.ndarray) -> Rows:
    """Features, usual days and targets of issues before the rows `issues` of `hours`, each >= `NEEDS`.

    Features: the last 48 hours against the usual day (mean by hour of the last seven days); the means of
    the last 14 days against the week's; shape and level of the usual day; weekday and season.
    """
    before = sliding_window_view(hours.logs, NEEDS)[issues - NEEDS]
    usual = before[:, -PROFILE_DAYS * DAY :].reshape(-1, PROFILE_DAYS, DAY).mean(axis=1)
    level = usual.mean(axis=1, keepdims=True)
    lags = before[:, -_LAGS:] - np.tile(usual, _LAGS // DAY)
    days = before.reshape(len(issues), -1, DAY).mean(axis=2) - level
    features = np.hstack([lags, days, usual - level, level - _USUAL, _calendar(hours.first + issues)])

    ahead = np.minimum(issues[:, None] + np.arange(AHEAD), len(hours.logs) - 1)
    over = issues[:, None] + np.arange(AHEAD) < len(hours.logs)
    tiled = np.tile(usual, AHEAD // DAY)
    targets = np.where(over, hours.logs[ahead] - tiled, np.nan)
    measured = sliding_window_view(hours.known, NEEDS)[issues - NEEDS].mean(axis=1)
    sound = (measured >= 0.75) & (hours.known[ahead].mean(axis=1) >= 0.75)
    return Rows(issues, features, tiled, targets, sound)


def _calendar(hour: np.ndarray) -> Floats:
    """Weekday, season and hour of the day of an hour since the epoch (UTC), and a constant."""
    day = hour / DAY
    weekday = np.eye(7)[(hour // DAY + 3) % 7] * _WEEKDAY_WEIGHT
    year = 2.0 * np.pi * day / _DAYS_PER_YEAR
    clock = 2.0 * np.pi * (hour % DAY) / DAY
    season = [np.sin(year), np.cos(year), np.sin(2 * year), np.cos(2 * year)]
    daily = [np.sin(clock), np.cos(clock), np.sin(2 * clock), np.cos(2 * clock)]
    waves = np.column_stack(season + daily) * _SEASON_WEIGHT
    return np.hstack([weekday, waves, np.ones((len(hour), 1))])
