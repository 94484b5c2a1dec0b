"""From readings at any step to gapless hours on a logarithmic scale, and back to readings.

Forecasters work on whole UTC hours whatever the step of a source. They work on logarithms because errors of
grids are proportional: 10 % too high is as bad at 50 g/kWh as at 500.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from carbon_api.forecasts.base import Floats
from carbon_api.readings import HIGHEST_G_PER_KWH, Missing, Reason
from carbon_api.series import Series

HOUR_S: Final = 3600
DAY: Final = 24
"""Hours of a day."""

SOFT_G: Final = 3.0
"""Added before the logarithm, so that a grid near zero does not look wildly variable."""

LONGEST_GAP: Final = 24
"""Hours without a value before the issue time after which nothing is forecast any more."""

LONGEST_PAST: Final = 208 * 7 * DAY
"""Hours of history that are looked at: four years, from the start of a week."""

_LONG: Final = 26 * 7 * DAY
_FADE: Final = math.exp(-1 / 24)


@dataclass(frozen=True)
class Hours:
    """Whole hours up to the issue time: `logs[k]` belongs to the hour `first + k` since the epoch (UTC).

    `known` is False where the value was filled in. A filled value depends on earlier hours only, so every
    prefix of `logs` is what would have been known then.
    """

    first: int
    logs: Floats
    known: NDArray[np.bool_]

    @property
    def end(self) -> int:
        """The hour after the last one, since the epoch."""
        return self.first + len(self.logs)

    @property
    def silent(self) -> int:
        """Hours at the end for which no value has come in yet."""
        return int(np.argmax(self.known[::-1]))


def to_logs(g_per_kwh: Floats) -> Floats:
    """The scale on which forecasters work."""
    return np.log(g_per_kwh + SOFT_G)


def from_logs(logs: Floats) -> Floats:
    """Back to gCO2e/kWh, within what an intensity can be."""
    return np.clip(np.exp(np.minimum(logs, 20.0)) - SOFT_G, 0.0, HIGHEST_G_PER_KWH)


def known_hours(history: Series, issue_s: float) -> Hours | Missing:
    """The hours of `history` that are over at `issue_s`; `Missing` if they say too little."""
    history = _recent(history, issue_s)
    means = _hourly_means(history, issue_s)
    first = math.floor(history.start_s / HOUR_S)
    rows = np.nonzero(~np.isnan(means))[0]
    if not len(rows):
        return Missing(Reason.TOO_LITTLE_HISTORY, f"nothing is known of {history.zone} before the issue time")
    silent = math.floor(issue_s / HOUR_S) - (first + int(rows[-1]) + 1)
    if silent > LONGEST_GAP:
        return Missing(Reason.STALE, f"the newest value of {history.zone} is {silent} h old")
    means = np.concatenate([means[rows[0] :], np.full(max(0, silent - (len(means) - 1 - rows[-1])), np.nan)])
    known = ~np.isnan(means)
    recent = known[-7 * DAY :]
    if len(recent) < DAY or recent.sum() < max(DAY // 2, len(recent) // 2):
        return Missing(
            Reason.TOO_LITTLE_HISTORY,
            f"{history.zone} has values for {int(recent.sum())} of the last {len(recent)} h;"
            f" a day is needed, half of it known",
        )
    return Hours(first + int(rows[0]), _filled(to_logs(means)), known)


def _recent(history: Series, issue_s: float) -> Series:
    """The part that is used. Long ones begin with a week: as a window slides, little is fitted again."""
    week_s = 7 * DAY * HOUR_S
    first_s = history.start_s
    if issue_s - first_s >= _LONG * HOUR_S:
        first_s = max(-(-first_s // week_s), math.ceil(issue_s / week_s) - LONGEST_PAST // (7 * DAY)) * week_s
    return history.window(first_s, issue_s)


def _hourly_means(history: Series, issue_s: float) -> Floats:
    """Mean of each whole UTC hour from the one in which `history` starts; NaN where less than half is known.

    Steps longer than an hour count for every hour whose middle they cover.
    """
    over = min(len(history), max(0, math.floor((issue_s - history.start_s) / history.step_s)))
    values = history.values[:over]
    first = math.floor(history.start_s / HOUR_S)
    end = math.floor((history.start_s + over * history.step_s) / HOUR_S)
    if over == 0 or end <= first:
        return np.empty(0)
    if history.step_s >= HOUR_S:
        middles = (first + np.arange(end - first) + 0.5) * HOUR_S
        rows = np.floor((middles - history.start_s) / history.step_s).astype(np.int64)
        inside = (rows >= 0) & (rows < over)
        return np.where(inside, values[np.clip(rows, 0, over - 1)], np.nan)
    hour = (history.start_s + history.step_s * np.arange(over)) // HOUR_S - first
    present = ~np.isnan(values)
    count = np.bincount(hour[present], minlength=end - first)[: end - first]
    total = np.bincount(hour[present], weights=values[present], minlength=end - first)[: end - first]
    enough = count * history.step_s * 2 >= HOUR_S
    return np.where(enough, total / np.maximum(count, 1), np.nan)


def _filled(logs: Floats) -> Floats:
    """Gaps filled from the past alone: the same hour of the day before, shifted by the last known level."""
    filled = logs.copy()
    for row in np.nonzero(np.isnan(logs))[0]:
        if row > DAY:
            filled[row] = filled[row - DAY] + _FADE * (filled[row - 1] - filled[row - 1 - DAY])
        else:
            filled[row] = filled[row - 1]
    return filled


def at_steps(logs: Floats, hour: int, start_s: int, step_s: int, count: int) -> Floats:
    """Hourly logarithms from the hour `hour`, read at `count` steps from `start_s`.

    Short steps interpolate between the middles of hours; long ones average over what they cover.
    """
    middles = (hour + np.arange(len(logs)) + 0.5) * HOUR_S
    parts = max(1, step_s // HOUR_S)
    inside = (np.arange(parts) + 0.5) * (step_s / parts)
    moments = start_s + step_s * np.arange(count)[:, None] + inside[None, :]
    return np.interp(moments.ravel(), middles, logs).reshape(count, parts).mean(axis=1)


def spread_within_hours(history: Series, issue_s: float, hours: Hours, level: float) -> float:
    """How far single steps shorter than an hour lie from the curve through hourly means, as a logarithm.

    The `level` quantile of the distance over the last four weeks; 0 for steps of an hour or more.
    """
    if history.step_s >= HOUR_S:
        return 0.0
    recent = history.window(issue_s - 28 * DAY * HOUR_S, issue_s - history.step_s + 1e-6)
    curve = at_steps(hours.logs, hours.first, recent.start_s, recent.step_s, len(recent))
    distance = np.abs(to_logs(recent.values) - curve)[recent.present]
    return float(np.quantile(distance, level)) if len(distance) else 0.0
