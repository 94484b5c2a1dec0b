"""A carbon zone that is neutral, or that has no forecast, says why: in every state of its signal."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.carbon.signal import CarbonBook, Kind, Signal

STALE_AFTER_S = 3600.0
numbers = st.one_of(st.just(0.0), st.floats(-10, 1e4), st.sampled_from([math.nan, math.inf]))
signals = st.builds(
    Signal,
    zone=st.just("DE"),
    at_s=st.floats(0, 1e5),
    g_per_kwh=st.none() | numbers,
    reason=st.sampled_from(["", "source-down"]),
    kind=st.sampled_from(Kind),
    forecast=st.lists(numbers, max_size=3).map(tuple),
    forecast_start_s=st.floats(0, 1e5),
    step_s=st.sampled_from([0.0, 300.0, 3600.0]),
    stale_after_s=st.none() | st.floats(0, 7200),
)


@given(st.lists(signals, max_size=4), st.floats(0, 2e5))
def test_no_state_is_neutral_without_a_reason(seen: list[Signal], now: float) -> None:
    book = CarbonBook(STALE_AFTER_S)
    for each in seen:
        book.see(each)
    if book.value("DE", now) is None or book.outlook("DE", now) is None:
        assert book.reason("DE", now)


@pytest.mark.parametrize(
    ("signal", "now", "said"),
    [
        (None, 0.0, "not asked yet"),
        (Signal("DE", 0.0, None, "source-down"), 0.0, "source-down"),
        (Signal("DE", 0.0, None), 0.0, "no value and no reason"),
        (Signal("DE", 0.0, 1e9), 0.0, "not believed"),
        (Signal("DE", 0.0, 300.0, kind=Kind.MARGINAL), 0.0, "carbon_kind"),
        (Signal("DE", 0.0, 0.0, forecast=(0.0, 300.0)), 0.0, "gap"),
        (Signal("DE", 0.0, 300.0, forecast=(300.0,)), STALE_AFTER_S + 1, "counts for 3600 s"),
        (Signal("DE", 0.0, 300.0, "no forecast: down"), STALE_AFTER_S + 1, "too old"),
        (Signal("DE", 0.0, 300.0), 0.0, "no usable forecast"),
        (Signal("DE", 0.0, 300.0, "no forecast: down"), 0.0, "no forecast: down"),
    ],
)
def test_the_reason_names_the_cause(signal: Signal | None, now: float, said: str) -> None:
    book = CarbonBook(STALE_AFTER_S)
    if signal is not None:
        book.see(signal)
    assert said in book.reason("DE", now)


def test_a_zone_with_value_and_forecast_needs_no_reason() -> None:
    book = CarbonBook(STALE_AFTER_S)
    book.see(Signal("DE", 0.0, 300.0, forecast=(300.0, 200.0)))
    assert book.reason("DE", 1.0) == ""
