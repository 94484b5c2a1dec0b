"""The default forecaster: ridge regressions and the naive blend, weighted by how well each did lately.

No weather, no calendar of holidays, no training job: everything is fitted, in milliseconds, from the history
that is passed. Coefficients of a week are fitted at its start, from what was over then. The same holds for
the weeks of the past quarter, so that there is an honest record of what each member would have said: it gives
the weights and the intervals.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

import numpy as np

from carbon_api.forecasts.base import Floats, Forecast, check_horizon
from carbon_api.forecasts.blend import AHEAD, Blend, blend_at, issue_rows
from carbon_api.forecasts.features import NEEDS, rows_at
from carbon_api.forecasts.hours import DAY, Hours, known_hours
from carbon_api.forecasts.intervals import CALIBRATION_DAYS, finish, past_errors
from carbon_api.forecasts.training import COUNT, GROUPS, WEEK, Group, fit
from carbon_api.readings import Missing
from carbon_api.series import Series

_FEWEST_TRIALS: Final = 7
"""Days on which a member must have been tried before it counts."""

_TRUST: Final = 4.0
"""Weights go with the mean square error to minus this."""

_BLOCK: Final = 6
"""Hours ahead that are weighted together."""

_NONE: Final = np.empty(0)


class _Memory:
    """The most recently used arrays, by key; the oldest go first."""

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[object, Floats] = OrderedDict()
        self._most = most

    def get(self, key: object) -> Floats | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key]

    def put(self, key: object, value: Floats) -> None:
        self._kept[key] = value
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


class Ridge:
    """Linear regressions on the last two weeks, one set of coefficients for each hour ahead.

    Results are remembered by a digest of the data they were made from: a forecast is a function of its
    arguments, whatever was asked before. Not for use from several threads at once.
    """

    def __init__(self) -> None:
        self._coefficients = _Memory(128)
        self._weeks = _Memory(2048)

    @property
    def name(self) -> str:
        """`ridge`."""
        return "ridge"

    def forecast(self, history: Series, issue_s: float, horizon: int) -> Forecast | Missing:
        """See `Forecaster.forecast`. Needs one day of values; gets better up to two years.

        With less than about seven weeks the answer is the naive blend's, and says so in `method`.
        """
        check_horizon(history, horizon)
        hours = known_hours(history, issue_s)
        if isinstance(hours, Missing):
            return hours
        days = issue_rows(hours, CALIBRATION_DAYS, NEEDS)
        if not len(days):
            return Blend().forecast(history, issue_s, horizon)
        record, now = self._members(hours, days)
        weights = _weights(hours, days, record, now)
        if not weights[:-1].any():
            return Blend().forecast(history, issue_s, horizon)
        errors = past_errors(hours, days, np.einsum("mh,mdh->dh", weights, np.nan_to_num(record)))
        usable = ~np.isnan(record[weights[:, 0] > 0, :, 0]).any(axis=0)
        errors[~usable] = np.nan
        ahead = np.einsum("mh,mh->h", weights, np.nan_to_num(now))
        return finish(history, issue_s, horizon, hours, ahead, errors, self.name)

    def _members(self, hours: Hours, days: np.ndarray) -> tuple[Floats, Floats]:
        """Each member's predictions on past days, float64[members, days, 96], and of now; the blend is last.

        NaN where a member had too little to learn from.
        """
        issues = np.append(days, len(hours.logs))
        said = np.full((COUNT + 1, len(issues), AHEAD), np.nan)
        said[:-1] = self._regressions(hours, issues)
        said[-1] = blend_at(hours, issues)
        return said[:, :-1], said[:, -1]

    def _regressions(self, hours: Hours, issues: np.ndarray) -> Floats:
        """The same for the regressions: each issue by the coefficients of its week."""
        phase = hours.end % DAY
        starts = (hours.first + issues) // WEEK * WEEK
        weeks = [int(start) for start in np.unique(starts)]
        digests = _digests(hours, [*weeks, weeks[-1] + WEEK])
        said = np.full((COUNT, len(issues), AHEAD), np.nan)
        unknown: list[int] = []
        for week in weeks:
            kept = self._weeks.get((digests[week + WEEK], phase))
            if kept is None:
                unknown.append(week)
            else:
                said[:, starts == week] = kept[:, -int((starts == week).sum()) :]
        if not unknown:
            return said
        coefficients = [self._fitted(hours, group, phase, unknown, digests) for group in GROUPS]
        for week in unknown:
            made = _said(hours, week, phase, [found.get(week) for found in coefficients])
            said[:, starts == week] = made[:, -int((starts == week).sum()) :]
            if week + WEEK <= hours.end:
                self._weeks.put((digests[week + WEEK], phase), made)
        return said

    def _fitted(
        self, hours: Hours, group: Group, phase: int, weeks: list[int], digests: dict[int, bytes]
    ) -> dict[int, Floats]:
        """Coefficients of a group for each week, as far as there are any.

        Those of the present week are kept, and all of groups that serve every hour of the day.
        """
        phase = phase if group.every == DAY else 0
        found: dict[int, Floats] = {}
        unknown: list[int] = []
        for week in weeks:
            kept = self._coefficients.get((digests[week], group, phase))
            if kept is None:
                unknown.append(week)
            elif len(kept):
                found[week] = kept
        if unknown:
            fitted = fit(hours, group, phase, unknown)
            found |= fitted
            for week in unknown:
                if group.every < DAY or week + WEEK > hours.end:
                    self._coefficients.put((digests[week], group, phase), fitted.get(week, _NONE))
        return found


def _said(hours: Hours, week: int, phase: int, coefficients: list[Floats | None]) -> Floats:
    """Regressions' predictions at an hour of the day in a week, as far as it has passed, oldest first.

    float64[COUNT, issues, 96] in logarithms; NaN for groups without coefficients.
    """
    issues = np.arange(week + phase, min(week + WEEK, hours.end + 1), DAY) - hours.first
    issues = issues[issues >= NEEDS]
    rows = rows_at(hours, issues)
    parts = [
        np.full((len(group.penalties), len(issues), AHEAD), np.nan)
        if found is None
        else rows.features @ found + rows.usual
        for group, found in zip(GROUPS, coefficients, strict=True)
    ]
    return np.concatenate(parts)


def _digests(hours: Hours, ends: list[int]) -> dict[int, bytes]:
    """Identifies everything known before each of the hours `ends` since the epoch, given in order."""
    made = blake2b(f"{hours.first}".encode(), digest_size=16)
    found: dict[int, bytes] = {}
    row = 0
    for end in ends:
        known = slice(row, max(row, end - hours.first))
        made.update(hours.logs[known].tobytes())
        made.update(hours.known[known].tobytes())
        found[end] = made.digest()
        row = known.stop
    return found


def _weights(hours: Hours, days: np.ndarray, record: Floats, now: Floats) -> Floats:
    """How much each member counts at each hour ahead, float64[members, 96]; each column adds up to 1.

    By the mean square error of the past quarter, over six hours at a time. A member without a week of
    trials, or with nothing to say now, counts nothing.
    """
    weights = np.zeros((len(record), AHEAD))
    for number, said in enumerate(record):
        errors = past_errors(hours, days, said).reshape(len(days), -1, _BLOCK)
        trials = (~np.isnan(errors)).sum(axis=(0, 2))
        if trials.min() < _FEWEST_TRIALS * _BLOCK or np.isnan(now[number]).any():
            continue
        squares = np.nansum(errors**2, axis=(0, 2)) / trials
        weights[number] = np.repeat((squares + 1e-9) ** -_TRUST, _BLOCK)
    total = weights.sum(axis=0)
    if not total.all():
        weights[-1] = 1.0
        return weights
    return weights / total
