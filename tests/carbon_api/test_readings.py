"""A reading is a value or a typed reason; no other input becomes a number."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_api.readings import (
    EXPLANATIONS,
    HIGHEST_G_PER_KWH,
    Kind,
    Missing,
    Reason,
    Value,
    number,
    read,
)


@pytest.mark.parametrize(
    "raw, reason",
    [
        (None, Reason.NOT_A_NUMBER),
        ("311", Reason.NOT_A_NUMBER),
        (True, Reason.NOT_A_NUMBER),
        ([311], Reason.NOT_A_NUMBER),
        ({"value": 311}, Reason.NOT_A_NUMBER),
        (math.nan, Reason.NOT_A_NUMBER),
        (math.inf, Reason.NOT_A_NUMBER),
        (-0.01, Reason.ABSURD),
        (3000.01, Reason.ABSURD),
        (10**400, Reason.ABSURD),
    ],
)
def test_what_is_no_intensity_is_missing(raw: Any, reason: Reason):
    reading = read(raw, 0.0, Kind.AVERAGE, "test")
    assert isinstance(reading, Missing)
    assert reading.reason is reason
    assert str(reading).startswith(reason)


@pytest.mark.parametrize("raw", [0, 0.0, 311, 2999.9, HIGHEST_G_PER_KWH])
def test_what_is_one_is_a_value(raw: float):
    assert read(raw, 60.0, Kind.MARGINAL, "test", True) == Value(raw, 60.0, Kind.MARGINAL, True, "test")


def test_a_value_without_a_time_is_missing():
    reading = read(311, math.nan, Kind.AVERAGE, "test")
    assert isinstance(reading, Missing)
    assert reading.reason is Reason.UNREADABLE


@pytest.mark.parametrize("wrong", [math.nan, -1.0, 3001.0, math.inf])
def test_a_value_cannot_be_built_around_nonsense(wrong: float):
    with pytest.raises(ValueError, match="not within"):
        Value(wrong, 0.0, Kind.AVERAGE, False, "test")
    with pytest.raises(ValueError, match="finite"):
        Value(1.0, math.inf, Kind.AVERAGE, False, "test")


def test_every_reason_is_explained():
    assert set(EXPLANATIONS) == set(Reason)


def test_long_texts_are_not_repeated():
    reading = number("x" * 1000)
    assert isinstance(reading, Missing)
    assert len(reading.detail) < 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON)
def test_any_json_is_a_sound_value_or_missing(raw: Any):
    reading = read(raw, 0.0, Kind.AVERAGE, "test")
    if isinstance(reading, Value):
        assert type(raw) in (int, float)
        assert 0 <= reading.g_per_kwh <= HIGHEST_G_PER_KWH
        assert reading.g_per_kwh == raw
