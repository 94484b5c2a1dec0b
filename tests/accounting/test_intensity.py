"""Steps of intensity and their gaps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.intensity import UNHEARD, Intensity, IntensityHistory

STALE = Missing("stale")


def history(*steps: tuple[float, Intensity]) -> IntensityHistory:
    out = IntensityHistory()
    for start_s, value in steps:
        out.set("DE", start_s, value)
    return out


def test_before_the_first_word_nothing_is_known() -> None:
    assert list(history((10, 300.0)).pieces("DE", 0, 20)) == [(0, 10, UNHEARD), (10, 20, 300.0)]
    assert list(history().pieces("FR", 0, 5)) == [(0, 5, UNHEARD)]


def test_a_gap_stays_a_gap() -> None:
    steps = history((0, 100.0), (10, STALE), (20, 200.0))
    assert list(steps.pieces("DE", 5, 25)) == [(5, 10, 100.0), (10, 20, STALE), (20, 25, 200.0)]


def test_the_past_can_be_filled_in() -> None:
    steps = history((0, 100.0), (10, STALE), (20, 200.0), (15, 150.0))
    assert list(steps.pieces("DE", 10, 20)) == [(10, 15, STALE), (15, 20, 150.0)]


def test_the_same_moment_is_corrected() -> None:
    assert list(history((0, 100.0), (0, 120.0)).pieces("DE", 0, 1)) == [(0, 1, 120.0)]


def test_news_are_told_from_repetition() -> None:
    steps = history((0, 100.0))
    assert not steps.set("DE", 5, 100.0)
    assert steps.set("DE", 5, 101.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 1e9])
def test_an_absurd_value_is_unknown_and_never_clean(value: float) -> None:
    ((_, _, held),) = history((0, value)).pieces("DE", 0, 1)
    assert isinstance(held, Missing)
    assert "absurd" in held.reason


def test_what_was_said_can_be_taken_back_unless_it_was_replaced() -> None:
    steps = history((0, 100.0), (10, STALE))
    steps.retract(10, STALE)
    assert list(steps.pieces("DE", 5, 15)) == [(5, 15, 100.0)]
    steps = history((0, 100.0), (10, STALE), (10, 200.0))
    steps.retract(10, STALE)
    assert list(steps.pieces("DE", 10, 15)) == [(10, 15, 200.0)]


def test_forgetting_keeps_what_still_holds() -> None:
    steps = history((0, 100.0), (10, 200.0), (20, 300.0))
    steps.forget_before(15)
    assert list(steps.pieces("DE", 15, 25)) == [(15, 20, 200.0), (20, 25, 300.0)]


times = st.floats(0, 100)


@given(st.lists(st.tuples(times, st.floats(0, 900) | st.just(STALE))), times, times)
def test_pieces_cover_the_stretch_once(steps: list[tuple[float, Intensity]], a: float, b: float) -> None:
    start_s, end_s = sorted((a, b))
    pieces = list(history(*steps).pieces("DE", start_s, end_s))
    assert [p.start_s for p in pieces[1:]] == [p.end_s for p in pieces[:-1]]
    if start_s < end_s:
        assert (pieces[0].start_s, pieces[-1].end_s) == (start_s, end_s)
    else:
        assert not pieces
