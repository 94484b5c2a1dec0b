"""CPU for a superstep: exact where durations are known, improved where they are expected."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extender.bsp.core.allocation import expected, least_expected, shortest
from extender.bsp.core.reference.controllers import Forecasts
from tests.bsp.worlds import SMALL, surface, work

DURATIONS = st.floats(0.5, 100, allow_nan=False).map(lambda value: round(value, 1))


def tables(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape, elements=DURATIONS)


@given(
    durations=tables(3, 5), budget=st.integers(0, 12), caps=arrays(np.int64, 3, elements=st.integers(0, 4))
)
def test_no_allocation_of_the_budget_is_faster(durations: np.ndarray, budget: int, caps: np.ndarray) -> None:
    levels = shortest(durations, budget, caps)
    possible = [each for each in itertools.product(*(range(cap + 1) for cap in caps)) if sum(each) <= budget]
    best = min(durations[range(3), each].max() for each in possible)
    assert durations[range(3), levels].max() == best
    assert levels.sum() <= budget
    assert (levels <= caps).all()


@given(durations=tables(3, 5), budget=st.integers(0, 12))
def test_no_member_gets_cpu_that_gains_nothing(durations: np.ndarray, budget: int) -> None:
    levels = shortest(durations, budget)
    slowest = durations[range(3), levels].max()
    for member in range(3):
        assert (durations[member, : levels[member]] > slowest).all()


@given(batch=tables(4, 3, 5), budget=st.integers(0, 12))
def test_many_supersteps_at_once_get_what_each_gets_alone(batch: np.ndarray, budget: int) -> None:
    together = shortest(batch, budget)
    assert together.tolist() == [shortest(each, budget).tolist() for each in batch]


@given(
    table=tables(2, 4, 3, 6),
    budget=st.integers(0, 15),
    caps=arrays(np.int64, 3, elements=st.integers(0, 5)),
    allowed=st.sampled_from([0.0, 0.1]),
)
def test_moving_cpu_never_makes_the_expected_duration_longer(
    table: np.ndarray, budget: int, caps: np.ndarray, allowed: float
) -> None:
    weights = np.full(4, 0.25)
    levels = least_expected(table, weights, budget, caps, allowed)
    start = shortest(table.mean(axis=1), budget, caps)
    assert (expected(table, weights, levels) <= expected(table, weights, start) * (1 + allowed) + 1e-6).all()
    assert (levels.sum(axis=1) <= budget).all()
    assert (levels >= 0).all()
    assert (levels <= caps).all()


@given(table=tables(1, 3, 3, 6), budget=st.integers(0, 15))
def test_no_member_can_give_back_a_step_for_nothing(table: np.ndarray, budget: int) -> None:
    weights = np.ones(3)
    levels = least_expected(table, weights, budget)
    for member in np.flatnonzero(levels[0]):
        less = levels - (np.arange(3) == member)
        assert expected(table, weights, less) > expected(table, weights, levels)


@given(seed=st.integers(0, 500))
def test_with_one_certain_superstep_the_expectation_is_the_exact_optimum(seed: int) -> None:
    table = surface().grid(work(1, seed=seed)[0, 0], SMALL.ladder(3))
    budget, exact = SMALL.grants(3), shortest(table, SMALL.grants(3))
    levels = least_expected(table[None, None], np.ones(1), budget)
    assert expected(table[None, None], np.ones(1), levels)[0] == pytest.approx(table[range(3), exact].max())


@given(seed=st.integers(0, 500))
def test_the_exact_allocation_is_never_slower_than_the_greedy_one(seed: int) -> None:
    sizes = work(1, seed=seed)
    forecasts = Forecasts(surface(wiggle=0.1), sizes, SMALL)
    greedy, _ = forecasts.configure(0, 0, 1)
    table = forecasts.table[0, 0]
    exact = shortest(table, forecasts.grants)
    assert table[range(3), exact].max() <= table[range(3), greedy].max()


def test_an_allowed_slow_down_gives_cpu_back() -> None:
    table = surface().grid(work(1)[0, 0], SMALL.ladder(3))[None, None]
    full = least_expected(table, np.ones(1), SMALL.grants(3))
    less = least_expected(table, np.ones(1), SMALL.grants(3), allowed=0.1)
    assert less.sum() < 0.9 * full.sum()
