"""Series: windows, repetition and merging never invent, move or lose a value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_api.readings import Kind, Missing, Reason, Value
from carbon_api.series import Series, from_values

NAN = math.nan


def series(values: list[float], start_s: int = 0, step_s: int = 3600) -> Series:
    return Series("XX", Kind.AVERAGE, "test", step_s, start_s, np.array(values, dtype=np.float64))


def test_a_moment_finds_its_interval():
    found = series([1, 2, NAN], 7200)
    assert found.at(7200) == Value(1, 7200, Kind.AVERAGE, False, "test")
    assert found.at(7200 + 3599.9) == found.at(7200)
    assert found.at(10_800) == Value(2, 10_800, Kind.AVERAGE, False, "test")
    assert found.at(14_400) == Missing(Reason.GAP)
    assert found.at(7199.9) == found.at(18_000) == Missing(Reason.NOT_COVERED)


def test_a_window_holds_the_intervals_that_start_in_it():
    found = series([1, 2, 3, 4])
    assert found.window(3600, 10_800).values.tolist() == [2, 3]
    assert found.window(1, 3601).values.tolist() == [2]
    assert found.window(3601, 3602).values.tolist() == []
    assert found.window(-math.inf, math.inf).values.tolist() == [1, 2, 3, 4]
    assert found.window(math.inf, -math.inf).values.tolist() == []


def test_numbers_that_are_no_intensities_are_refused():
    for wrong in (-1.0, 3001.0, math.inf):
        with pytest.raises(ValueError, match="outside"):
            series([1.0, wrong])
    with pytest.raises(ValueError, match="positive"):
        series([1.0], step_s=0)
    with pytest.raises(ValueError, match="one dimension"):
        Series("XX", Kind.AVERAGE, "test", 1, 0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="as many"):
        Series("XX", Kind.AVERAGE, "test", 1, 0, np.zeros(2), np.zeros(3, dtype=np.bool_))


def test_a_series_cannot_be_written_to_and_does_not_follow_its_origin():
    origin = np.array([1.0, 2.0])
    found = Series("XX", Kind.AVERAGE, "test", 3600, 0, origin)
    origin[0] = 9
    assert found.values[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 9


def test_repetition_keeps_hours_of_the_day_in_place():
    found = series([float(hour) for hour in range(50)])  # two days and two hours
    again = found.repeated(0, 5 * 86_400)
    assert len(again) == 120
    assert again.values[:48].tolist() == again.values[48:96].tolist()
    assert again.values[100] == 4
    assert found.repeated(-9999, 3600).values.tolist() == [0]
    assert series([]).repeated(0, 86_400).values.tolist() == []
    assert series([7, 8, 9]).repeated(0, 5 * 3600).values.tolist() == [7, 8, 9, 7, 8]


def test_kinds_are_never_mixed():
    marginal = Value(5, 0, Kind.MARGINAL, False, "test")
    with pytest.raises(ValueError, match="cannot take a marginal value"):
        from_values("XX", 300, [marginal], Kind.AVERAGE, "test")
    averages = series([1, 2])
    other = Series("XX", Kind.MARGINAL, "test", 3600, 0, np.array([5.0]))
    with pytest.raises(ValueError, match="cannot join"):
        averages.merged(other)
    with pytest.raises(ValueError, match="cannot join"):
        averages.merged(series([1], 1800))


def test_one_wrong_year_does_not_make_a_huge_series():
    values = [Value(5, at_s, Kind.AVERAGE, False, "test") for at_s in (0, 300 * 10**9)]
    with pytest.raises(ValueError, match="spread over more"):
        from_values("XX", 300, values, Kind.AVERAGE, "test")


numbers = st.lists(st.one_of(st.just(NAN), st.floats(0, 3000)), max_size=20)


@given(numbers, st.integers(-5, 25), st.integers(-5, 25))
def test_a_window_is_what_its_moments_say(values: list[float], first: int, last: int):
    whole = series(values)
    window = whole.window(first * 3600, last * 3600)
    for at_s, reading in window.readings():
        assert first * 3600 <= at_s < last * 3600
        assert reading == whole.at(at_s)
    assert len(window) == len([row for row in range(len(values)) if first <= row < last])


@given(numbers, numbers, st.integers(-30, 30))
def test_merging_keeps_every_value_and_prefers_the_newer(old: list[float], new: list[float], shift: int):
    ours, theirs = series(old), series(new, shift * 3600)
    both = ours.merged(theirs)
    for at_s, reading in both.readings():
        later, earlier = theirs.at(at_s), ours.at(at_s)
        expected = later if isinstance(later, Value) else earlier
        if isinstance(expected, Value):
            assert reading == expected
        else:
            assert isinstance(reading, Missing)
    assert {at_s for at_s, each in both.readings() if isinstance(each, Value)} == {
        at_s for part in (ours, theirs) for at_s, each in part.readings() if isinstance(each, Value)
    }


def test_merging_forgets_what_is_too_old():
    both = series([1, 2, 3]).merged(series([4, 5], 3 * 3600), keep_s=2 * 3600)
    assert (both.start_s, both.values.tolist()) == (3 * 3600, [4, 5])
