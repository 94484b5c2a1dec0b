"""Starts by the plan in the store: what is held, what the pod says, and who goes first afterwards."""

from __future__ import annotations

import pytest

from extender.core.carbon.plan.horizon import Risk
from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen
from extender.core.gangs.spec import GangSpec
from extender.core.outcomes import Outcome
from extender.core.policy import CarbonPolicy, Policy
from tests.gang.world import World, node, size

HOUR = 3600.0
DIRTY, CLEAN = 500.0, 100.0


def signal(world: World, *values: float) -> None:
    """Intensity now and in the hours that follow."""
    at_s = world.now
    world.do(
        world.store.apply(
            CarbonSeen(Signal("DE", at_s, values[0], forecast=values, forecast_start_s=at_s)), at_s
        )
    )


@pytest.fixture
def world() -> World:
    """One node on which one driver and seven executors of one core fit, at the beginning of an hour."""
    made = World(Policy(carbon=CarbonPolicy()))
    made.now = 480 * HOUR
    made.add(node("n1", 8, labels={"carbon-scheduler/carbon-zone": "DE"}))
    return made


def may_wait(
    workers: int, hours: float = 3, runtime_h: float = 1, policy: HoldPolicy | None = None
) -> GangSpec:
    flexibility = Flexibility(policy, max_delay_s=hours * HOUR, runtime_s=runtime_h * HOUR)
    return GangSpec(size(), workers, workers, flexibility=flexibility)


def test_an_application_that_allows_a_delay_is_planned_and_told_when_it_starts(world: World) -> None:
    signal(world, DIRTY, DIRTY, CLEAN, DIRTY)
    world.leader("a", may_wait(3))
    held = world.filter("a-driver")
    assert held.outcome is Outcome.HELD_FOR_CARBON
    assert "1970-01-21 02:00 to 1970-01-21 02:30 UTC (grid 100 instead of 500 g/kWh)" in held.detail
    assert "at the latest 1970-01-21 03:00; run time 60 min as stated" in held.detail
    world.tick(HOUR)
    signal(world, DIRTY - 1, CLEAN + 1, DIRTY)
    assert world.filter("a-driver") == held, "the text stays the same while the start does"
    world.tick(HOUR - 1)
    assert not world.woken
    world.tick(1)
    assert world.woken == ["a-driver"]
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_what_does_not_fit_into_the_clean_hour_is_planned_beside_it(world: World) -> None:
    signal(world, DIRTY, CLEAN, DIRTY - 100, DIRTY)
    for name in ("a", "b"):
        world.leader(name, may_wait(7))
    texts = [world.filter(f"{name}-driver").detail for name in ("a", "b")]
    assert "start 1970-01-21 01:00" in texts[0]
    assert "start 1970-01-21 02:15" in texts[1]


def test_one_that_was_held_comes_behind_those_that_do_not_wait_by_choice(world: World) -> None:
    signal(world, DIRTY, CLEAN, DIRTY, DIRTY)
    world.leader("held", may_wait(7))
    assert world.filter("held-driver").outcome is Outcome.HELD_FOR_CARBON
    world.tick(HOUR)
    world.leader("late", GangSpec(size(), 7, 7), created_s=world.now)
    assert world.filter("held-driver").outcome is not Outcome.ADMITTED
    assert world.filter("late-driver").outcome is Outcome.ADMITTED


def test_from_its_latest_start_on_it_has_the_place_of_its_creation(world: World) -> None:
    signal(world, DIRTY, DIRTY, DIRTY, CLEAN)
    world.leader("held", may_wait(7, hours=3))
    assert world.filter("held-driver").outcome is Outcome.HELD_FOR_CARBON
    world.tick(3 * HOUR)
    world.leader("late", GangSpec(size(), 7, 7), created_s=world.now)
    assert world.filter("late-driver").outcome is not Outcome.ADMITTED
    assert world.filter("held-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("values", [(), (DIRTY,) * 4])
def test_nothing_is_held_on_a_grid_that_is_flat_or_unknown(world: World, values: tuple[float, ...]) -> None:
    if values:
        signal(world, *values)
    world.leader("a", may_wait(3))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_best_start_looks_at_the_grid_alone(world: World) -> None:
    signal(world, DIRTY, CLEAN, DIRTY - 100, DIRTY)
    for name in ("a", "b"):
        world.leader(name, may_wait(7, policy=HoldPolicy.BEST_START))
        assert "start 1970-01-21 01:00" in world.filter(f"{name}-driver").detail


def test_a_start_that_is_not_worth_waiting_for_is_now(world: World) -> None:
    signal(world, 200.0, 199.5, 199.5, 200.0)
    world.leader("a", may_wait(3))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_one_forecast_hour_of_nothing_is_a_gap_and_not_clean(world: World) -> None:
    signal(world, 300.0, 310.0, 0.0, 305.0, 290.0)
    outlook = world.store.state.carbon.outlook("DE", world.now)
    assert outlook is not None
    assert outlook.values == (300.0, 310.0, 310.0, 305.0, 290.0)
    assert (outlook.lower, outlook.upper) == (290.0, 310.0)


def test_nothing_now_beside_a_forecast_of_something_is_unknown(world: World) -> None:
    signal(world, 0.0, 300.0, 310.0)
    assert world.store.state.carbon.value("DE", world.now) is None
    signal(world, 0.0, 0.0, 0.0)
    assert world.store.state.carbon.value("DE", world.now) == 0.0


@pytest.mark.parametrize(("risk", "held"), [(Risk.LOW, False), (Risk.MODERATE, True), (Risk.HIGH, True)])
def test_the_risk_setting_says_how_far_an_uncertain_hour_is_waited_for(risk: Risk, held: bool) -> None:
    """The next hour is expected to be cleaner by 20 g/kWh, give or take 60."""
    made = World(Policy(carbon=CarbonPolicy(risk=risk)))
    made.now = 480 * HOUR
    made.add(node("n1", 8, labels={"carbon-scheduler/carbon-zone": "DE"}))
    values, low, high = (500.0, 480.0, 500.0), (500.0, 380.0, 400.0), (500.0, 580.0, 600.0)
    seen = Signal(
        "DE",
        made.now,
        values[0],
        forecast=values,
        forecast_start_s=made.now,
        forecast_low=low,
        forecast_high=high,
    )
    made.do(made.store.apply(CarbonSeen(seen), made.now))
    made.leader("a", may_wait(3, hours=2))
    answer = made.filter("a-driver")
    assert (answer.outcome is Outcome.HELD_FOR_CARBON) is held
    if held:
        assert "(grid 480 instead of 500 g/kWh)" in answer.detail, "what is expected, without the risk"
