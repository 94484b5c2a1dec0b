"""The naive blend: every other forecaster has to beat it.

Mean of the last seven days by hour of the day, plus yesterday's error of that mean, which fades with a time
constant of a day. Nothing is trained.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from carbon_api.forecasts.base import Floats, Forecast, check_horizon
from carbon_api.forecasts.hours import DAY, Hours, from_logs, known_hours, to_logs
from carbon_api.forecasts.intervals import CALIBRATION_DAYS, PastErrors, finish, past_errors
from carbon_api.readings import Missing
from carbon_api.series import Series

PROFILE_DAYS: Final = 7
AHEAD: Final = 96
"""Hours that every forecast looks ahead internally; the requested horizon is a part of them."""

FADE: Final = np.exp(-np.arange(AHEAD) / 24.0)


def blend_at(hours: Hours, issues: np.ndarray) -> Floats:
    """Blends issued before the rows `issues` of `hours`, as logarithms, float64[len(issues), 96].

    With less than a week before an issue, the days there are stand in for the week. At least one is needed.
    """
    made = np.empty((len(issues), AHEAD))
    values = from_logs(hours.logs)
    days = np.minimum(issues // DAY, PROFILE_DAYS)
    for count in np.unique(days):
        chosen = np.nonzero(days == count)[0]
        back = issues[chosen, None] + np.arange(-int(count) * DAY, 0)
        past = values[back].reshape(len(chosen), int(count), DAY)
        profile = past.mean(axis=1)
        error = (past[:, -1] - profile).mean(axis=1)
        ahead = np.tile(profile, AHEAD // DAY) + error[:, None] * FADE
        made[chosen] = to_logs(np.maximum(ahead, 0.0))
    return made


def issue_rows(hours: Hours, days: int, earliest: int) -> np.ndarray:
    """Rows of the issue hour on the last `days` days before now, oldest first, none before `earliest`."""
    now = len(hours.logs)
    rows = now - DAY * np.arange(days, 0, -1)
    return rows[rows >= earliest]


class Blend:
    """The naive blend, with intervals from its own errors of the last three months."""

    @property
    def name(self) -> str:
        """`blend`."""
        return "blend"

    def forecast(self, history: Series, issue_s: float, horizon: int) -> Forecast | Missing:
        """See `Forecaster.forecast`. Needs one day of values."""
        check_horizon(history, horizon)
        hours = known_hours(history, issue_s)
        if isinstance(hours, Missing):
            return hours
        rows = issue_rows(hours, CALIBRATION_DAYS, PROFILE_DAYS * DAY)
        errors: PastErrors = past_errors(hours, rows, blend_at(hours, rows))
        ahead = blend_at(hours, np.array([len(hours.logs)]))[0]
        return finish(history, issue_s, horizon, hours, ahead, errors, self.name)
