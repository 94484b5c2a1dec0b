"""Intervals from past errors: normalised split-conformal prediction, by hour of issue and hours ahead.

A forecast issued at some hour of the day is compared with those that the same method would have issued at
that hour on the last ninety days, each with what was known then. Their errors, hour ahead by hour ahead, say
how wide nine cases in ten are. Errors are divided by how wrong the method was around that day, because calm
and stormy weeks differ: this is what keeps the coverage through the year.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from carbon_api.forecasts.base import COVERAGE, Floats, Forecast, first_interval
from carbon_api.forecasts.hours import DAY, Hours, at_steps, from_logs, spread_within_hours
from carbon_api.series import Series

CALIBRATION_DAYS: Final = 90
FEWEST_ERRORS: Final = 10
"""Fewer known errors than this at some hour ahead do not make a quantile of it."""

PastErrors: TypeAlias = Floats
"""Actual minus forecast as logarithms, float64[days, 96], oldest first; NaN where the actual is not known."""

_TAIL: Final = (1.0 - COVERAGE) / 2.0
_MEMORY: Final = 0.5 ** (1.0 / 7.0)
"""A day's error counts half after a week in what is held for the present volatility."""

_INDEPENDENT: Final = 1.5
"""Each error is pooled with those of the hours beside it: three numbers, about one and a half independent."""

_NORMAL_95: Final = 1.645


@dataclass(frozen=True)
class Widths:
    """How far the interval reaches below and above the forecast, as logarithms >= 0, float64[96] each."""

    below: Floats
    above: Floats


def past_errors(hours: Hours, rows: np.ndarray, forecasts: Floats) -> PastErrors:
    """Errors of forecasts issued before `rows`: only hours count that were measured, and are over by now."""
    targets = rows[:, None] + np.arange(forecasts.shape[1])
    inside = targets < len(hours.logs)
    clipped = np.minimum(targets, len(hours.logs) - 1)
    return np.where(inside & hours.known[clipped], hours.logs[clipped] - forecasts, np.nan)


def widths(errors: PastErrors) -> Widths | None:
    """The interval for a forecast issued now; None if too few errors are known at some hour ahead."""
    counts = (~np.isnan(errors)).sum(axis=0)
    if counts.min() < FEWEST_ERRORS:
        return None
    scales, scale_now = _volatility(errors)
    scaled = errors / scales[:, None]
    padded = np.pad(scaled, ((0, 0), (1, 1)), mode="edge")
    pooled = np.sort(np.concatenate([padded[:, :-2], scaled, padded[:, 2:]]), axis=0)  # NaN sort to the end
    have = (~np.isnan(pooled)).sum(axis=0)
    effective = _INDEPENDENT * counts
    level = np.minimum((1.0 - _TAIL) * (effective + 1.0) / effective, 1.0)
    rank = np.ceil(level * have).astype(np.int64)
    column = np.arange(errors.shape[1])
    above = pooled[np.clip(rank - 1, 0, have - 1), column]
    below = pooled[np.clip(have - rank, 0, have - 1), column]
    return Widths(np.maximum(-below * scale_now, 0.0), np.maximum(above * scale_now, 0.0))


def _volatility(errors: PastErrors) -> tuple[Floats, float]:
    """Size of errors around each day, and now; each day's from the days before it."""
    squares = np.nan_to_num(errors[:, :DAY]) ** 2
    known = (~np.isnan(errors[:, :DAY])).sum(axis=1)
    overall = float(squares.sum() / max(int(known.sum()), 1)) + 1e-12
    scales = np.empty(len(errors))
    recent = overall
    for day, (total, count) in enumerate(zip(squares.sum(axis=1), known, strict=True)):
        scales[day] = math.sqrt((recent + overall) / 2.0)
        if count:
            recent = _MEMORY * recent + (1.0 - _MEMORY) * float(total) / int(count)
    return scales, math.sqrt((recent + overall) / 2.0)


def _first_guess(hours: Hours, errors: PastErrors) -> Widths:
    """For the first days of a zone: wide, from the spread of what little is known."""
    spread = float(np.std(hours.logs[-7 * DAY :])) + 0.02
    known = errors[~np.isnan(errors)]
    if len(known):
        spread = max(spread, float(np.sqrt(np.mean(known**2))))
    width = np.full(errors.shape[1], _NORMAL_95 * spread)
    return Widths(width, width)


def finish(
    history: Series,
    issue_s: float,
    horizon: int,
    hours: Hours,
    ahead: Floats,
    errors: PastErrors,
    method: str,
) -> Forecast:
    """The forecast at the steps of `history` from hourly logarithms `ahead` and the method's past errors."""
    found = widths(errors) or _first_guess(hours, errors)
    start_s = first_interval(history, issue_s)
    extra = spread_within_hours(history, issue_s, hours, COVERAGE)
    steps = (hours.end, start_s, history.step_s, horizon)
    logs = at_steps(ahead, *steps)
    low = from_logs(logs - np.hypot(at_steps(_aged(found.below, hours.silent), *steps), extra))
    high = from_logs(logs + np.hypot(at_steps(_aged(found.above, hours.silent), *steps), extra))
    mean = from_logs(logs)
    return Forecast(
        history.zone,
        issue_s,
        history.step_s,
        start_s,
        mean,
        np.minimum(low, mean),
        np.maximum(high, mean),
        method,
    )


def _aged(width: Floats, silent: int) -> Floats:
    """A width when the last `silent` hours are not in yet: at least that of a forecast that much older."""
    later = np.minimum(np.arange(len(width)) + silent, len(width) - 1)
    return np.maximum(width, width[later])
