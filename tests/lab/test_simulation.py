"""The simulation in virtual time: cases to be worked out by hand, and what must hold in every run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.carbon.start.flexibility import HoldPolicy
from extender.core.invariants import violations
from extender.core.nodes.resources import one_pod
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.lab.simulation.applications import Delays
from extender.lab.simulation.clock import VirtualClock
from extender.lab.simulation.grid import Grid
from extender.lab.simulation.results import totals
from extender.lab.simulation.run import Simulation, node, simulate
from extender.lab.simulation.workload import DailyWave, Submission
from tests.lab.scenarios import HOUR, START, busy, grid, scenario

HOLDS = [each.value for each in HoldPolicy if each is not HoldPolicy.NONE]


# -- by hand ---------------------------------------------------------------------------------------


def test_a_gang_alone() -> None:
    submission = Submission(START, "a", executors=2, run_s=HOUR)
    delays = Delays(driver_start_s=30.0, executor_start_s=10.0)
    (gang,) = simulate(scenario(submission, delays=delays)).gangs
    assert (gang.started_s, gang.ended_s) == (START, START + 30 + 10 + HOUR)
    core_s = (30 + 10 + HOUR) + 2 * (10 + HOUR)
    assert gang.core_s == core_s
    assert gang.kwh == pytest.approx(core_s * 10 / 3.6e6)
    assert gang.grams == pytest.approx(gang.kwh * 360)
    assert (gang.held_s, gang.waited_s, gang.late, gang.flexible) == (0, 0, False, False)


def test_the_intensity_counts_for_as_long_as_it_lasted() -> None:
    submission = Submission(START + 1800, "a", executors=1, run_s=HOUR)
    (gang,) = simulate(scenario(submission, on=grid(100.0, 300.0))).gangs
    assert gang.grams == pytest.approx(gang.kwh * 200)


def test_who_comes_second_waits_for_room() -> None:
    first = Submission(START, "a", executors=9, run_s=HOUR)
    second = Submission(START + 60, "b", executors=9, run_s=HOUR)
    runs = simulate(scenario(first, second)).gangs
    assert [each.started_s for each in runs] == [START, START + HOUR]
    assert [each.held_s for each in runs] == [0, 0]


def test_a_held_gang_starts_when_it_is_clean() -> None:
    submission = Submission(
        START + 60, "a", executors=2, run_s=HOUR, estimate_s=HOUR, max_delay_s=6 * HOUR, policy="threshold"
    )
    (gang,) = simulate(scenario(submission, on=grid(400.0, 400.0, 400.0, 100.0, 100.0, 400.0))).gangs
    assert gang.started_s == START + 3 * HOUR
    assert gang.held_s == 3 * HOUR - 60
    assert gang.grams == pytest.approx(gang.kwh * 100)


def test_a_held_gang_starts_at_its_latest_start_if_it_never_gets_clean() -> None:
    submission = Submission(
        START + 60, "a", executors=2, run_s=HOUR, max_delay_s=2.5 * HOUR, policy="suspend-resume"
    )
    # Each hour promises that the next ones are cleaner, and none is.
    promises = np.array([[400.0, *[10.0] * 23]] * 48)
    on = Grid("z", START, HOUR, np.full(48, 400.0), promises)
    (gang,) = simulate(scenario(submission, on=on)).gangs
    assert gang.started_s == START + 60 + 2.5 * HOUR
    assert not gang.late


def test_a_gated_driver_is_not_tried_before_it_may_start() -> None:
    submission = Submission(
        START + 60, "a", executors=2, run_s=HOUR, max_delay_s=6 * HOUR, policy="threshold", gated=True
    )
    run = simulate(scenario(submission, on=grid(400.0, 400.0, 100.0, 100.0, 400.0)))
    assert run.gangs[0].started_s == START + 2 * HOUR
    assert run.gangs[0].held_s == 2 * HOUR - 60
    assert run.answers == {"admitted": 1, "slot-taken": 2}


def test_more_executors_do_the_same_work_sooner() -> None:
    submission = Submission(START, "a", executors=1, most_executors=4, run_s=4 * HOUR)
    (gang,) = simulate(scenario(submission)).gangs
    assert gang.ended_s == START + HOUR
    assert gang.core_s == 5 * HOUR


def test_executors_above_the_minimum_join_when_there_is_room() -> None:
    blocker = Submission(START, "a", executors=12, run_s=HOUR)  # 13 of 16 cores for an hour
    elastic = Submission(START, "b", executors=1, most_executors=4, run_s=4 * HOUR)
    gang = simulate(scenario(blocker, elastic)).gangs[1]
    # Driver and two executors at first; four executors from the second hour on: two hours of work are left.
    assert gang.ended_s == START + 1.5 * HOUR


def test_a_lost_executor_is_replaced_and_the_work_takes_longer() -> None:
    submission = Submission(START, "a", executors=2, run_s=HOUR)
    simulation = Simulation(scenario(submission, delays=Delays(0.0, 600.0)), Policy())
    simulation.clock.call_at(START + 1200, simulation.cluster.delete, "spark/a/exec-0001")
    (gang,) = simulation.run().gangs
    # Ten minutes until both run; half the speed for the ten minutes in which the new one starts.
    assert gang.ended_s == START + 600 + HOUR + 300
    assert not gang.failed


def test_a_lost_driver_ends_its_application() -> None:
    simulation = Simulation(scenario(Submission(START, "a", executors=2, run_s=HOUR)), Policy())
    simulation.clock.call_at(START + 1200, simulation.cluster.delete, "spark/a/driver")
    (gang,) = simulation.run().gangs
    assert gang.failed
    assert gang.ended_s == START + 1200
    assert simulation.cluster.pods == {}


def test_a_new_node_is_noticed_by_who_waits() -> None:
    simulation = Simulation(scenario(Submission(START, "a", executors=20, run_s=HOUR)), Policy())
    simulation.clock.call_at(START + 600, simulation.cluster.add_node, node("n9", zone="z"))
    (gang,) = simulation.run().gangs
    assert START + 600 <= gang.started_s <= START + 602  # kube-scheduler's backoff


def test_what_can_never_start_is_unfinished() -> None:
    run = simulate(scenario(Submission(START, "a", executors=40, run_s=HOUR)))
    assert (run.gangs, run.unfinished) == ([], ["spark/a"])


def test_unknown_carbon_holds_nothing_and_is_never_a_number() -> None:
    submission = Submission(START, "a", executors=2, run_s=HOUR, max_delay_s=6 * HOUR, policy="threshold")
    (gang,) = simulate(scenario(submission, on=grid(np.nan))).gangs
    assert gang.started_s == START
    assert np.isnan(gang.grams)


def test_a_trace_that_ends_too_early_is_said() -> None:
    on = Grid("z", START, HOUR, np.full(2, 100.0))
    with pytest.raises(ValueError, match="the trace covers"):
        simulate(scenario(Submission(START, "a", executors=2, run_s=3 * HOUR), on=on))


# -- in every run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", HOLDS)
def test_core_hours_do_not_depend_on_the_policy(policy: str) -> None:
    carbon = CarbonPolicy(cap=CapPolicy(enabled=policy == "cap", executor_cpu_milli=1000))
    blind = simulate(busy(60, 1, ""))
    held = simulate(busy(60, 1, policy), Policy(carbon=carbon))
    assert not held.unfinished
    assert [each.core_s for each in held.gangs] == pytest.approx([each.core_s for each in blind.gangs])
    assert totals(held.gangs).core_h == pytest.approx(totals(blind.gangs).core_h)


@pytest.mark.parametrize("policy", [each for each in HOLDS if each != "cap"])
def test_on_a_flat_grid_nothing_differs(policy: str) -> None:
    def starts(of: str) -> Sequence[float]:
        made = busy(60, 1, of)
        return [each.started_s for each in simulate(replace(made, grids=[grid(300.0)])).gangs]

    assert starts(policy) == starts("")


def test_holding_saves_on_an_idle_cluster() -> None:
    blind, held = (totals(simulate(busy(20, 1, policy)).gangs) for policy in ("", "suspend-resume"))
    assert held.g_per_kwh < 0.9 * blind.g_per_kwh


_TWICE = """
import sys
from tests.lab.scenarios import busy
from extender.lab.simulation.run import simulate
sys.stdout.write(simulate(busy(60, 7, "threshold", gated=True)).to_json())
"""


def test_the_same_seed_gives_the_same_run_byte_for_byte() -> None:
    root = Path(__file__).parents[2]

    def once(hash_seed: str) -> bytes:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", _TWICE], cwd=root, env=environment, check=True, capture_output=True
        ).stdout

    first = once("1")
    assert first == once("2")
    assert len(json.loads(first)["gangs"]) > 30


def test_arrivals_follow_the_wave() -> None:
    wave = DailyWave(100, swing=0.6, peak_h=14, utc_offset_h=2)
    times = wave.times(0.0, 100 * 86_400.0, random.Random(1))
    assert 9_700 < len(times) < 10_300
    hours = np.histogram([(time_s / 3600 + 2) % 24 for time_s in times], bins=24, range=(0, 24))[0]
    assert 1.45 < hours[13:15].mean() / hours.mean() < 1.7
    assert 0.3 < hours[1:3].mean() / hours.mean() < 0.55


@settings(max_examples=10, deadline=None)
@given(
    gangs=st.integers(5, 70),
    seed=st.integers(0, 1000),
    policy=st.sampled_from(["", *HOLDS]),
    gated=st.booleans(),
)
def test_no_invariant_breaks_and_no_node_is_overcommitted(
    gangs: int, seed: int, policy: str, gated: bool
) -> None:
    simulation = Simulation(busy(gangs, seed, policy, gated=gated), Policy())
    problems: list[str] = []

    def look() -> None:
        problems.extend(violations(simulation.engine.store.state))
        for name, facts in simulation.cluster.nodes.items():
            pods = [pod for pod in simulation.cluster.pods.values() if pod.node == name and pod.occupies]
            for resource, amount in facts.allocatable.items():
                if sum(one_pod(pod.requests).get(resource, 0) for pod in pods) > amount:
                    problems.append(f"{name}: more {resource} than it has")

    every(simulation.clock, 1800.0, look)
    run = simulation.run()
    assert problems == []
    assert not run.unfinished
    # A gang starts as a whole: all its minimum executors get their node at once.
    assert run.answers.get("no-room", 0) + run.answers["slot-taken"] >= sum(1 for _ in run.gangs)


def every(clock: VirtualClock, period_s: float, action: Callable[[], object]) -> None:
    """Do something again and again, for four days."""
    for number in range(int(4 * 86_400 / period_s)):
        clock.call_at(START + number * period_s, action)


# -- the clock -------------------------------------------------------------------------------------


def test_events_happen_in_order_and_at_their_time() -> None:
    clock = VirtualClock(10.0)
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.time()))

    clock.call_at(12.0, note, "late")
    clock.call_at(11.0, note, "first")
    clock.call_at(11.0, note, "second")
    clock.call_at(3.0, note, "past")
    clock.call_at(11.5, note, "cancelled").cancel()
    clock.call_at(11.0, lambda: clock.call_later(0.25, note, "planned meanwhile"))
    clock.run(11.9)
    assert seen == [("past", 10.0), ("first", 11.0), ("second", 11.0), ("planned meanwhile", 11.25)]
    assert clock.time() == 11.9
    clock.run()
    assert seen[-1] == ("late", 12.0)


def test_a_gated_driver_that_may_start_waits_for_a_second() -> None:
    submission = Submission(START + 10, "a", executors=2, run_s=HOUR, gated=True)
    (gang,) = simulate(scenario(submission)).gangs
    assert gang.started_s == START + 11
