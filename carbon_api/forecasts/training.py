"""Ridge regressions fitted at the start of each week, from what was over then.

The sums behind a regression are added up week by week, always from the oldest: the coefficients of a week
come out the same whether they are wanted now or a year later.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from threadpoolctl import ThreadpoolController

from carbon_api.forecasts.base import Floats
from carbon_api.forecasts.blend import AHEAD
from carbon_api.forecasts.features import NEEDS, Rows, rows_at
from carbon_api.forecasts.hours import DAY, Hours

WEEK: Final = 7 * DAY
"""Coefficients hold for a week that starts at a multiple of this many hours since the epoch."""

_FEWEST_ROWS: Final = 30
_THREADS: Final = ThreadpoolController()
_DECAY: Final = 0.5 ** (7.0 / 365.0)
"""Weight of a week's rows one week later: half after a year."""


@dataclass(frozen=True)
class Group:
    """Regressions on the same rows that differ in their penalty.

    With `every` 24 they learn from issues at one hour of the day only, which suits long histories; with 3
    from eight times as many rows, which suits short ones.
    """

    every: int
    penalties: tuple[float, ...]


GROUPS: Final = (Group(DAY, (0.3, 3.0)), Group(3, (30.0,)))
COUNT: Final = sum(len(group.penalties) for group in GROUPS)
"""Number of regressions in all groups."""


def fit(hours: Hours, group: Group, phase: int, starts: Collection[int]) -> dict[int, Floats]:
    """Coefficients for the weeks that begin at the hours `starts` since the epoch, in multiples of `WEEK`.

    Learns from issues at hours that leave the remainder `phase` when divided by `group.every`. Answers
    float64[penalties, features, 96] for each start; starts with too little to learn from are left out.
    """
    first_week = (hours.first + NEEDS) // WEEK
    weeks = max(starts) // WEEK - first_week
    if weeks < 1:
        return {}
    # The matrices are small: several threads would wait for each other longer than they compute.
    with _THREADS.limit(limits=1, user_api="blas"):
        return _fit(hours, group, phase, starts, weeks)


def _fit(hours: Hours, group: Group, phase: int, starts: Collection[int], weeks: int) -> dict[int, Floats]:
    first_week = (hours.first + NEEDS) // WEEK
    rows, counts = _weekly_rows(hours, first_week, weeks, group.every, phase)
    shape = (weeks, WEEK // group.every, -1)
    features, targets = rows.features.reshape(shape), np.nan_to_num(rows.targets).reshape(shape)
    weighted = (features * counts[:, :, None]).transpose(0, 2, 1)
    squares, products = weighted @ features, weighted @ targets

    # Targets reach four days ahead: when a week starts, some of the week before are not over.
    over = np.arange(phase, WEEK, group.every) + AHEAD <= WEEK
    found: dict[int, Floats] = {}
    square, product, learnt = np.zeros(squares.shape[1:]), np.zeros(products.shape[1:]), 0
    for week in range(weeks):
        start = (first_week + week + 1) * WEEK
        if start in starts and learnt + int(counts[week, over].sum()) >= _FEWEST_ROWS:
            part = weighted[week][:, over]
            found[start] = _solve(
                _DECAY * square + part @ features[week, over],
                _DECAY * product + part @ targets[week, over],
                group.penalties,
            )
        square, product = _DECAY * square + squares[week], _DECAY * product + products[week]
        learnt += int(counts[week].sum())
    return found


def _weekly_rows(hours: Hours, first_week: int, weeks: int, every: int, phase: int) -> tuple[Rows, Floats]:
    """Rows of every issue in whole weeks, and 1.0 where a row may be learnt from, float64[weeks, issues]."""
    issues = np.arange(first_week * WEEK + phase, (first_week + weeks) * WEEK, every) - hours.first
    usable = issues >= NEEDS
    rows = rows_at(hours, np.maximum(issues, NEEDS))
    return rows, (rows.sound & usable).reshape(weeks, -1).astype(np.float64)


def _solve(square: Floats, product: Floats, penalties: tuple[float, ...]) -> Floats:
    identity = np.eye(len(square))
    solved = [np.linalg.solve(square + penalty * identity, product) for penalty in penalties]
    return np.stack(solved).astype(np.float64)
