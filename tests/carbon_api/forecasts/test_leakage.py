"""A forecast is a function of the past: the future, and what was asked before, never change it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_api.forecasts import Ridge, forecaster
from carbon_api.forecasts.hours import Hours, known_hours
from carbon_api.forecasts.training import GROUPS, WEEK, fit
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, made, same, with_values

HISTORY = grid(150)


@settings(max_examples=30)
@given(
    hours=st.integers(24, 150 * 24 - 1),
    minutes=st.integers(0, 59),
    method=st.sampled_from(["blend", "ridge"]),
    future=st.sampled_from([0.0, 3000.0, np.nan]),
)
def test_the_future_never_changes_a_forecast(hours: int, minutes: int, method: str, future: float) -> None:
    issue_s = START_S + hours * 3600 + minutes * 60
    values = HISTORY.values.copy()
    values[hours:] = future
    whole = made(forecaster(method), HISTORY, issue_s)
    changed = made(forecaster(method), with_values(HISTORY, values), issue_s)
    cut = made(forecaster(method), HISTORY.window(START_S, issue_s), issue_s)
    assert same(whole, changed)
    assert same(whole, cut)


def test_the_past_does_change_it() -> None:
    values = HISTORY.values.copy()
    values[-1] *= 1.5
    before = made(forecaster(), HISTORY, HISTORY.end_s)
    after = made(forecaster(), with_values(HISTORY, values), HISTORY.end_s)
    assert not same(before, after)


def test_what_was_asked_before_does_not_matter() -> None:
    used = Ridge()
    for day in (90, 120, 119, 149, 60):
        for hour in (0, 7, 23):
            issue_s = START_S + day * DAY_S + hour * 3600
            np.testing.assert_allclose(
                made(used, HISTORY, issue_s).mean, made(Ridge(), HISTORY, issue_s).mean, rtol=1e-9
            )


def test_one_forecaster_keeps_series_apart() -> None:
    used = Ridge()
    other = grid(150, "synthetic-coal")
    revised = with_values(HISTORY, np.where(np.arange(len(HISTORY)) == 100, 50.0, HISTORY.values))
    for one in (HISTORY, other, revised, HISTORY):
        expected = made(Ridge(), one, one.end_s)
        np.testing.assert_allclose(made(used, one, one.end_s).mean, expected.mean, rtol=1e-9)


@pytest.mark.parametrize("group", GROUPS)
def test_coefficients_of_a_week_know_nothing_of_it(group: object) -> None:
    hours = known_hours(HISTORY, HISTORY.end_s)
    assert isinstance(hours, Hours)
    start = (hours.first // WEEK + 15) * WEEK
    row = start - hours.first
    spoilt = hours.logs.copy()
    spoilt[row:] = 9.0
    (chosen,) = (each for each in GROUPS if each == group)
    clean = fit(hours, chosen, 0, [start])[start]
    changed = fit(Hours(hours.first, spoilt, hours.known), chosen, 0, [start])[start]
    np.testing.assert_array_equal(clean, changed)


def test_weeks_are_fitted_alike_alone_and_together() -> None:
    hours = known_hours(HISTORY, HISTORY.end_s)
    assert isinstance(hours, Hours)
    starts = [(hours.first // WEEK + week) * WEEK for week in (10, 14, 20)]
    together = fit(hours, GROUPS[0], 5, starts)
    for start in starts:
        np.testing.assert_allclose(fit(hours, GROUPS[0], 5, [start])[start], together[start], rtol=1e-9)


def test_no_coefficients_from_too_few_weeks() -> None:
    hours = known_hours(HISTORY, HISTORY.end_s)
    assert isinstance(hours, Hours)
    early = [(hours.first // WEEK + week) * WEEK for week in (-1, 0, 1, 2, 3)]
    assert fit(hours, GROUPS[0], 0, early) == {}
