"""Plans of elastic applications: the optimum, what it is compared with, and what it must never do."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.carbon.plan import baselines
from extender.core.carbon.plan.elastic import Profile, TooTight, Widths, extended, fluid, whole
from tests.cases import case_path

CASES = "carbonscaler-cases.json"
REFUSED = {201, 205}
"""Cases that nobody can plan: they must be refused with a reason."""


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    rates = draw(st.lists(st.floats(0.5, 20.0), min_size=1, max_size=6))
    watts = draw(st.lists(st.floats(10.0, 200.0), min_size=len(rates), max_size=len(rates)))
    first = draw(st.integers(1, 3))
    widths = tuple(range(first, first + len(rates)))
    return Profile(widths, tuple(np.cumsum(rates).tolist()), tuple(np.cumsum(watts).tolist()))


grids = st.lists(st.floats(0.0, 900.0), min_size=1, max_size=24)


def delivered(profile: Profile, plan: Widths) -> float:
    """Work done in slots of one hour."""
    rates = {0: 0.0, **dict(zip(profile.widths, profile.work_per_hour, strict=True))}
    done = sum(rates[width] * part for width, part in zip(plan.widths, plan.active, strict=True))
    if plan.split_slot is not None:
        done += rates[plan.split_width] * (1 - plan.active[plan.split_slot])
    return done


def emitted(profile: Profile, plan: Widths, grid: list[float]) -> float:
    """Grams in slots of one hour."""
    watts = {0: 0.0, **dict(zip(profile.widths, profile.watts, strict=True))}
    parts = zip(plan.widths, plan.active, grid, strict=True)
    grams = sum(watts[width] * part * price for width, part, price in parts)
    if plan.split_slot is not None:
        slot = plan.split_slot
        grams += watts[plan.split_width] * (1 - plan.active[slot]) * grid[slot]
    return grams / 1000.0


def grams_of(plan: Widths | TooTight) -> float:
    return plan.grams if isinstance(plan, Widths) else math.inf


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    return json.loads(case_path(CASES).read_text())["cases"]


def read(case: dict[str, Any]) -> tuple[Profile, float, np.ndarray]:
    rows = range(1, len(case["replicas"]))
    profile = Profile(
        tuple(case["replicas"][row] for row in rows),
        tuple(case["throughput_per_slot"][row] for row in rows),
        tuple(case["energy_kwh_per_slot"][row] * 1000.0 for row in rows),
    )
    most = min(case["max_replicas"], case.get("cluster_size", math.inf))
    grid = extended(case["carbon_g_per_kwh"], case["deadline_slots"], 24)
    return profile.between(case["min_replicas"], int(most)), case.get("remaining_work", case["work"]), grid


def test_no_case_is_worse_than_the_original_or_better_than_possible(cases: list[dict[str, Any]]) -> None:
    compared = 0
    for case in cases:
        if case["id"] in REFUSED:
            continue
        profile, work, grid = read(case)
        plan, slots = fluid(profile, work, grid), whole(profile, work, grid)
        assert isinstance(plan, Widths), case["id"]
        assert isinstance(slots, Widths), case["id"]
        assert delivered(profile, plan) >= work * (1 - 1e-9), case["id"]
        assert delivered(profile, slots) >= work * (1 - 1e-9), case["id"]
        expected, reference = case["expected"], case["reference"]
        bound = reference["fractional_optimum_g"]
        if bound > 0:
            assert plan.grams == pytest.approx(bound, rel=1e-6), case["id"]
        best = reference.get("whole_slot_optimum_g", -1)
        if best > 0:
            assert slots.grams <= best * 1.005, case["id"]
            assert slots.grams >= best * (1 - 1e-6), case["id"]
        if expected["error_code"]:
            continue
        compared += 1
        # Engine 1 shortens a slot, engine 2 pays for whole ones, or stops when the work is done.
        original = expected.get("carbon_g", expected.get("carbon_stop_at_completion_g", math.inf))
        assert plan.grams <= original * (1 + 1e-6), case["id"]
        paid_whole = expected.get("carbon_whole_slots_g", math.inf)
        assert slots.grams <= paid_whole * (1 + 1e-6), case["id"]
    assert compared > 70


def test_cases_that_cannot_be_planned_are_refused_with_a_reason(cases: list[dict[str, Any]]) -> None:
    refusals: list[str] = []
    for case in cases:
        if case["id"] in REFUSED:
            try:
                plan = fluid(*read(case))
            except ValueError as problem:
                refusals.append(str(problem))
            else:
                assert isinstance(plan, TooTight), case["id"]
                refusals.append(plan.detail)
    assert len(refusals) == len(REFUSED)
    assert all("earliest" in text or "no width" in text for text in refusals)


def test_the_worked_example() -> None:
    """38 units on 10, 17, 22 an hour: the last increment is bought for 0.8 of an hour only."""
    profile = Profile((1, 2, 3), (10.0, 17.0, 22.0), (100.0, 190.0, 290.0))
    plan = fluid(profile, 38.0, [280.0, 100.0, 150.0, 400.0])
    assert isinstance(plan, Widths)
    assert plan.widths == (0, 3, 2, 0)
    assert (plan.split_slot, plan.split_width) == (1, 2)
    assert plan.active[1] == pytest.approx(0.8)
    assert plan.grams == pytest.approx(55.5)
    agnostic = baselines.agnostic(profile, 38.0, [280.0, 100.0, 150.0, 400.0])
    assert grams_of(agnostic) == pytest.approx(85.0)


@given(profiles(), grids, st.floats(0.01, 1.0))
@settings(max_examples=150, deadline=None)
def test_a_plan_does_its_work_and_says_what_it_emits(
    profile: Profile, grid: list[float], load: float
) -> None:
    work = profile.fastest * len(grid) * load
    for plan in (fluid(profile, work, grid), whole(profile, work, grid, parts=500)):
        assert isinstance(plan, Widths)
        assert delivered(profile, plan) >= work * (1 - 1e-8)
        assert emitted(profile, plan, grid) == pytest.approx(plan.grams, rel=1e-9, abs=1e-9)
        assert plan.grams >= plan.bound_g * (1 - 1e-9)
        assert set(plan.widths) <= {0, *profile.widths}


@given(profiles(), grids, st.floats(0.01, 1.0))
@settings(max_examples=150, deadline=None)
def test_no_baseline_is_better(profile: Profile, grid: list[float], load: float) -> None:
    work = profile.fastest * len(grid) * load
    best = grams_of(fluid(profile, work, grid)) * (1 - 1e-9)
    assert best <= grams_of(baselines.agnostic(profile, work, grid))
    assert best <= grams_of(baselines.suspend_resume(profile, work, grid))
    assert best <= grams_of(baselines.static_scale_oracle(profile, work, grid))
    for width in profile.widths:
        assert best <= grams_of(baselines.fixed(profile, width, work, grid))
        assert best <= grams_of(baselines.static_scale(profile, width, work, grid))


@given(profiles(), grids, st.floats(0.01, 1.0), st.floats(0.0, 900.0))
@settings(max_examples=100, deadline=None)
def test_more_time_and_more_width_never_emit_more(
    profile: Profile, grid: list[float], load: float, another: float
) -> None:
    work = profile.work_per_hour[0] * len(grid) * load
    now = grams_of(fluid(profile, work, grid))
    assert grams_of(fluid(profile, work, [*grid, another])) <= now * (1 + 1e-9) + 1e-9
    narrower = profile.between(0, profile.widths[0])
    for most in profile.widths:
        wider = profile.between(0, most)
        assert grams_of(fluid(wider, work, grid)) <= grams_of(fluid(narrower, work, grid)) * (1 + 1e-9) + 1e-9
        narrower = wider


@given(profiles(), st.integers(1, 24), st.floats(0.1, 3.0))
@settings(max_examples=100, deadline=None)
def test_it_is_planned_exactly_when_it_is_possible(profile: Profile, slots: int, load: float) -> None:
    work = profile.fastest * slots * load
    plan = fluid(profile, work, [100.0] * slots)
    assert isinstance(plan, TooTight) == (load > 1 + 1e-9)
    if isinstance(plan, TooTight):
        assert plan.earliest_h == pytest.approx(load * slots)
        enough = math.ceil(plan.earliest_h - 1e-9)
        assert isinstance(fluid(profile, work, [100.0] * enough), Widths)


@pytest.mark.parametrize(
    ("widths", "works", "watts"),
    [((), (), ()), ((2, 1), (1.0, 2.0), (1.0, 2.0)), ((1,), (0.0,), (5.0,)), ((1,), (1.0,), (math.nan,))],
)
def test_a_profile_that_makes_no_sense_is_refused(
    widths: tuple[int, ...], works: tuple[float, ...], watts: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="profile"):
        Profile(widths, works, watts)


def test_an_intensity_that_is_unknown_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        fluid(Profile((1,), (1.0,), (1.0,)), 1.0, [math.nan, 2.0])
