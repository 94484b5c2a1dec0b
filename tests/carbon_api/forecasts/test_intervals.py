"""Intervals from past errors: nine in ten, calm or stormy."""

from __future__ import annotations

import numpy as np
import pytest

from carbon_api.forecasts.blend import blend_at
from carbon_api.forecasts.hours import Hours
from carbon_api.forecasts.intervals import (
    FEWEST_ERRORS,
    _rarities,  # pyright: ignore[reportPrivateUsage]
    _with_neighbours,  # pyright: ignore[reportPrivateUsage]
    past_errors,
    widths,
)


def coverage(errors: np.ndarray, days: int = 90) -> float:
    """Share of errors that an interval from so many days before holds."""
    inside = []
    for day in range(days, len(errors)):
        found = widths(errors[day - days : day])
        assert found is not None
        inside.append((errors[day] >= -found.below) & (errors[day] <= found.above))
    return float(np.mean(inside))


@pytest.mark.parametrize("seed", [1, 2])
def test_nine_in_ten_of_plain_noise(seed: int) -> None:
    errors = np.random.default_rng(seed).normal(0.0, 0.1, (240, 96))
    assert coverage(errors) == pytest.approx(0.90, abs=0.015)


def test_nine_in_ten_of_biased_and_skewed_errors() -> None:
    errors = np.random.default_rng(3).gamma(2.0, 0.05, (240, 96)) - 0.02
    assert coverage(errors) == pytest.approx(0.90, abs=0.02)


@pytest.mark.parametrize(("cycle_days", "off"), [(40, 0.02), (75, 0.02), (157, 0.035)])
def test_nine_in_ten_when_calm_and_stormy_months_take_turns(cycle_days: int, off: float) -> None:
    random = np.random.default_rng(4)
    size = 0.1 * np.exp(np.sin(2.0 * np.pi * np.arange(300) / cycle_days))  # storms are seven times as large
    errors = random.normal(0.0, 1.0, (300, 96)) * size[:, None]
    assert coverage(errors) == pytest.approx(0.90, abs=off)


@pytest.mark.parametrize(("days", "off"), [(30, 0.03), (60, 0.01), (90, 0.005)])
def test_few_errors_make_no_wide_interval(days: int, off: float) -> None:
    errors = np.random.default_rng(1).normal(0.0, 0.1, (240, 96))
    assert coverage(errors, days) == pytest.approx(0.90, abs=off)


def test_a_tail_that_was_missed_too_often_is_moved_outwards() -> None:
    random = np.random.default_rng(9)
    symmetric, skewed = random.normal(0.0, 0.1, (2, 90, 96))
    skewed[45:] += 0.2  # for the last weeks the forecast has been too low
    before, after = widths(symmetric), widths(skewed)
    assert before is not None
    assert after is not None
    assert after.above.mean() > before.above.mean() + 0.2
    assert after.below.mean() < before.below.mean()


def test_a_past_interval_is_judged_by_what_was_known_then() -> None:
    random = np.random.default_rng(10)
    errors = random.normal(0.0, 0.1, (40, 96))
    changed = errors.copy()
    day = 30  # what was not over at its issue: later issues, and the later hours of the four before
    changed[day + 1 :] += 1.0
    for back in range(1, 5):
        changed[day - back, 24 * back :] += random.normal(0.0, 1.0, 96 - 24 * back)
    one, other = (_rarities(each, _with_neighbours(each)) for each in (errors, changed))
    for side in (0, 1):
        assert not np.isnan(one[side][day]).any()
        np.testing.assert_array_equal(one[side][day], other[side][day])


def test_width_follows_the_present_volatility() -> None:
    random = np.random.default_rng(5)
    calm, storm = random.normal(0.0, 0.05, (60, 96)), random.normal(0.0, 0.2, (30, 96))
    after_storm, after_calm = widths(np.vstack([calm, storm])), widths(np.vstack([storm, calm]))
    assert after_storm is not None
    assert after_calm is not None
    assert after_storm.above.mean() > 1.5 * after_calm.above.mean()


def test_few_errors_make_no_interval() -> None:
    errors = np.random.default_rng(6).normal(size=(FEWEST_ERRORS, 96))
    assert widths(errors) is not None
    errors[0, 95] = np.nan
    assert widths(errors) is None
    assert widths(np.empty((0, 96))) is None


def test_only_measured_hours_that_are_over_count() -> None:
    logs = np.arange(24.0 * 10)
    known = np.ones(len(logs), dtype=np.bool_)
    known[200] = False
    rows = np.array([190, 239])
    errors = past_errors(Hours(0, logs, known), rows, np.zeros((2, 96)))
    assert np.isnan(errors[0, 10])
    assert errors[0, 9] == 199.0
    assert np.isnan(errors[0, 50:]).all()
    assert errors[1, 0] == 239.0
    assert np.isnan(errors[1, 1:]).all()


def test_blends_of_many_days_are_those_of_single_days() -> None:
    logs = np.random.default_rng(7).normal(5.0, 0.3, 24 * 20)
    hours = Hours(0, logs, np.ones(len(logs), dtype=np.bool_))
    rows = np.array([24, 60, 24 * 7, 24 * 12 + 5])
    together = blend_at(hours, rows)
    for row, made in zip(rows, together, strict=True):
        np.testing.assert_array_equal(blend_at(hours, np.array([row]))[0], made)
