"""The stage graph: Spark's numbering folded into stable stages, any order of events, bounded memory."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import networkx as nx
import pytest
from hypothesis import given

from extender.core.stages.events import (
    JobEnded,
    JobStarted,
    MoreTasksEnded,
    StageCompleted,
    StageEvent,
    StageInfo,
    StageSubmitted,
    TasksEnded,
)
from extender.core.stages.graph import Limits, StageGraph
from extender.core.stages.stage import StageState


def stage(
    stage_id: int, rdd_id: int, tasks: int = 4, parents: tuple[int, ...] = (), attempt: int = 0
) -> StageInfo:
    return StageInfo(stage_id, rdd_id, tasks, attempt, parents)


def ran(info: StageInfo, task_ms: int = 1000) -> list[StageEvent]:
    return [
        StageSubmitted(info, 10),
        TasksEnded(info.stage_id, info.attempt, info.tasks, task_ms * info.tasks),
        StageCompleted(info, 20),
    ]


def snapshot(graph: StageGraph) -> object:
    edges = sorted(graph.graph.edges)
    times = [
        (graph.task_s[key], graph.paths.head[key], graph.paths.tail[key]) for key in sorted(graph.stages)
    ]
    return edges, sorted(graph.standings.items()), times, sorted(graph.open_parents.items())


DIAMOND = (stage(0, 10), stage(1, 20, parents=(0,)), stage(2, 30, parents=(0,)), stage(3, 40, parents=(1, 2)))


def test_a_diamond_is_revealed_and_worked_off() -> None:
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND)])
    assert sorted(graph.graph.edges) == [(10, 20), (10, 30), (20, 40), (30, 40)]
    assert [key for key in graph.stages if graph.ready(key)] == [10]
    graph.apply(ran(DIAMOND[0]))
    assert graph.standings[10].state is StageState.COMPLETE
    assert [key for key in graph.stages if graph.ready(key)] == [20, 30]
    graph.apply([TasksEnded(1, 0, 3, 9000)])
    assert (graph.standings[20].state, graph.standings[20].open_tasks) == (StageState.RUNNING, 1)
    assert graph.remaining_s(20) == 3.0


def test_copies_of_a_shuffle_are_one_stage_and_the_second_is_skipped() -> None:
    """A repeated action lists 4-5-6-7 for 0-1-2-3 and submits only 7."""
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND), *(event for info in DIAMOND for event in ran(info)), JobEnded(0)])
    again = tuple(
        StageInfo(info.stage_id + 4, info.rdd_id, 4, 0, tuple(parent + 4 for parent in info.parents))
        for info in DIAMOND
    )
    graph.apply([JobStarted(1, again)])
    assert len(graph) == 4
    assert list(graph.live()) == [40]
    assert graph.ready(40)
    assert graph.standings[40].stage_id == 7
    graph.apply([*ran(again[3]), JobEnded(1)])
    assert list(graph.live()) == []
    assert [graph.skipped_copies(key) for key in (10, 20, 30, 40)] == [1, 1, 1, 0]


def test_a_lost_output_is_computed_again_by_the_partitions_that_are_missing() -> None:
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND), *ran(DIAMOND[0]), StageSubmitted(DIAMOND[1])])
    graph.apply([StageCompleted(DIAMOND[1], 30, "FetchFailed"), StageSubmitted(stage(0, 10, 1, attempt=1))])
    assert (graph.standings[10].open_tasks, graph.standings[20].open_tasks) == (1, 4)
    assert not graph.ready(20)
    assert graph.task_s[10] == 1.0, "durations of the first attempt still tell how long a task takes"


def test_a_failed_job_leaves_nothing_open() -> None:
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND), StageSubmitted(DIAMOND[0]), JobEnded(0, succeeded=False)])
    assert list(graph.live()) == []
    assert graph.standings[10].state is StageState.FAILED
    assert graph.standings[40].state is StageState.SKIPPED


def test_progress_before_the_stage_is_known_counts() -> None:
    graph = StageGraph()
    graph.apply([TasksEnded(0, 0, 3, 300)])
    graph.apply([JobStarted(0, DIAMOND)])
    assert graph.standings[10].finished == 3


def test_added_tasks_add_up_and_totals_do_not() -> None:
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND), MoreTasksEnded(0, 0, 1, 100), MoreTasksEnded(0, 0, 1, 100)])
    assert graph.standings[10].finished == 2
    graph.apply([TasksEnded(1, 0, 2, 200), TasksEnded(1, 0, 2, 200)])
    assert graph.standings[20].finished == 2


def test_a_circle_is_refused_and_counted() -> None:
    graph = StageGraph()
    graph.apply(
        [JobStarted(0, (stage(0, 1, parents=(2,)), stage(1, 2, parents=(0,)), stage(2, 3, parents=(1,))))]
    )
    assert graph.refused == 1
    assert nx.is_directed_acyclic_graph(graph.graph)
    graph.apply([JobStarted(1, (stage(3, 1, parents=(4,)), stage(4, 3)))])
    assert graph.refused == 2
    assert nx.is_directed_acyclic_graph(graph.graph)


def test_two_shuffles_of_one_rdd_are_two_stages() -> None:
    """Scala: p.groupByKey(2).join(p.groupByKey(3))."""
    one, other = stage(0, 7, 100), stage(1, 7, 4)
    graph = StageGraph()
    graph.apply([StageSubmitted(other, 1)])
    graph.apply([JobStarted(0, (one, other, stage(2, 20, 50, parents=(0, 1)))), StageSubmitted(one, 1)])
    assert sorted(graph.standings[key].stage_id for key in graph.live()) == [0, 1, 2]
    graph.apply([TasksEnded(0, 0, 10, 10_000), TasksEnded(1, 0, 4, 4_000), StageCompleted(other, 9)])
    assert [(graph.standings[key].stage_id, graph.ready(key)) for key in graph.live()] == [
        (0, True),
        (2, False),
    ]
    assert graph.standings[7].open_tasks == 90


@pytest.mark.parametrize("grandparents", [0, 1, 3])
def test_what_a_running_stage_needed_exists_even_if_nobody_told_of_it(grandparents: int) -> None:
    """An extender that began later, or forgot: Spark skips what an earlier job made, and never says so."""
    graph = StageGraph()
    chain = [stage(n, n, 200, parents=(n - 1,) if n else ()) for n in range(grandparents + 1)]
    last = stage(9, 100, 4, parents=(grandparents,))
    graph.apply([JobStarted(5, (*chain, last))])
    assert graph.ready(0)
    graph.apply([StageSubmitted(last, 1)])
    assert list(graph.live()) == [100]
    assert graph.ready(100)
    assert {graph.standings[each.rdd_id].state for each in chain} == {StageState.SKIPPED}
    graph.apply([StageCompleted(last, 2, "FetchFailed"), StageSubmitted(stage(0, 0, 3, attempt=1))])
    assert graph.standings[0].open_tasks == 3, "its output was lost"
    assert not graph.ready(100) or grandparents


def test_what_one_child_has_and_another_waits_for_is_needed() -> None:
    graph = StageGraph()
    graph.apply([JobStarted(0, DIAMOND), StageSubmitted(DIAMOND[1], 1)])
    assert graph.standings[10].state is StageState.WAITING, "stage 2 waits for it"
    graph.apply([StageSubmitted(DIAMOND[2], 1)])
    assert graph.standings[10].state is StageState.SKIPPED


def test_between_two_accounts_of_an_attempt_the_order_does_not_decide() -> None:
    accounts = [StageSubmitted(StageInfo(0, 1, tasks, 0, (), name)) for tasks, name in ((3, "b"), (4, "a"))]
    graphs = StageGraph(), StageGraph()
    graphs[0].apply(accounts)
    graphs[1].apply(accounts[::-1])
    assert graphs[0].stages[1].info() == graphs[1].stages[1].info()


def test_a_job_that_is_too_large_to_watch_is_no_pause() -> None:
    graph = StageGraph(Limits(stages=4))
    graph.apply([JobStarted(0, (stage(0, 0),)), *ran(stage(0, 0)), JobEnded(0)])
    assert graph.whole
    graph.apply([JobStarted(1, tuple(stage(n, n) for n in range(1, 9)))])
    assert not graph.whole, "something is under way, whatever it is"
    graph.apply([JobEnded(1)])
    assert graph.whole


@pytest.mark.parametrize(
    "make",
    [
        lambda: stage(0, 1, tasks=-1),
        lambda: stage(-1, 1),
        lambda: TasksEnded(0, 0, -1, 0),
        lambda: JobEnded(-1),
        lambda: stage(0, 1, tasks=2.5),  # pyright: ignore[reportArgumentType]
        lambda: stage(0, 1, tasks=10**400),
        lambda: stage(0, 10**400),
        lambda: stage(2**31, 1),
        lambda: MoreTasksEnded(0, 0, 1, 2**53),
        lambda: StageCompleted(stage(0, 1), 2**53),
        lambda: JobStarted(2**31, ()),
    ],
)
def test_nonsense_says_what_is_wrong(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^\w+\.\w+ (must be a whole|is larger than).*fix the sender$"):
        make()


def test_the_largest_numbers_that_make_sense_are_taken() -> None:
    graph, most, most_ms = StageGraph(), 2**31 - 1, 2**53 - 1
    info = stage(most, most, tasks=most, attempt=most)
    graph.apply([JobStarted(most, (info,), most_ms), StageSubmitted(info, most_ms)])
    graph.apply([MoreTasksEnded(most, most, 1, most_ms)] * 1000)
    graph.apply([TasksEnded(most, most, most, most_ms), JobEnded(most, time_ms=most_ms)])
    assert list(graph.live()) == []


@st.composite
def histories(draw: st.DrawFn) -> list[StageEvent]:
    """What a driver may say: jobs over few RDDs, some stages run, in several attempts, some jobs end."""
    events: list[StageEvent] = []
    number = 0
    for job_id in range(draw(st.integers(1, 4))):
        rdds = draw(st.lists(st.integers(0, 8), min_size=1, max_size=6, unique=True).map(sorted))
        first = number
        infos: list[StageInfo] = []
        for index, rdd_id in enumerate(rdds):
            parents = draw(st.sets(st.integers(0, index - 1))) if index else set[int]()
            infos.append(
                stage(
                    first + index, rdd_id, draw(st.integers(0, 9)), tuple(first + p for p in sorted(parents))
                )
            )
        number += len(rdds)
        events.append(JobStarted(job_id, tuple(infos)))
        for info in infos:
            for attempt in range(draw(st.integers(0, 3))):
                again = stage(info.stage_id, info.rdd_id, info.tasks, info.parents, attempt)
                events.append(StageSubmitted(again, 1))
                finished = draw(st.integers(0, info.tasks))
                events.append(
                    TasksEnded(info.stage_id, attempt, finished, finished * draw(st.integers(0, 9000)))
                )
                if draw(st.booleans()):
                    events.append(StageCompleted(again, 5, draw(st.sampled_from(["", "lost"]))))
        if draw(st.booleans()):
            events.append(JobEnded(job_id))
    return events


@given(histories(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_repetition_and_batches_do_not_matter(
    events: list[StageEvent], rng: random.Random, batch: int
) -> None:
    straight, shuffled = StageGraph(), StageGraph()
    straight.apply(events)
    mixed = events + rng.sample(events, len(events) // 2)
    rng.shuffle(mixed)
    for start in range(0, len(mixed), batch):
        shuffled.apply(mixed[start : start + batch])
    assert snapshot(straight) == snapshot(shuffled)


@given(histories(), st.integers(1, 4))
def test_memory_is_bounded(events: list[StageEvent], limit: int) -> None:
    graph = StageGraph(Limits(stages=limit, ended_jobs=1, early=2))
    for event in events:
        graph.apply([event])
        assert len(graph) <= limit
        assert graph.graph.number_of_nodes() == len(graph)
        for table in (graph.standings, graph.task_s, graph.length_s, graph.open_parents, graph.paths.head):
            assert table.keys() == graph.stages.keys()


def test_a_thousand_jobs_leave_only_the_latest() -> None:
    graph = StageGraph(Limits(ended_jobs=10))
    for job in range(1000):
        first = stage(2 * job, 2 * job)
        last = stage(2 * job + 1, 2 * job + 1, parents=(2 * job,))
        graph.apply([JobStarted(job, (first, last)), *ran(first), *ran(last), JobEnded(job)])
    assert len(graph) == 20
    assert list(graph.live()) == []
    graph.apply([JobStarted(3, DIAMOND)])
    assert list(graph.live()) == [], "a job forgotten long ago does not come back by a repetition"


def test_jobs_whose_end_is_lost_make_room_for_newer_ones() -> None:
    graph = StageGraph(Limits(stages=4))
    graph.apply([JobStarted(job, (stage(job, job),)) for job in range(9)])
    assert list(graph.live()) == [5, 6, 7, 8]


# -- logs of real Spark ------------------------------------------------------------------------


def _info(raw: dict[str, object]) -> StageInfo:
    rdds = raw["RDD Info"]
    assert isinstance(rdds, list)
    return StageInfo(
        raw["Stage ID"],  # pyright: ignore[reportArgumentType]
        max(rdd["RDD ID"] for rdd in rdds),
        raw["Number of Tasks"],  # pyright: ignore[reportArgumentType]
        raw["Stage Attempt ID"],  # pyright: ignore[reportArgumentType]
        tuple(raw["Parent IDs"]),  # pyright: ignore[reportArgumentType]
    )


def _log(path: Path) -> list[StageEvent]:
    events: list[StageEvent] = []
    for line in path.read_text().splitlines():
        raw = json.loads(line)
        match raw["Event"]:
            case "SparkListenerJobStart":
                events.append(JobStarted(raw["Job ID"], tuple(_info(each) for each in raw["Stage Infos"])))
            case "SparkListenerStageSubmitted":
                events.append(StageSubmitted(_info(raw["Stage Info"])))
            case "SparkListenerStageCompleted":
                events.append(StageCompleted(_info(raw["Stage Info"])))
            case "SparkListenerTaskEnd":
                info = raw["Task Info"]
                took_ms = info["Finish Time"] - info["Launch Time"]
                events.append(MoreTasksEnded(raw["Stage ID"], raw["Stage Attempt ID"], 1, took_ms))
            case "SparkListenerJobEnd":
                events.append(JobEnded(raw["Job ID"]))
            case _:
                pass
    return events


@pytest.mark.parametrize("adaptive", ["true", "false"])
def test_a_query_of_real_spark(case_path: Callable[[str], Path], adaptive: str) -> None:
    events = _log(case_path(f"spark-captures/eventlog-trimmed-3.5.9-sql-aqe-{adaptive}.jsonl"))
    graph = StageGraph()
    for event in events:
        graph.apply([event])
    listed = {i.stage_id for e in events if isinstance(e, JobStarted) for i in e.stages}
    ran_ids = {e.stage.stage_id for e in events if isinstance(e, StageSubmitted)}
    assert list(graph.live()) == []
    assert all(standing.state is StageState.COMPLETE for standing in graph.standings.values())
    assert sum(graph.skipped_copies(key) for key in graph.stages) == len(listed - ran_ids)
    assert len(graph) < len(listed)
