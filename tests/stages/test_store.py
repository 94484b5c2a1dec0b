"""The stage store: tables that answer without looking at a graph, for many applications."""

from __future__ import annotations

from typing import NoReturn

import hypothesis.strategies as st
import networkx as nx
import pytest
from hypothesis import given

from extender.core.facts import GangKey
from extender.core.stages.events import JobStarted, StageCompleted, StageInfo, StageSubmitted, TasksEnded
from extender.core.stages.importance import WeightedFair
from extender.core.stages.paths import Paths
from extender.core.stages.stage import StageState
from extender.core.stages.store import NO_PRIORITIES, StageStore, spark_priorities


def key(number: int) -> GangKey:
    return GangKey("spark", f"app-{number}")


def job(*tasks: int) -> JobStarted:
    """Independent stages, and a last one that waits for all of them."""
    last = len(tasks)
    parts = tuple(StageInfo(n, n, count, name=f"map {n}") for n, count in enumerate(tasks))
    return JobStarted(0, (*parts, StageInfo(last, last, 1, 0, tuple(range(last)), "result", 1)))


def test_unknown_is_important() -> None:
    store = StageStore()
    assert store.priority(key(0)) == 1.0
    assert store.importance(key(0), 5) == 1.0
    assert store.priorities(key(0)) is NO_PRIORITIES
    assert store.stages(key(0)) == ()
    assert store.graph(key(0)) is None


def test_reading_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = StageStore()
    store.apply(key(0), [job(9, 3, 1)])

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a graph algorithm ran on a read")

    for name in ("ancestors", "descendants", "topological_sort", "has_path"):
        monkeypatch.setattr(nx, name, refuse)
    monkeypatch.setattr(Paths, "update", refuse)
    priorities = store.priorities(key(0))
    assert [stage.stage_id for stage in priorities.ready] == [0, 1, 2]
    assert store.importance(key(0), 1) == pytest.approx(0.4)
    assert store.priority(key(0)) == pytest.approx((9 * 1 + 3 * 0.4 + 1 * 0.2) / 13)
    assert len(store.stages(key(0))) == 4
    with pytest.raises(AssertionError):
        store.apply(key(0), [TasksEnded(0, 0, 1, 1000)])


def test_applications_do_not_meet() -> None:
    store = StageStore()
    store.apply(key(0), [job(1)])
    store.apply(GangKey("other", "app-0"), [job(5, 5)])
    assert len(store.priorities(key(0)).by_stage) == 2
    store.forget(GangKey("other", "app-0"))
    assert GangKey("other", "app-0") not in store
    assert key(0) in store


def test_a_change_that_fails_costs_its_own_application_only() -> None:
    store = StageStore()
    for number in range(2):
        store.apply(key(number), [job(1)])
    with pytest.raises(TypeError):
        store.apply(key(0), [job(1), JobStarted(1, None)])  # pyright: ignore[reportArgumentType]
    assert key(0) not in store
    assert store.priority(key(0)) == 1.0
    store.set_width(key(1), 1, 4)
    store.widen()
    assert len(store.priorities(key(1)).by_stage) == 2
    store.apply(key(0), [job(1)])
    assert len(store.priorities(key(0)).by_stage) == 2


def test_stages_are_measured_by_their_executors_when_there_is_time() -> None:
    store = StageStore()
    store.apply(key(0), [job(8)])
    store.set_width(key(0), 2, 4)
    assert store.priorities(key(0)).critical_path_s == 9.0
    store.widen()
    assert store.priorities(key(0)).critical_path_s == 3.0
    store.set_width(key(0), 4, 8)
    store.set_width(key(0), 2, 4)
    table = store.priorities(key(0))
    store.widen()
    assert store.priorities(key(0)) is table, "it has what it had"
    store.set_width(key(1), 2, 4)
    store.widen()
    assert key(1) not in store


def test_the_longest_silent_application_goes_first() -> None:
    store = StageStore(applications=2)
    for number in (0, 1, 0, 2):
        store.apply(key(number), [job(1)])
    assert [number for number in range(3) if key(number) in store] == [0, 2]
    assert store.priorities(key(1)) is NO_PRIORITIES


def test_a_stage_for_people() -> None:
    store, first = StageStore(), StageInfo(0, 0, 4, name="map 0")
    store.apply(
        key(0), [job(4), StageSubmitted(first, 1000), TasksEnded(0, 0, 4, 8000), StageCompleted(first, 5000)]
    )
    done, last = store.stages(key(0))
    assert (done.state, done.duration_s, done.task_s, done.importance) == (StageState.COMPLETE, 4.0, 2.0, 0.0)
    assert (last.name, last.parents, last.jobs, last.resource_profile) == ("result", (0,), (0,), 1)
    assert (last.remaining_s, last.importance) == (2.0, 1.0)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_spark_serves_the_more_important_stage_first(tasks: list[int]) -> None:
    store = StageStore()
    store.apply(key(0), [job(*tasks)])
    priorities = store.priorities(key(0))
    order = spark_priorities(priorities)
    assert min(order.values()) == 0
    assert all(0.0 < value <= 1.0 for value in priorities.by_stage.values())
    for one, importance in priorities.by_stage.items():
        for other, lower in priorities.by_stage.items():
            assert importance <= lower or order[one] <= order[other]


def fair(store: StageStore) -> list[float]:
    store.widen()
    store.catch_up()
    return [store.priority(key(number)) for number in range(3)]


def test_weighted_fair_follows_executors_and_weights() -> None:
    store = StageStore(WeightedFair())
    for number, executors in enumerate((0, 10, 30)):
        store.apply(key(number), [job(4)])
        store.set_width(key(number), executors, executors)
    shares = fair(store)
    assert shares == pytest.approx([1.0, (40 / 3) / (40 / 3 + 10), (40 / 3) / (40 / 3 + 30)])
    store.set_width(key(2), 30, 30, weight=4.0)
    assert fair(store)[2] > shares[2]
    store.forget(key(0))
    assert fair(store)[1] == pytest.approx(8 / 18)


def test_weighted_fair_keeps_tables_that_would_hardly_change() -> None:
    store = StageStore(WeightedFair())
    for number in range(3):
        store.apply(key(number), [job(4)])
        store.set_width(key(number), 100, 100)
    before = fair(store)
    table = store.priorities(key(0))
    store.set_width(key(2), 101, 101)
    store.apply(key(1), [TasksEnded(0, 0, 1, 1000)])
    assert fair(store) == before
    assert store.priorities(key(0)) is table
    assert store.priorities(key(1)).ready[0].open_tasks == 3
    for executors in range(102, 140):
        store.set_width(key(2), executors, executors)
        fair(store)
    assert fair(store)[0] == pytest.approx(113 / 213, abs=0.01), "small steps add up"


def test_another_provider_makes_every_table_anew() -> None:
    store = StageStore()
    store.apply(key(0), [job(9, 1)])
    store.use(WeightedFair())
    assert store.behind
    store.catch_up()
    assert not store.behind
    assert set(store.priorities(key(0)).by_stage.values()) == {1.0}
