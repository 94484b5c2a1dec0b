"""Scores on cases small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from carbon_api.forecasts import forecaster
from carbon_api.forecasts.scoring import Trials, issue_times, mape_by_hour, scores, try_out
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, series


def trials(mean: np.ndarray, actual: np.ndarray, half_width: float = 10.0) -> Trials:
    mean, actual = np.atleast_2d(mean), np.atleast_2d(actual)
    issued = START_S + DAY_S * np.arange(len(mean), dtype=np.float64)
    return Trials("XX", "blend", 3600, issued, mean, mean - half_width, mean + half_width, actual, 0)


def test_errors_and_coverage() -> None:
    actual = np.full(24, 100.0)
    mean = np.concatenate([np.full(12, 105.0), np.full(12, 80.0)])
    (score,) = scores(trials(mean, actual))
    assert score.mape_pct == pytest.approx(12.5)
    assert score.mae_g == pytest.approx(12.5)
    assert score.coverage == pytest.approx(0.5)
    assert score.width_g == pytest.approx(20.0)


def test_cleanest_hours_found_and_missed() -> None:
    actual = np.arange(100.0, 124.0)
    (right,) = scores(trials(actual * 2, actual))
    assert right.cleanest[4].overlap == 1.0
    assert right.cleanest[4].regret_g == 0.0
    (wrong,) = scores(trials(actual[::-1], actual))
    assert wrong.cleanest[1].overlap == 0.0
    assert wrong.cleanest[1].regret_g == pytest.approx(23.0)
    assert wrong.cleanest[1].regret_pct == pytest.approx(23.0)
    assert wrong.cleanest[4].regret_g == pytest.approx(20.0)


def test_each_day_ahead_has_its_score() -> None:
    actual = np.full(48, 100.0)
    first, second = scores(trials(np.concatenate([np.full(24, 100.0), np.full(24, 150.0)]), actual))
    assert (first.day, first.mape_pct) == (1, 0.0)
    assert (second.day, second.mape_pct) == (2, 50.0)


def test_gaps_and_near_zero_values_are_left_out() -> None:
    actual = np.full(24, 100.0)
    actual[0], actual[1] = math.nan, 0.01
    (score,) = scores(trials(np.full(24, 110.0), actual))
    assert score.mape_pct == pytest.approx(10.0)
    assert math.isnan(score.cleanest[1].overlap)


def test_error_by_hour_of_half_hours() -> None:
    actual = np.full((1, 48), 100.0)
    mean = np.array([[110.0, 130.0, *([100.0] * 46)]])
    made = Trials("XX", "blend", 1800, np.array([0.0]), mean, mean, mean, actual, 0)
    assert mape_by_hour(made)[:2].tolist() == pytest.approx([20.0, 0.0])
    assert len(mape_by_hour(made)) == 24


def test_issue_times_leave_room_for_the_days_ahead() -> None:
    history = grid(10)
    found = issue_times(history, START_S + 5 * DAY_S + 3600, [12, 0], 2)
    assert found[0] == START_S + 5 * DAY_S + 12 * 3600
    assert found[-1] == START_S + 8 * DAY_S
    assert issue_times(history, START_S + 9 * DAY_S, [0], 2) == []


def test_the_oracle_has_no_errors() -> None:
    history = grid(12)
    ticks: list[None] = []
    issues = issue_times(history, START_S + 5 * DAY_S, [0], 2)
    tried = try_out(history, forecaster("oracle", history), issues, 2, lambda: ticks.append(None))
    assert len(ticks) == len(issues) == 6
    for score in scores(tried):
        assert score.mape_pct == 0.0
        assert score.coverage == 1.0
        assert score.cleanest[8].overlap == 1.0


def test_issues_without_a_forecast_are_counted() -> None:
    history = grid(12)
    tried = try_out(history, forecaster("blend"), [float(START_S), START_S + 6.0 * DAY_S], 2, lambda: None)
    assert tried.missing == 1
    assert len(tried.actual) == 1


def test_nothing_to_compare_is_nan_not_zero() -> None:
    tried = try_out(grid(12), forecaster("blend"), [float(START_S)], 2, lambda: None)
    assert all(math.isnan(score.mape_pct) for score in scores(tried))


def test_steps_that_do_not_divide_an_hour_are_refused() -> None:
    with pytest.raises(ValueError, match="divide an hour"):
        try_out(series(np.ones(100), 7200), forecaster("blend"), [], 1, lambda: None)
