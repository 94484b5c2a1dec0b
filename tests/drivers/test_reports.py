"""Reports: nothing a driver sends can break the route, and what is remembered of drivers is bounded."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.api.ports import BadReport
from extender.adapters.spark.agent.wire import Reply
from extender.core import queries
from extender.core.events import StagesReported, SwitchesSeen
from extender.core.facts import GangKey
from extender.core.invariants import violations
from extender.core.policy import Switches
from extender.core.stages.graph import StageGraph
from tests.drivers.reporting import ALL, KEY, NOW, Counted, reports, running, take
from tests.drivers.support import DIAMOND, batch, job, progress, stage


@given(st.binary(max_size=200))
def test_no_body_breaks_the_route(body: bytes) -> None:
    store = running()
    with pytest.raises(BadReport, match="not a batch"):
        take(reports(store), body)
    assert KEY not in store.state.stages


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.integers(-3, 8) | st.integers(-(2**63), 2**64)
STAGE = st.fixed_dictionaries(
    {"stage_id": NUMBERS, "attempt": NUMBERS, "name": st.text(max_size=4), "tasks": NUMBERS},
    optional={
        "parent_ids": st.lists(NUMBERS, max_size=4),
        "rdd_ids": st.lists(NUMBERS, max_size=4),
        "submitted_ms": st.none() | NUMBERS,
        "failure": st.text(max_size=3),
    },
)
EVENT = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("JobStart"),
            "job_id": NUMBERS,
            "time_ms": NUMBERS,
            "stages": st.lists(STAGE, max_size=5),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("JobEnd"), "job_id": NUMBERS, "time_ms": NUMBERS, "succeeded": st.booleans()}
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["StageSubmitted", "StageCompleted"]), "stage": STAGE}),
    st.fixed_dictionaries(
        {
            "type": st.just("TaskProgress"),
            "stage_id": NUMBERS,
            "attempt": NUMBERS,
            "succeeded": NUMBERS,
            "failed": NUMBERS,
            "duration_ms": NUMBERS,
        }
    ),
    st.fixed_dictionaries({"type": st.just("ApplicationEnd"), "time_ms": NUMBERS}),
    JSON,
)
BATCH = st.fixed_dictionaries(
    {"agent": NUMBERS, "driver": st.sampled_from(["p1", "p2"]), "batch": NUMBERS},
    optional={"dropped": NUMBERS, "events": st.lists(EVENT, max_size=6), "more": JSON},
)


@settings(max_examples=200)
@given(st.lists(BATCH, max_size=6))
def test_whatever_a_driver_reports_the_answer_is_one_the_agent_takes(told: list[Any]) -> None:
    store = running()
    taker = reports(store)
    for each in told:
        body = json.dumps(each).encode()
        try:
            reply = take(taker, body)
        except BadReport:
            continue
        assert 0.2 <= reply.interval_s <= 300
        assert all(abs(value) < 1 << 31 for value in reply.priorities.values())
        assert reply.target_executors is None or 0 < reply.target_executors < 1 << 31
        assert not reply.off
    for importance in store.state.stages.priorities(KEY).by_stage.values():
        assert 0 <= importance <= 1
    assert violations(store.state) == []


def test_a_long_report_gives_way_to_others() -> None:
    """Portion after portion: between them whoever else waits for the event loop has a turn."""
    store = running()
    stages = 400
    update = [job(number, *(stage(number * stages + n) for n in range(stages))) for number in range(4)]

    async def main() -> list[int]:
        taking = asyncio.create_task(reports(store).take(KEY, batch(1, *update)))
        seen = [0]
        while not taking.done():
            await asyncio.sleep(0)
            known = len(store.state.stages.stages(KEY))
            if known != seen[-1]:
                seen.append(known)
        await taking
        return seen

    assert asyncio.run(main()) == [0, 400, 800, 1200, 1600]


def test_processes_of_one_application_are_told_apart_up_to_a_few() -> None:
    store, seen = running(), Counted()
    taker = reports(store, observe=seen)
    for process in range(100):
        take(taker, batch(1, process=f"p{process}"))
    take(taker, batch(1, process="p99"))
    assert seen.batches == ["taken"] * 100 + ["repeated"]


def test_a_second_context_of_a_driver_is_another_graph() -> None:
    """Spark numbers its jobs, stages and RDDs from 0 again."""
    store = running()
    taker = reports(store)
    take(taker, batch(1, job(0, stage(0, tasks=4)), progress(0, 4, 400), process="first"))
    take(taker, batch(1, job(0, stage(0, tasks=40)), process="second"))
    take(taker, batch(2, progress(0, 1, 900), process="second"))
    (known,) = store.state.stages.stages(KEY)
    assert (known.tasks, known.finished) == (40, 1)


def test_after_a_report_that_could_not_be_taken_everything_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = running()
    taker = reports(store)
    take(taker, batch(1, job(0, stage(0, tasks=4))))

    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(StageGraph, "_refresh", fail)
        with pytest.raises(ZeroDivisionError):
            take(taker, batch(2, progress(0, 1, 100)))
    assert KEY not in store.state.stages
    assert take(taker, batch(2, progress(0, 1, 100))).resend


def test_a_lower_number_than_the_last_is_a_repetition() -> None:
    store, seen = running(), Counted()
    taker = reports(store, observe=seen)
    take(taker, batch(1, job(0, *DIAMOND)))
    take(taker, batch(5, progress(0, 1, 10)))
    take(taker, batch(4, progress(0, 1, 10)))
    assert seen.batches == ["taken", "taken", "repeated"]
    assert store.state.stages.stages(KEY)[0].finished == 1


def test_what_agents_lost_is_counted_once() -> None:
    store, seen = running(), Counted()
    taker = reports(store, observe=seen)
    for number, dropped in ((1, 3), (2, 3), (2, 7), (3, 7)):
        take(taker, batch(number, dropped=dropped))
    take(taker, batch(1, process="p2", dropped=2))
    assert seen.lost["agent"] == 7 + 2


@pytest.mark.parametrize("switch", ["stage_order", "executor_target"])
@pytest.mark.parametrize("by", ["settings", "switches"])
def test_either_settings_or_switches_turn_steering_off(
    switch: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = running()
    targets = {KEY: 3}
    monkeypatch.setattr(queries, "target", lambda _store, key, _now: targets.get(key))
    off = Switches(**{switch: False})
    if by == "switches":
        store.apply(SwitchesSeen(off), NOW)
    taker = reports(store, allowed=off if by == "settings" else ALL)
    reply = take(taker, batch(1, job(0, *DIAMOND)))
    assert bool(reply.priorities) is (switch != "stage_order")
    assert reply.target_executors == (3 if switch != "executor_target" else None)
    store.apply(SwitchesSeen(ALL), NOW)
    again = take(taker, batch(2))
    assert (bool(again.priorities) and again.target_executors == 3) is (by == "switches")


def test_spark_is_never_asked_for_no_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    store = running()
    monkeypatch.setattr(queries, "target", lambda _store, _key, _now: 0)
    assert take(reports(store), batch(1)).target_executors == 1


def test_a_gang_that_nobody_knows_leaves_nothing_behind() -> None:
    store = running()
    taker = reports(store)
    assert take(taker, batch(1, job(0, *DIAMOND)), GangKey("ns", "other")) == Reply(interval_s=2.0)
    assert len(store.state.stages) == 0


def test_a_report_without_updates_is_a_sign_of_life() -> None:
    store = running()
    heard: list[object] = []
    apply = store.apply

    def listen(event: Any, now: float) -> Any:
        heard.append(event)
        return apply(event, now)

    store.apply = listen  # type: ignore[method-assign]
    take(reports(store), batch(1))
    assert heard == [StagesReported(KEY, ())]
    assert queries.stages_heard_s(store, KEY) == NOW


def test_agents_that_are_not_wanted_are_told_so_whatever_they_send() -> None:
    store = running()
    assert take(reports(store, listen=False), b"rubbish").off
    assert len(store.state.stages) == 0
