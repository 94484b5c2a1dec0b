"""The plan of the whole cluster: room, latest starts, and nobody waiting because others wait by choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.carbon.plan.horizon import SLOT_S, Horizon, horizon_of
from extender.core.carbon.plan.runtimes import Runtimes, base_name
from extender.core.carbon.plan.schedule import EARLIER, Options, Plan, Running, Waiting, make
from extender.core.carbon.signal import Outlook

NOW_S = 40 * 86_400.0
CORES = 8.0
HERE = (((0,), 0),)
NEVER_FULL = Options(full=math.inf, notice_s=SLOT_S, margin_s=0.0, spare_s=0.0)


def grid(values: Sequence[float], now: float = NOW_S) -> Horizon:
    outlook = Outlook(NOW_S, 3600.0, tuple(values), min(values), max(values))
    return horizon_of([outlook], now)


def job(
    number: int, cores: float, hours: float, *, latest_h: float | None = None, held: bool = False
) -> Waiting:
    latest_s = None if latest_h is None else NOW_S + 3600 * latest_h
    return Waiting(number, (0.0, float(number)), hours * 3600, np.array([cores]), HERE, latest_s, held)


def runs(cores: float, hours: float) -> Running:
    return Running(np.array([[cores]]), NOW_S + 3600 * hours)


def planned(
    on: Horizon, running: Sequence[Running], waiting: Sequence[Waiting], options: Options = NEVER_FULL
) -> Plan:
    return make(on, np.array([[CORES]]), running, waiting, options)


values = st.lists(st.sampled_from([100.0, 150.0, 220.0, 300.0, 470.0]), min_size=2, max_size=8)
running_sets = st.lists(st.builds(runs, st.integers(1, 3).map(float), st.floats(0.1, 5.0)), max_size=2)


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    number = draw(st.integers(1, 6))
    return [
        job(
            each,
            float(draw(st.integers(1, 8))),
            draw(st.floats(0.2, 4.0)),
            latest_h=draw(st.none() | st.floats(0.5, 7.0)),
        )
        for each in range(number)
    ]


# -- the same, slot by slot --------------------------------------------------------------------------


def by_hand(on: Horizon, running: Sequence[Running], waiting: Sequence[Waiting]) -> dict[object, float]:
    """Planned starts by the rules as they are written, with loops, for one place and one resource."""
    free = [CORES] * on.slots
    for each in running:
        for slot in range(on.slots_until(each.until_s)):
            free[slot] -= float(each.used[0, 0])
    starts: dict[object, float] = {}

    def span(each: Waiting, slot: int) -> range:
        from_s = float(on.start_times[slot])
        end = math.ceil((from_s + each.runtime_s - on.first_s) / SLOT_S - 1e-9)
        return range(slot, min(on.slots, end))

    def fits(room: list[float], each: Waiting, slot: int) -> bool:
        return all(room[one] >= each.need[0] - 1e-9 for one in span(each, slot))

    def take(room: list[float], each: Waiting, slot: int) -> None:
        for one in span(each, slot):
            room[one] -= float(each.need[0])

    def mean(each: Waiting, slot: int) -> float:
        from_s = float(on.start_times[slot])
        to_s = min(from_s + each.runtime_s, on.first_s + on.slots * SLOT_S)
        parts = 0.0
        for one in range(slot, on.slots):
            begin = max(from_s, on.first_s + one * SLOT_S)
            parts += max(0.0, min(to_s, on.first_s + (one + 1) * SLOT_S) - begin) * float(on.prices[0, one])
        return parts / (to_s - from_s)

    flexible = sorted(
        (each for each in waiting if each.latest_s is not None), key=lambda each: (each.latest_s, each.rank)
    )

    def last(each: Waiting) -> int:
        assert each.latest_s is not None
        return min(on.starts - 1, on.slot_of(each.latest_s))

    due = {each.key for each in flexible if each.latest_s is not None and each.latest_s - SLOT_S <= on.now_s}
    taken = list(free)
    for again in (False, True):
        free[:], starts, least = taken, {}, 0
        prompt = [each for each in waiting if each.latest_s is None or each.key in due]
        for each in sorted(prompt, key=lambda each: each.rank):
            first = next((slot for slot in range(least, on.slots) if fits(free, each, slot)), None)
            starts[each.key] = math.inf if first is None else float(on.start_times[first])
            if first is not None:
                take(free, each, first)
                least = first
        others = [each for each in flexible if each.key not in due]
        kept, promised = list(free), dict[object, int]()
        for each in others:
            able_slots = [slot for slot in range(last(each) + 1) if fits(kept, each, slot)]
            if able_slots:
                promised[each.key] = able_slots[-1]
                take(kept, each, able_slots[-1])
        lacking = {each.key for each in others if each.key not in promised}
        if not lacking or again:
            break
        due |= lacking

    def choose(room: list[float], beside_promises: bool) -> bool:
        for each in others:
            if beside_promises and each.key in promised:
                for one in span(each, promised[each.key]):
                    room[one] += float(each.need[0])
            able = {slot: mean(each, slot) for slot in range(last(each) + 1) if fits(room, each, slot)}
            if able:
                limit = min(able.values()) * (1 + EARLIER)
                chosen: int | None = min(slot for slot, cost in able.items() if cost <= limit * (1 + 1e-12))
            elif not beside_promises:
                return False
            else:
                chosen = next((slot for slot in range(on.slots) if fits(room, each, slot)), None)
            starts[each.key] = math.inf if chosen is None else float(on.start_times[chosen])
            if chosen is not None:
                take(room, each, chosen)
        return True

    if not choose(list(free), beside_promises=False):
        choose(kept, beside_promises=True)
    return starts


@given(values, running_sets, queues(), st.sampled_from([0.0, 400.0]))
@settings(max_examples=120, deadline=None)
def test_the_plan_is_the_one_made_slot_by_slot(
    on: list[float], running: list[Running], waiting: list[Waiting], later_s: float
) -> None:
    horizon = grid(on, NOW_S + later_s)
    plan = planned(horizon, running, waiting)
    assert {key: start.at_s for key, start in plan.starts.items()} == by_hand(horizon, running, waiting)


# -- what must hold ----------------------------------------------------------------------------------


@given(values, running_sets, queues())
@settings(max_examples=120, deadline=None)
def test_nothing_is_planned_over_the_capacity(
    on: list[float], running: list[Running], waiting: list[Waiting]
) -> None:
    assert (planned(grid(on), running, waiting).room.free >= -1e-9).all()


@given(values, running_sets, queues())
@settings(max_examples=120, deadline=None)
def test_a_start_is_after_the_latest_one_only_where_no_room_is_before_it(
    on: list[float], running: list[Running], waiting: list[Waiting]
) -> None:
    plan = planned(grid(on), running, waiting)
    for each in waiting:
        start = plan.starts[each.key]
        if each.latest_s is not None and start.by_choice:
            assert start.at_s <= each.latest_s
            assert not start.late


@given(values, running_sets, queues())
@settings(max_examples=120, deadline=None)
def test_nobody_waits_behind_those_that_wait_by_choice(
    on: list[float], running: list[Running], waiting: list[Waiting]
) -> None:
    """Where no latest start is due, the others start as if those that may wait did not exist."""
    horizon = grid(on)
    plan = planned(horizon, running, waiting)
    if not any(start.due for start in plan.starts.values()):
        prompt = [each for each in waiting if each.latest_s is None]
        alone = planned(horizon, running, prompt)
        assert {each.key: plan.starts[each.key] for each in prompt} == alone.starts


@given(values, running_sets, queues())
@settings(max_examples=120, deadline=None)
def test_who_starts_before_it_is_planned_makes_nobody_late(
    on: list[float], running: list[Running], waiting: list[Waiting]
) -> None:
    """Those with leave to start at once do so: all others whose latest start was promised still have room."""
    horizon = grid(on)
    plan = planned(horizon, running, waiting)
    early = [each for each in waiting if plan.starts[each.key].at_once]
    began = [Running(each.need[None, :], NOW_S + each.runtime_s) for each in early]
    left = [each for each in waiting if each not in early]
    after = planned(horizon, [*running, *began], left)
    for each in left:
        if each.key in plan.kept:
            assert each.latest_s is not None
            assert after.starts[each.key].at_s <= each.latest_s


@given(st.floats(0.0, 900.0), running_sets, queues())
@settings(max_examples=80, deadline=None)
def test_on_a_flat_grid_nobody_waits_by_choice(
    g_per_kwh: float, running: list[Running], waiting: list[Waiting]
) -> None:
    plan = planned(grid([g_per_kwh] * 8), running, waiting)
    assert not any(start.by_choice for start in plan.starts.values())


# -- by example --------------------------------------------------------------------------------------


def test_the_clean_hour_is_shared_out_as_far_as_its_room_goes() -> None:
    on = grid([400.0, 100.0, 150.0, 400.0])
    plan = planned(on, [], [job(number, 4.0, 1.0, latest_h=3.0) for number in range(4)])
    starts = [(plan.starts[number].at_s - NOW_S) / 3600 for number in range(4)]
    assert starts == [1.0, 1.0, 2.0, 2.0]


def test_a_planned_start_stays_until_another_one_is_worth_it() -> None:
    waits = replace(job(0, 4.0, 1.0, latest_h=3.0), planned_s=NOW_S + 2 * 3600)
    kept = planned(grid([400.0, 100.0, 100.6, 400.0]), [], [waits]).starts[0]
    moved = planned(grid([400.0, 100.0, 120.0, 400.0]), [], [waits]).starts[0]
    assert (kept.at_s, moved.at_s) == (NOW_S + 2 * 3600, NOW_S + 3600)


@pytest.mark.parametrize(("latest_h", "due"), [(2.0, False), (1.5, True)])
def test_a_latest_start_without_room_ahead_is_due(latest_h: float, due: bool) -> None:
    """Eight cores run for two hours: who must start before that goes to the head of the queue now."""
    waits = job(0, 4.0, 1.0, latest_h=latest_h)
    start = planned(grid([400.0, 300.0, 200.0, 100.0]), [runs(8.0, 2.0)], [waits]).starts[0]
    assert (start.at_s, start.due, start.late) == (NOW_S + 2 * 3600, due, due)


def test_what_joins_is_planned_beside_the_others() -> None:
    plan = planned(grid([400.0, 100.0, 150.0, 400.0]), [], [job(0, 8.0, 1.0, latest_h=3.0)])
    assert plan.join(job(1, 8.0, 1.0, latest_h=3.0)).at_s == NOW_S + 2 * 3600
    assert plan.starts[0].at_s == NOW_S + 3600


def test_a_cluster_with_too_much_waiting_holds_nothing() -> None:
    waiting = [job(number, 8.0, 1.0, latest_h=4.0) for number in range(4)]
    assert planned(grid([400.0, 100.0, 150.0, 400.0, 300.0]), [], waiting, Options()).overloaded
    assert not planned(grid([400.0, 100.0, 150.0, 400.0, 300.0]), [], waiting[:1], Options()).overloaded


def test_far_hours_must_promise_more_where_they_are_uncertain() -> None:
    outlook = Outlook(NOW_S, 3600.0, (210.0, 200.0, 200.0), 200.0, 210.0, (0.0, 20.0, 40.0))
    certain = horizon_of([outlook], NOW_S)
    careful = horizon_of([outlook], NOW_S, risk=1.0)
    waits = job(0, 4.0, 1.0, latest_h=2.0)
    assert planned(certain, [], [waits]).starts[0].at_s == NOW_S + 3600
    start = planned(careful, [], [waits]).starts[0]
    assert (start.at_s, start.mean, start.mean_now) == (NOW_S, 210.0, 210.0), "expected, without the risk"


def test_a_zone_without_a_forecast_is_neither_clean_nor_dirty() -> None:
    outlook = Outlook(NOW_S, 3600.0, (400.0, 100.0), 100.0, 400.0)
    horizon = horizon_of([outlook, None], NOW_S)
    assert np.array_equal(horizon.prices[1], horizon.prices[0])


def test_run_times_are_stated_or_learned_or_of_the_same_size_or_assumed() -> None:
    runtimes = Runtimes()
    assert "assumed" in runtimes.estimate("n", "etl-1-driver", 3, None).text
    for minutes in (10, 20, 30):
        runtimes.learn("n", f"etl-{minutes}-driver", 3, minutes * 60.0)
    learned = runtimes.estimate("n", "etl-99-driver", 3, None)
    assert (learned.seconds, "3 earlier runs" in learned.text) == (1200.0, True)
    assert "its size" in runtimes.estimate("n", "other-driver", 2, None).text
    assert runtimes.estimate("n", "etl-1-driver", 3, 5.0).seconds == 5.0


@pytest.mark.parametrize(
    ("leader", "base"),
    [
        ("etl-driver", "etl"),
        ("etl-8e1f2a3b4c5d6e7f-driver", "etl"),
        ("etl-20260301-driver", "etl"),
        ("q2", "q2"),
        ("42", "42"),
    ],
)
def test_runs_of_one_application_have_one_name(leader: str, base: str) -> None:
    assert base_name(leader) == base
