"""Intervals from past errors: normalised, adaptive conformal prediction, by hour of issue and hours ahead.

A forecast issued at some hour of the day is compared with those that the same method would have issued at
that hour on the last ninety days, each with what was known then. Their errors, hour ahead by hour ahead, say
how wide nine cases in ten are. Errors are divided by how wrong the method was around that day, because calm
and stormy weeks differ: this is what keeps the coverage through the year.

How far into the tails the interval reaches adapts to how often intervals made like this one would have missed
on the days before (adaptive conformal inference: Gibbs and Candes, NeurIPS 2021). With few past errors the
plain quantiles would be too wide, and where errors grow or shrink with the season they would lag behind.
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

_STEP: Final = 0.02
"""Step of a tail for a day's misses: fifty days of memory. Chosen on traces of 2021 and synthetic grids."""

_TAILS: Final = (0.01, 0.2)
"""The least and the most a tail may adapt to."""


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
    beside = _with_neighbours(scaled)
    pooled = np.sort(beside.reshape(-1, errors.shape[1]), axis=0)  # NaN sort to the end
    have = (~np.isnan(pooled)).sum(axis=0)
    below_tail, above_tail = (_adapted(rarity) for rarity in _rarities(scaled, beside))
    column = np.arange(errors.shape[1])
    above = pooled[_rank(above_tail, counts, have) - 1, column]
    below = pooled[have - _rank(below_tail, counts, have), column]
    return Widths(np.maximum(-below * scale_now, 0.0), np.maximum(above * scale_now, 0.0))


def _with_neighbours(values: np.ndarray) -> np.ndarray:
    """Values of the hour before, of each hour and of the hour after it: [3, days, 96] of [days, 96]."""
    padded = np.pad(values, ((0, 0), (1, 1)), mode="edge")
    return np.stack([padded[:, :-2], values, padded[:, 2:]])


def _rank(tail: Floats, counts: np.ndarray, have: np.ndarray) -> np.ndarray:
    """Which of `have` sorted numbers, from `counts` errors, leaves `tail` beyond it: 1 to `have`."""
    effective = _INDEPENDENT * counts
    level = (1.0 - tail) * (effective + 1.0) / effective
    return np.clip(np.ceil(level * have), 1, have).astype(np.int64)


def _rarities(scaled: Floats, beside: Floats) -> tuple[Floats, Floats]:
    """How far below and above the errors known at its issue each past error lay, float64[days, 96] each.

    It is the tail at which an interval made then would just have missed it: small for a rare error. NaN where
    the error or too few before it are known. An error is known once its hour is over, up to four days later.
    """
    days, ahead = scaled.shape
    present = ~np.isnan(beside)
    later = _with_neighbours(np.arange(ahead)[None, :] // DAY)  # days until an error is known, [3, 1, 96]
    below, above = np.full((2, days, ahead), np.nan)
    for day in range(FEWEST_ERRORS, days):
        known = present[:, :day] & (np.arange(day)[:, None] + later < day)
        before, here = beside[:, :day], scaled[day]
        count, have = known[1].sum(axis=0), np.maximum(known.sum(axis=(0, 1)), 1)
        enough = (count >= FEWEST_ERRORS) & ~np.isnan(here)
        share = _INDEPENDENT * count / (_INDEPENDENT * count + 1.0) / have
        above[day] = np.where(enough, 1.0 - share * ((before < here) & known).sum(axis=(0, 1)), np.nan)
        below[day] = np.where(enough, 1.0 - share * ((before > here) & known).sum(axis=(0, 1)), np.nan)
    return below, above


def _adapted(rarities: Floats) -> Floats:
    """The tail to leave beyond the interval at each hour ahead, float64[96]; alike within a day ahead.

    Each day moves it by what was missed too much or too little. Errors of later days ahead overlap from issue
    to issue: they say as many times less, and move it as many times less.
    """
    ahead = rarities.shape[1] // DAY
    step = _STEP / np.arange(1, ahead + 1)
    tail = np.full(ahead, _TAIL)
    for hours in rarities.reshape(-1, ahead, DAY):
        known = (~np.isnan(hours)).sum(axis=1)
        missed = (hours < tail[:, None]).sum(axis=1) / np.maximum(known, 1)
        tail = np.where(known > 0, np.clip(tail + step * (_TAIL - missed), *_TAILS), tail)
    return np.repeat(tail, DAY)


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
