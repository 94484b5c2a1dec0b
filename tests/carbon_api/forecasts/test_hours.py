"""From readings to whole hours, and back: gaps are filled from the past only."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from carbon_api.forecasts.hours import Hours, at_steps, from_logs, known_hours, to_logs
from carbon_api.series import Series
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, series


def hours_of(history: Series, issue_s: float) -> Hours:
    found = known_hours(history, issue_s)
    assert isinstance(found, Hours), str(found)
    return found


def test_half_hours_are_averaged() -> None:
    found = hours_of(series(np.arange(96.0), 1800), START_S + 2 * DAY_S)
    np.testing.assert_allclose(from_logs(found.logs)[:3], [0.5, 2.5, 4.5])
    assert found.end == (START_S + 2 * DAY_S) // 3600


def test_an_hour_with_less_than_half_of_its_steps_is_not_known() -> None:
    values = np.full(12 * 48, 100.0)
    values[12 * 30 : 12 * 30 + 7] = math.nan  # 5 of 12 left
    values[12 * 31 : 12 * 31 + 6] = math.nan  # 6 of 12 left
    found = hours_of(series(values, 300), START_S + 2 * DAY_S)
    assert not found.known[30]
    assert found.known[31]


def test_hours_end_with_the_last_whole_one() -> None:
    found = hours_of(grid(3, step_s=1800), START_S + 2 * DAY_S + 1800)
    assert found.end == START_S // 3600 + 48
    assert found.silent == 0


def test_long_steps_count_for_every_hour() -> None:
    found = hours_of(series(np.arange(10.0, 26.0), 10_800), START_S + 2 * DAY_S)
    np.testing.assert_allclose(from_logs(found.logs)[:7], [10, 10, 10, 11, 11, 11, 12])


@given(
    gaps=st.lists(st.integers(1, 24 * 12 - 1), max_size=100),
    cut=st.integers(24 * 8, 24 * 12),
)
def test_filling_looks_back_only(gaps: list[int], cut: int) -> None:
    values = grid(12).values.copy()
    values[gaps] = math.nan
    values[cut - 1] = 100.0
    whole = hours_of(series(values), START_S + 12 * DAY_S) if not np.isnan(values[-1]) else None
    part = known_hours(series(values), START_S + cut * 3600)
    if whole is not None and isinstance(part, Hours):
        np.testing.assert_array_equal(whole.logs[:cut], part.logs)


def test_a_gap_takes_yesterdays_shape_at_todays_level() -> None:
    day = 200 + 50 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    values = np.tile(day, 4)
    values[75:80] = math.nan
    found = hours_of(series(values), START_S + 4 * DAY_S)
    np.testing.assert_allclose(from_logs(found.logs), np.tile(day, 4), rtol=1e-9)


def test_silent_hours_reach_the_issue_time() -> None:
    found = hours_of(grid(3), START_S + 3 * DAY_S + 5 * 3600 + 100)
    assert found.silent == 5
    assert found.end == START_S // 3600 + 77


def test_long_histories_begin_with_a_week_and_have_four_years_at_most() -> None:
    long = grid(1700)
    found = hours_of(long, long.end_s)
    assert found.first % 168 == 0
    assert 207 * 168 <= len(found.logs) <= 209 * 168


def test_hours_read_at_hours_are_themselves() -> None:
    logs = np.random.default_rng(1).random(30)
    np.testing.assert_allclose(at_steps(logs, 100, 100 * 3600, 3600, 30), logs)


def test_long_steps_average_what_they_cover() -> None:
    logs = np.arange(12.0)
    np.testing.assert_allclose(at_steps(logs, 0, 0, 10_800, 4), [1, 4, 7, 10])


@given(st.floats(0.0, 3000.0))
def test_the_scale_goes_there_and_back(value: float) -> None:
    np.testing.assert_allclose(from_logs(to_logs(np.array([value]))), [value], atol=1e-8)
