"""What every forecast keeps to: sound intervals, the right hours, and a reason where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_api.forecasts import DEFAULT, NAMES, Forecast, UnknownForecaster, forecaster
from carbon_api.readings import HIGHEST_G_PER_KWH, Missing, Reason
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, made, same, series, with_values

METHODS = ["blend", "ridge"]


@given(
    values=st.lists(
        st.one_of(st.just(math.nan), st.floats(0.0, HIGHEST_G_PER_KWH)), min_size=0, max_size=24 * 12
    ),
    horizon=st.integers(1, 96),
    late_s=st.integers(0, 40 * 3600),
    method=st.sampled_from(METHODS),
)
def test_any_history_gives_sound_numbers_or_a_reason(
    values: list[float], horizon: int, late_s: int, method: str
) -> None:
    history = series(values)
    found = forecaster(method).forecast(history, history.end_s + late_s, horizon)
    if isinstance(found, Missing):
        assert found.reason in (Reason.TOO_LITTLE_HISTORY, Reason.STALE)
        assert found.detail
        return
    assert len(found) == horizon
    assert (found.low >= 0).all()
    assert (found.low <= found.mean).all()
    assert (found.mean <= found.high).all()
    assert (found.high <= HIGHEST_G_PER_KWH).all()
    lower, upper = found.bounds()
    assert lower <= upper


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("days", [1, 2, 6, 8, 15, 22, 40, 60, 150])
def test_intervals_hold_the_mean_however_long_the_history(method: str, days: int) -> None:
    history = grid(days)
    found = made(forecaster(method), history, history.end_s, 96)
    assert (found.low < found.mean).all()
    assert (found.mean < found.high).all()


@pytest.mark.parametrize("method", METHODS)
def test_forecast_starts_with_the_interval_that_is_not_over(method: str) -> None:
    history = grid(30)
    at_the_hour = made(forecaster(method), history, START_S + 20 * DAY_S)
    assert at_the_hour.start_s == START_S + 20 * DAY_S
    within = made(forecaster(method), history, START_S + 20 * DAY_S + 1799)
    assert within.start_s == at_the_hour.start_s
    assert same(within, at_the_hour)
    assert within.times[1] - within.times[0] == 3600


@pytest.mark.parametrize("method", METHODS)
def test_a_shorter_horizon_is_the_beginning_of_a_longer_one(method: str) -> None:
    history = grid(70)
    long, short = (made(forecaster(method), history, history.end_s, steps) for steps in (96, 5))
    np.testing.assert_array_equal(short.mean, long.mean[:5])
    np.testing.assert_array_equal(short.low, long.low[:5])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [0, -1, 97])
def test_horizons_beyond_reach_are_refused(method: str, horizon: int) -> None:
    with pytest.raises(ValueError, match="1 to 96 steps"):
        forecaster(method).forecast(grid(10), START_S + 10 * DAY_S, horizon)


# 28 years have a whole number of weeks and of mean years: calendar and weeks look the same from there.
@pytest.mark.parametrize(("method", "shift_days"), [("blend", 1), ("blend", 1000), ("ridge", 28 * 1461 // 4)])
def test_shifted_in_time_nothing_changes(method: str, shift_days: int) -> None:
    history = grid(80)
    shifted = series(history.values, start_s=history.start_s + shift_days * DAY_S)
    here = made(forecaster(method), history, history.end_s)
    there = made(forecaster(method), shifted, shifted.end_s)
    np.testing.assert_allclose(here.mean, there.mean, rtol=1e-6)
    np.testing.assert_allclose(here.high, there.high, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_grid_stays_constant(method: str) -> None:
    found = made(forecaster(method), series(np.full(24 * 70, 250.0)), START_S + 70 * DAY_S, 96)
    np.testing.assert_allclose(found.mean, 250.0, rtol=0.005)
    assert (found.high - found.low < 10).all()


def test_blend_repeats_a_strict_daily_pattern() -> None:
    day = 300 + 100 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    found = made(forecaster("blend"), series(np.tile(day, 20)), START_S + 20 * DAY_S, 96)
    np.testing.assert_allclose(found.mean, np.tile(day, 4))


def test_blend_carries_yesterdays_error_forward_and_lets_it_fade() -> None:
    values = np.full(24 * 7, 200.0)
    values[-24:] = 270.0  # the week's mean is 210, yesterday was 60 above it
    found = made(forecaster("blend"), series(values), START_S + 7 * DAY_S, 96)
    expected = 210.0 + 60.0 * np.exp(-np.arange(96) / 24.0)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_gaps_change_little(method: str) -> None:
    history = grid(120, "synthetic-solar")
    values = history.values.copy()
    random = np.random.default_rng(5)
    values[random.random(len(values)) < 0.1] = np.nan
    values[24 * 60 : 24 * 62] = np.nan
    values[-3:] = np.nan
    whole = made(forecaster(method), history, history.end_s)
    holes = made(forecaster(method), with_values(history, values), history.end_s)
    assert np.abs(holes.mean - whole.mean).mean() < 0.15 * whole.mean.mean()


@pytest.mark.parametrize("method", METHODS)
def test_hours_that_are_not_in_yet_widen_the_interval(method: str) -> None:
    history = grid(120)
    values = history.values.copy()
    values[-6:] = np.nan
    prompt = made(forecaster(method), history, history.end_s)
    late = made(forecaster(method), with_values(history, values), history.end_s)
    assert late.start_s == prompt.start_s
    assert np.log(late.high[:3] / late.low[:3]).mean() > np.log(prompt.high[:3] / prompt.low[:3]).mean()


@pytest.mark.parametrize("method", METHODS)
def test_old_values_are_stale(method: str) -> None:
    history = grid(60)
    found = forecaster(method).forecast(history, history.end_s + 25 * 3600, 24)
    assert isinstance(found, Missing)
    assert found.reason is Reason.STALE
    assert "25 h old" in found.detail
    assert isinstance(forecaster(method).forecast(history, history.end_s + 24 * 3600, 24), Forecast)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[], [100.0] * 23, [math.nan] * 500, [100.0] + [math.nan] * 20])
def test_too_little_history_is_said(method: str, values: list[float]) -> None:
    history = series(values)
    found = forecaster(method).forecast(history, history.end_s, 24)
    assert isinstance(found, Missing)
    assert found.reason is Reason.TOO_LITTLE_HISTORY


@pytest.mark.parametrize("method", METHODS)
def test_before_the_history_nothing_is_known(method: str) -> None:
    found = forecaster(method).forecast(grid(60), START_S - 3600, 24)
    assert isinstance(found, Missing)
    assert found.reason is Reason.TOO_LITTLE_HISTORY


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("step_s", [300, 900, 1800, 7200, 10800])
def test_other_steps_follow_the_hours(method: str, step_s: int) -> None:
    history = grid(60)
    values = np.interp(
        START_S + step_s * (np.arange(60 * DAY_S // step_s) + 0.5), history.times + 1800, history.values
    )
    other = series(values, step_s)
    hourly = made(forecaster(method), history, history.end_s, 48)
    found = made(forecaster(method), other, other.end_s, 48 * 3600 // step_s)
    assert found.step_s == step_s
    assert found.start_s == hourly.start_s
    assert found.mean.mean() == pytest.approx(hourly.mean.mean(), rel=0.05)
    assert ((found.low <= found.mean) & (found.mean <= found.high)).all()


def test_a_series_that_starts_within_an_hour_is_taken() -> None:
    history = series(grid(40).values, start_s=START_S + 900)
    found = made(forecaster(), history, history.end_s + 60)
    assert found.start_s == history.end_s


def test_with_few_weeks_the_default_is_the_blend_and_says_so() -> None:
    early, later = grid(20), grid(60)
    assert made(forecaster(), early, early.end_s).method == "blend"
    assert made(forecaster(), later, later.end_s).method == "ridge"


def test_intervals_get_wider_with_distance() -> None:
    history = grid(200)
    found = made(forecaster(), history, history.end_s, 96)
    width = np.log(found.high / found.low)
    assert width[:6].mean() < width[24:].mean()


@settings(max_examples=25)
@given(level=st.floats(0.0, 3000.0), bad=st.sampled_from([math.nan, -1.0, 3001.0]))
def test_a_forecast_cannot_be_built_from_impossible_numbers(level: float, bad: float) -> None:
    good = np.array([level])
    for mean, low, high in (
        (np.array([bad]), good, good),
        (good, np.array([bad]), good),
        (good, good, np.array([bad])),
    ):
        with pytest.raises(ValueError, match="low <= mean <= high"):
            Forecast("XX", 0.0, 3600, 0, mean, low, high, "blend")


def test_a_forecast_has_as_many_lows_as_means() -> None:
    with pytest.raises(ValueError, match="equally many"):
        Forecast("XX", 0.0, 3600, 0, np.ones(3), np.ones(2), np.ones(3), "blend")
    with pytest.raises(ValueError, match="at least one"):
        Forecast("XX", 0.0, 3600, 0, np.ones(0), np.ones(0), np.ones(0), "blend")


def test_names() -> None:
    assert forecaster().name == DEFAULT
    assert DEFAULT != "oracle"
    truth = grid(5)
    assert [forecaster(name, truth).name for name in NAMES] == list(NAMES)
    with pytest.raises(UnknownForecaster, match="ridge, blend, oracle"):
        forecaster("crystal-ball")
