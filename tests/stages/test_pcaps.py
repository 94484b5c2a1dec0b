"""PCAPS against the published formulas' values, and what must hold whatever the numbers."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from extender.core.carbon.signal import Outlook
from extender.core.carbon.width import pcaps
from extender.core.carbon.width.pcaps import Candidate, Carbon

grams = st.floats(0.0, 1000.0)
gammas = st.floats(0.0, 1.0)
shares = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("gamma", "values"),
    [
        (0.1, (470.000, 472.867, 477.221, 484.625, 492.216, 496.863, 500)),
        (0.5, (350.000, 361.855, 380.787, 415.674, 455.205, 481.407, 500)),
        (0.9, (230.000, 247.421, 276.675, 335.127, 408.329, 460.840, 500)),
        (1.0, (200.000, 218.362, 249.589, 313.262, 395.020, 454.837, 500)),
    ],
)
def test_threshold(gamma: float, values: tuple[float, ...]) -> None:
    for r, value in zip((0, 0.1, 0.25, 0.5, 0.75, 0.9, 1), values, strict=True):
        assert pcaps.threshold(r, 200, 500, gamma) == pytest.approx(value, abs=5.1e-4)


WANTED = (1, 2, 3, 5, 10, 25, 50, 100)


@pytest.mark.parametrize(
    ("gamma", "intensity", "values"),
    [
        (0.5, 200, (1, 1, 2, 4, 7, 19, 37, 75)),
        (0.5, 201, (1, 1, 2, 4, 7, 19, 37, 75)),
        (0.5, 202, (1, 1, 2, 3, 7, 17, 34, 68)),
        (0.5, 205, (1, 1, 2, 3, 5, 14, 27, 54)),
        (0.5, 210, (1, 1, 2, 3, 5, 13, 25, 50)),
        (0.5, 500, (1, 1, 2, 3, 5, 13, 25, 50)),
        (0.1, 200, (1, 2, 3, 5, 9, 24, 49, 99)),
        (0.1, 300, (1, 1, 2, 4, 9, 22, 45, 90)),
        (0.9, 210, (1, 1, 1, 1, 1, 3, 5, 10)),
        (1.0, 210, (1,) * 8),
    ],
)
def test_parallelism_of_the_simulator(gamma: float, intensity: float, values: tuple[int, ...]) -> None:
    assert tuple(pcaps.parallelism_of_simulator(p, intensity, 200, gamma) for p in WANTED) == values


@pytest.mark.parametrize(
    ("intensity", "values"),
    [
        (200, (1, 1, 2, 3, 5, 13, 25, 50)),
        (202, (1, 1, 2, 2, 4, 10, 19, 37)),
        (205, (1, 1, 1, 1, 1, 3, 5, 9)),
        (210, (1,) * 8),
    ],
)
def test_parallelism_of_the_paper(intensity: float, values: tuple[int, ...]) -> None:
    assert tuple(pcaps.parallelism_of_paper(p, intensity, 200, 0.5) for p in WANTED) == values


@given(grams, grams, gammas, shares, shares)
def test_threshold_rises_with_importance_and_falls_with_gamma(
    one: float, other: float, gamma: float, r: float, s: float
) -> None:
    lower, upper = min(one, other), max(one, other)
    value = pcaps.threshold(min(r, s), lower, upper, gamma)
    near = 1e-9 * max(1.0, upper)
    assert lower - near <= value <= upper
    assert value <= pcaps.threshold(max(r, s), lower, upper, gamma) + near
    assert (
        pcaps.threshold(r, lower, upper, max(gamma, s))
        <= pcaps.threshold(r, lower, upper, min(gamma, s)) + near
    )
    assert pcaps.threshold(1.0, lower, upper, gamma) == upper
    assert pcaps.threshold(r, lower, upper, 0.0) == upper


@given(grams, grams, grams, st.floats(0.01, 1.0), shares)
def test_least_important_is_the_threshold_solved_for_r(
    now: float, one: float, other: float, gamma: float, r: float
) -> None:
    carbon = Carbon.between(now, one, other)
    assert carbon is not None
    limit = pcaps.least_important(carbon, gamma)
    assume(abs(r - limit) > 1e-6)
    assume(carbon.upper - carbon.lower > 1e-3 or carbon.upper == carbon.lower)
    assert pcaps.runs(r, carbon, gamma) is (r > limit)


@given(st.integers(0, 200), grams, grams, grams, gammas)
def test_width_stays_between_one_and_what_is_wanted(
    wanted: int, now: float, one: float, other: float, gamma: float
) -> None:
    carbon = Carbon.between(now, one, other)
    assert carbon is not None
    width = pcaps.parallelism(wanted, carbon, gamma)
    assert min(wanted, 1) <= width <= wanted
    assert pcaps.parallelism(wanted, Carbon(carbon.lower, carbon.lower, carbon.upper), gamma) == wanted
    assert pcaps.parallelism(wanted, Carbon(carbon.upper, carbon.lower, carbon.upper), gamma) <= width
    assert pcaps.parallelism(wanted, None, gamma) == wanted


def test_width_at_the_dirtiest_is_the_share_that_gamma_leaves() -> None:
    dirty = Carbon(500, 200, 500)
    assert [pcaps.parallelism(100, dirty, gamma) for gamma in (0.0, 0.1, 0.5, 0.9, 1.0)] == [
        100,
        90,
        50,
        10,
        1,
    ]
    assert pcaps.parallelism(100, Carbon(350, 200, 500), 0.5) == 75


candidates = st.lists(st.tuples(shares, st.integers(0, 9)), max_size=8).map(
    lambda pairs: [Candidate(number, p, wanted) for number, (p, wanted) in enumerate(pairs)]
)


@given(candidates, grams, grams, gammas, st.integers(1, 9))
def test_a_flat_grid_no_signal_and_gamma_zero_are_the_base_policy(
    asked: list[Candidate[int]], flat: float, upper: float, gamma: float, running: int
) -> None:
    everything = {each.key: each.executors for each in asked if each.executors}
    varied = Carbon.between(flat, flat, upper)
    for carbon, strength in ((Carbon(flat, flat, flat), gamma), (None, gamma), (varied, 0.0)):
        admission = pcaps.admit(asked, carbon, strength, running)
        assert (admission.executors, admission.deferred) == (everything, ())


@given(candidates, grams, grams, grams, gammas, st.integers(0, 9))
def test_every_candidate_is_let_in_or_deferred_by_its_importance(
    asked: list[Candidate[int]], now: float, one: float, other: float, gamma: float, running: int
) -> None:
    carbon = Carbon.between(now, one, other)
    assert carbon is not None
    admission = pcaps.admit(asked, carbon, gamma, running)
    wanted = {each.key: each for each in asked if each.executors}
    assert admission.executors.keys() | set(admission.deferred) == wanted.keys()
    assert not admission.executors.keys() & set(admission.deferred)
    for key, executors in admission.executors.items():
        assert 1 <= executors <= wanted[key].executors
        assert all(wanted[key].importance >= wanted[low].importance for low in admission.deferred)
    if wanted and not running:
        assert admission.executors, "with nothing at work something is always let in"
    assert admission == pcaps.admit(asked, carbon, gamma, running)


@given(candidates, grams, grams, grams, gammas, st.integers(0, 9), st.integers(0, 30))
def test_what_all_may_have_together_bounds_who_is_let_in_and_not_who_is_deferred(
    asked: list[Candidate[int]], now: float, one: float, other: float, gamma: float, running: int, most: int
) -> None:
    carbon = Carbon.between(now, one, other)
    ranked = sorted(asked, key=lambda each: -each.importance)
    bounded = pcaps.admit(ranked, carbon, gamma, running, most)
    free = pcaps.admit(ranked, carbon, gamma, running)
    assert sum(bounded.executors.values()) <= most
    assert all(1 <= number <= free.executors[key] for key, number in bounded.executors.items())
    if most:
        assert bounded.deferred == free.deferred
        assert bool(bounded.executors) == bool(free.executors)


def test_progress_guarantee_lets_in_the_most_important_of_those_that_wait() -> None:
    """The stage that sets the scale has all it can use; the others fall short of it."""
    asked = [Candidate("critical", 1.0, 0), Candidate("b", 0.2, 4), Candidate("c", 0.3, 4)]
    dirty = Carbon(500, 200, 500)
    busy = pcaps.admit(asked, dirty, 0.5, running=1)
    assert (busy.executors, busy.deferred, busy.forced) == ({}, ("b", "c"), None)
    idle = pcaps.admit(asked, dirty, 0.5, running=0)
    assert (idle.executors, idle.deferred, idle.forced) == ({"c": 2}, ("b",), "c")


def test_a_value_outside_its_forecast_widens_the_bounds() -> None:
    """The original deferred everything for as long as c stayed above U."""
    carbon = Carbon.between(600, 280, 400)
    assert carbon == Carbon(600, 280, 600)
    assert pcaps.runs(1.0, carbon, 0.5)
    assert not pcaps.runs(0.99, carbon, 0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 9999.0])
def test_absurd_numbers_are_neutral(value: float) -> None:
    for numbers in ((value, 200.0, 500.0), (300.0, value, 500.0), (300.0, 200.0, value)):
        assert Carbon.between(*numbers) is None
    assert pcaps.runs(0.0, None, 1.0)
    assert Carbon.of(None) is None


def test_relative_importance() -> None:
    assert pcaps.relative({"a": 0.2, "b": 0.4, "c": 0.0}) == {"a": 0.5, "b": 1.0, "c": 0.0}
    assert pcaps.relative({"a": 0.0, "b": 0.0}) == {"a": 1.0, "b": 1.0}
    assert pcaps.relative({}) == {}


def test_bounds_come_from_the_forecast() -> None:
    values = (500.0, 450.0, 300.0, 200.0)
    outlook = Outlook(1000.0, 3600.0, values, 200.0, 500.0)
    assert Carbon.of(outlook) == Carbon(500.0, 200.0, 500.0)
    assert Carbon.of(outlook, window_s=2 * 3600.0) == Carbon(500.0, 450.0, 500.0)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_gamma_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        pcaps.threshold(0.5, 200, 500, gamma)
    with pytest.raises(ValueError, match="gamma"):
        pcaps.admit([Candidate("a", 1.0, 1)], Carbon(300, 200, 500), gamma, 1)
