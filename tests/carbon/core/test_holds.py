"""Gangs that wait for cleaner power: when they are held, when they start, and that they always do."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.carbon.signal import Outlook, Signal
from extender.core.carbon.start import suspend_resume, threshold
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.events import CarbonSeen, RemoveGate, Tick
from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.spec import GangSpec
from extender.core.outcomes import Outcome
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.core.queries import budget
from tests.gang.world import World, node, size

HOUR = 3600.0
DIRTY, CLEAN = 500.0, 100.0


def signal(world: World, *values: float, zone: str = "DE", at_s: float | None = None) -> None:
    """Intensity now and in the hours that follow."""
    at = world.now if at_s is None else at_s
    seen = Signal(
        zone, at, values[0], forecast=values, forecast_start_s=at, lower=min(values), upper=max(values)
    )
    world.do(world.store.apply(CarbonSeen(seen), world.now))


def carbon_world(**carbon: object) -> World:
    world = World(Policy(carbon=CarbonPolicy(**carbon)))  # type: ignore[arg-type]
    world.add(*(node(f"n{number}", 8, labels={"carbon-scheduler/carbon-zone": "DE"}) for number in (1, 2)))
    return world


def flexible(policy: HoldPolicy = HoldPolicy.THRESHOLD, workers: int = 2, **more: float) -> GangSpec:
    return GangSpec(size(), workers, workers + 2, flexibility=Flexibility(policy, **more))


def test_a_flexible_gang_waits_for_the_clean_hours() -> None:
    world = carbon_world()
    signal(world, DIRTY, DIRTY, CLEAN, DIRTY)
    world.leader("a", flexible(max_delay_s=4 * HOUR))
    held = world.filter("a-driver")
    assert held.outcome is Outcome.HELD_FOR_CARBON
    assert "threshold" in held.detail
    assert "expected to start at 1970-01-01 02:16 UTC, at the latest 1970-01-01 04:16 UTC" in held.detail
    world.tick(HOUR)
    signal(world, DIRTY, CLEAN, DIRTY)
    assert world.filter("a-driver") == held, "the text stays the same until release"
    world.tick(HOUR)
    signal(world, CLEAN, DIRTY)
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_hold_up_to_the_latest_start_names_no_earlier_one() -> None:
    world = carbon_world()
    signal(world, DIRTY, DIRTY, CLEAN, DIRTY)
    world.leader("a", flexible(HoldPolicy.SUSPEND_RESUME, max_delay_s=2 * HOUR))
    held = world.filter("a-driver")
    assert held.outcome is Outcome.HELD_FOR_CARBON
    assert "no earlier start is forecast than its latest, 1970-01-01 02:16 UTC" in held.detail
    assert "expected" not in held.detail


def test_it_is_woken_when_its_hold_ends() -> None:
    world = carbon_world()
    signal(world, DIRTY, CLEAN, DIRTY)
    world.leader("a", flexible(max_delay_s=3 * HOUR))
    world.leader("b", flexible(max_delay_s=3 * HOUR))
    assert not world.filter("a-driver").node
    assert not world.filter("b-driver").node
    world.tick(HOUR / 2)
    assert not world.woken
    world.tick(HOUR / 2)
    signal(world, CLEAN, DIRTY)
    world.tick(1)
    assert sorted(world.woken) == ["a-driver", "b-driver"]
    world.tick(1)
    assert len(world.woken) == 2, "once is enough"


def test_a_held_gang_does_not_hold_up_the_gangs_behind_it() -> None:
    world = carbon_world()
    signal(world, DIRTY, CLEAN)
    world.leader("a", flexible(max_delay_s=2 * HOUR))
    world.leader("b", GangSpec(size(), 2, 2))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("runtime_s", [None, 60.0])
def test_without_delay_or_deadline_nothing_is_held(runtime_s: float | None) -> None:
    world = carbon_world()
    signal(world, DIRTY, CLEAN)
    world.leader(
        "a", GangSpec(size(), 1, 1, flexibility=Flexibility(HoldPolicy.THRESHOLD, runtime_s=runtime_s))
    )
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_defaults_of_namespace_and_cluster() -> None:
    cluster = Flexibility(HoldPolicy.THRESHOLD, max_delay_s=2 * HOUR)
    world = carbon_world(default=cluster, default_by_namespace={"urgent": Flexibility(HoldPolicy.NONE)})
    signal(world, DIRTY, CLEAN)
    world.leader("a", GangSpec(size(), 1, 1))
    world.leader("b", GangSpec(size(), 1, 1), namespace="urgent")
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("lost", ["missing", "stale", "absurd", "never", "no forecast"])
def test_an_unknown_signal_is_neutral(lost: str) -> None:
    world = carbon_world(stale_after_s=HOUR)
    world.leader("a", flexible(max_delay_s=9 * HOUR))
    if lost == "stale":
        signal(world, DIRTY, CLEAN, at_s=world.now - 2 * HOUR)
    elif lost == "missing":
        world.store.apply(CarbonSeen(Signal("DE", world.now, None, reason="source-down")), world.now)
    elif lost == "absurd":
        signal(world, 1e9, CLEAN)
    elif lost == "no forecast":
        world.store.apply(CarbonSeen(Signal("DE", world.now, DIRTY)), world.now)
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_signal_that_goes_stale_releases_what_it_held() -> None:
    world = carbon_world(stale_after_s=HOUR)
    signal(world, DIRTY, DIRTY, DIRTY, CLEAN)
    world.leader("a", flexible(max_delay_s=9 * HOUR))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    world.tick(HOUR + 1)
    assert world.woken == ["a-driver"]
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


values = st.lists(st.floats(0, 900, allow_nan=False), min_size=1, max_size=60)


@given(values, st.floats(0, 50 * HOUR), st.floats(1, 100))
def test_threshold_starts_in_time_and_in_a_clean_step(
    grams: list[float], wait: float, percentile: float
) -> None:
    outlook = Outlook(0.0, HOUR, tuple(grams), min(grams), max(grams))
    start = outlook.first_within(threshold.limit(outlook, wait, percentile))
    assert start is not None
    assert start == 0 or start < wait
    window = outlook.until(wait).values
    rank = sum(1 for value in window if value < window[min(len(window) - 1, int(start // HOUR))])
    assert rank < max(1, int(percentile / 100 * len(window)))


@given(values, st.floats(0, 50 * HOUR), st.floats(1, 10 * HOUR))
def test_suspend_resume_starts_in_time(grams: list[float], wait: float, runtime: float) -> None:
    outlook = Outlook(0.0, HOUR, tuple(grams), min(grams), max(grams))
    steps = suspend_resume.chosen_steps(outlook, wait + runtime, runtime)
    assert outlook.first_within(suspend_resume.limit(outlook, wait + runtime, runtime)) == steps[0] * HOUR
    worst = max(grams[step] for step in steps)
    left = [value for index, value in enumerate(outlook.until(wait + runtime).values) if index not in steps]
    assert all(value >= worst for value in left)


@given(
    st.lists(st.floats(0, 900, allow_nan=False), min_size=30, max_size=60),
    st.sampled_from(list(HoldPolicy)),
    st.one_of(st.none(), st.floats(0, 20 * HOUR)),
    st.one_of(st.none(), st.floats(0, 20 * HOUR)),
    st.floats(0, 5 * HOUR),
    st.sets(st.integers(0, 30)),
)
def test_no_gang_waits_past_its_latest_start_because_of_carbon(
    grams: list[float],
    policy: HoldPolicy,
    deadline: float | None,
    delay: float | None,
    runtime: float,
    outages: set[int],
) -> None:
    """Invariant 7, whatever the grid and its source do (design, section 3)."""
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=1, max_executors=4))
    began = world.now
    allowed = Flexibility(policy, None if deadline is None else began + deadline, delay, runtime)
    world.leader("busy", GangSpec(size(), 3, 3))
    assert world.schedule("busy-driver").node
    world.leader("a", GangSpec(size(), 2, 2, flexibility=allowed))
    latest = allowed.latest_start_s(began)
    for hour in range(30):
        if hour not in outages:
            signal(world, *grams[hour:])
        decision = world.filter("a-driver")
        if decision.node:
            return
        assert decision.outcome is Outcome.HELD_FOR_CARBON
        assert world.now < latest
        world.tick(min(HOUR, max(1.0, latest - world.now)))
    raise AssertionError("it never started")


def test_a_gate_is_taken_off_when_the_hold_ends() -> None:
    world = carbon_world()
    signal(world, DIRTY, CLEAN, DIRTY)
    world.leader("a", flexible(max_delay_s=3 * HOUR), gated=True, hold_gate=True)
    opened: list[str] = []

    def tick(seconds: float) -> None:
        world.now += seconds
        for each in world.store.apply(Tick(), world.now):
            assert isinstance(each, RemoveGate)
            opened.append(each.name)

    tick(1)
    assert not opened
    tick(HOUR)
    signal(world, CLEAN, DIRTY)
    tick(1)
    tick(1)
    assert opened == ["a-driver"]


def test_a_gate_somebody_else_also_closed_is_left_alone() -> None:
    world = carbon_world()
    world.leader("a", flexible(max_delay_s=3 * HOUR), gated=True)
    world.tick(10)
    assert not world.writes


def held_gang(world: World, workers: int = 2) -> PodFacts:
    return world.leader("a", flexible(HoldPolicy.CAP, workers, max_delay_s=5 * HOUR))


def test_a_gang_waits_for_the_carbon_budget() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN)
    assert budget(world.store) == 2
    world.leader("busy", GangSpec(size(), 1, 1))
    world.run("busy", 1)
    held_gang(world)
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    world.tick(HOUR)
    signal(world, CLEAN, DIRTY)
    world.tick(1)
    assert budget(world.store) == 10
    assert world.woken == ["a-driver"]
    assert world.filter("a-driver").node


def test_the_first_gang_starts_however_small_the_budget_is() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=1, max_executors=10))
    signal(world, DIRTY, CLEAN)
    held_gang(world, workers=4)
    assert world.filter("a-driver").node


def test_workers_above_the_minimum_wait_for_the_budget_and_are_woken() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN)
    world.leader("a", GangSpec(size(), 2, 4))
    world.run("a", 2)
    for number in (3, 4):
        world.worker("a", number)
        assert world.filter(f"a-exec-{number}").outcome is Outcome.OVER_CARBON_BUDGET
    world.tick(HOUR)
    signal(world, CLEAN, DIRTY)
    world.tick(1)
    assert sorted(world.woken) == ["a-exec-3", "a-exec-4"]
    assert world.schedule("a-exec-3").outcome is Outcome.EXTRA_ADMITTED


def test_small_changes_of_the_budget_are_not_made() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=10, max_executors=110, hysteresis=0.05))
    signal(world, 150, CLEAN, DIRTY)
    before = budget(world.store)
    assert before is not None
    signal(world, 152, CLEAN, DIRTY)
    assert budget(world.store) == before
    signal(world, 200, CLEAN, DIRTY)
    after = budget(world.store)
    assert after is not None
    assert after < before - 5


def test_without_a_signal_there_is_no_budget() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10))
    assert budget(world.store) is None
    signal(world, DIRTY, CLEAN)
    assert budget(world.store) is not None
    world.add(node("n3", 8, labels={"carbon-scheduler/carbon-zone": "unheard-of"}))
    world.tick()
    assert budget(world.store) is None
    assert GangKey("ns", "a") not in world.store.state.gangs


def test_a_deadline_without_an_estimate_holds_nothing() -> None:
    """Any wait might make it late."""
    world = carbon_world()
    signal(world, DIRTY, CLEAN)
    world.leader("a", flexible(deadline_s=world.now + 9 * HOUR))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_the_budget_counts_gangs_planned_together() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=3, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN)
    world.leader("busy", GangSpec(size(), 1, 1))
    world.run("busy", 1)
    for app in ("a", "b"):
        world.leader(app, flexible(HoldPolicy.CAP, max_delay_s=5 * HOUR))
    outcomes = [world.filter("b-driver").outcome, world.filter("a-driver").outcome]
    assert sorted(outcomes) == [Outcome.ADMITTED, Outcome.HELD_FOR_CARBON]


def test_a_budget_that_grows_with_the_hour_releases_without_a_new_signal() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN, DIRTY)
    world.leader("busy", GangSpec(size(), 1, 1))
    world.run("busy", 1)
    held_gang(world)
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    world.tick(HOUR + 1)
    assert world.woken == ["a-driver"]


def test_workers_past_the_latest_start_are_woken_whatever_the_budget_is() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, *[DIRTY] * 9, CLEAN)
    allowed = Flexibility(HoldPolicy.CAP, world.now + 3 * HOUR, None, HOUR)
    world.leader("a", GangSpec(size(), 2, 4, flexibility=allowed))
    world.run("a", 2)
    world.worker("a", 3)
    assert world.filter("a-exec-3").outcome is Outcome.OVER_CARBON_BUDGET
    for _ in range(60):
        world.tick(1)
    assert world.woken == [], "refused pods do not spin"
    world.tick(2 * HOUR)
    assert world.woken == ["a-exec-3"]
    assert world.filter("a-exec-3").outcome is Outcome.EXTRA_ADMITTED


@pytest.mark.parametrize("by", ["restart", "standby"])
def test_whoever_comes_after_wakes_what_others_refused(by: str) -> None:
    """On an idle cluster kube-scheduler does not ask again by itself."""
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, DIRTY, CLEAN, DIRTY)
    world.leader("runs", GangSpec(size(), 2, 4))
    world.run("runs", 2)
    world.worker("runs", 3)
    assert world.filter("runs-exec-3").outcome is Outcome.OVER_CARBON_BUDGET
    world.leader("a", flexible(max_delay_s=4 * HOUR))
    assert world.filter("a-driver").outcome is Outcome.HELD_FOR_CARBON
    if by == "restart":
        world.restart()
    else:
        world.start_standby()
        world.fail_over()
    signal(world, DIRTY, DIRTY, CLEAN, DIRTY)
    for _ in range(30):
        world.tick(60)
    assert not world.woken
    world.tick(2 * HOUR)
    assert set(world.woken) == {"a-driver", "runs-exec-3"}


def test_a_wake_that_was_lost_is_repeated_until_somebody_asks() -> None:
    world = carbon_world(cap=CapPolicy(enabled=True, min_executors=2, max_executors=10, hysteresis=0))
    signal(world, DIRTY, CLEAN, CLEAN)
    world.leader("runs", GangSpec(size(), 2, 3))
    world.run("runs", 2)
    world.worker("runs", 3)
    world.leader("a", flexible(max_delay_s=3 * HOUR))
    for name in ("runs-exec-3", "a-driver"):
        assert not world.filter(name).node
    world.tick(HOUR)
    for _ in range(20):
        world.tick(1)
    assert sorted(world.woken) == ["a-driver", "a-driver", "runs-exec-3", "runs-exec-3"]
    for name in ("runs-exec-3", "a-driver"):
        assert world.schedule(name).node
    for _ in range(60):
        world.tick(1)
    assert len(world.woken) == 4


def test_suspend_resume_lets_a_running_gang_grow_in_the_chosen_hours_only() -> None:
    world = carbon_world()
    signal(world, DIRTY, CLEAN, DIRTY, DIRTY)
    world.leader("a", flexible(HoldPolicy.SUSPEND_RESUME, max_delay_s=3 * HOUR, runtime_s=HOUR))
    world.tick(HOUR)
    signal(world, CLEAN, DIRTY, DIRTY)
    world.run("a", 2)
    world.tick(HOUR)
    signal(world, DIRTY, CLEAN, DIRTY)
    world.worker("a", 3)
    assert world.filter("a-exec-3").outcome is Outcome.OVER_CARBON_BUDGET
    world.tick(HOUR)
    assert world.filter("a-exec-3").node, "past its latest start"


def test_a_value_from_the_future_does_not_outlive_the_next_one() -> None:
    world = carbon_world()
    world.tell(CarbonSeen(Signal("DE", world.now + 9 * HOUR, CLEAN)))
    world.tick(1)
    world.tell(CarbonSeen(Signal("DE", world.now, DIRTY)))
    assert world.store.state.carbon.value("DE", world.now) == DIRTY
