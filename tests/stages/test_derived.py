"""Whatever is reported, what the graph keeps up to date is what would be worked out from nothing."""

from __future__ import annotations

import hypothesis.strategies as st
import networkx as nx
import pytest
from hypothesis import given, settings

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
from extender.core.stages.stage import StageState, Standing

FEW = st.integers(0, 12)
STAGES = st.builds(
    StageInfo,
    stage_id=FEW,
    rdd_id=st.integers(-3, 9),
    tasks=st.integers(0, 50),
    attempt=st.integers(0, 3),
    parents=st.lists(FEW, max_size=4).map(tuple),
)
PROGRESS = {
    "stage_id": FEW,
    "attempt": st.integers(0, 3),
    "finished": st.integers(0, 60),
    "task_ms": st.integers(0, 100_000),
}
EVENTS: st.SearchStrategy[list[StageEvent]] = st.lists(
    st.one_of(
        st.builds(JobStarted, job_id=FEW, stages=st.lists(STAGES, max_size=6).map(tuple)),
        st.builds(JobEnded, job_id=FEW),
        st.builds(StageSubmitted, stage=STAGES),
        st.builds(StageCompleted, stage=STAGES, failure=st.sampled_from(["", "lost"])),
        st.builds(TasksEnded, **PROGRESS),
        st.builds(MoreTasksEnded, **PROGRESS),
    ),
    max_size=40,
)
LIMITS = (Limits(), Limits(6, 2, 2, 5), Limits(3, 1, 1, 3))


def standings(graph: StageGraph) -> dict[int, Standing]:
    """Where all stages stand, children first."""
    found: dict[int, Standing] = {}
    for key in reversed(list(nx.topological_sort(graph.graph))):
        children = [found[child].state for child in graph.graph.succ[key]]
        awaited = not children or StageState.WAITING in children
        found[key] = graph.stages[key].standing(graph._ended, awaited=awaited)
    return found


def assert_derived(graph: StageGraph) -> None:
    assert graph.standings == standings(graph)
    assert set(graph.live()) == {key for key, each in graph.standings.items() if each.open_tasks}
    head: dict[int, float] = {}
    tail: dict[int, float] = {}
    order = list(nx.topological_sort(graph.graph))
    for key in order:
        parents = graph.graph.pred[key]
        head[key] = max((head[parent] + graph.length_s[parent] for parent in parents), default=0.0)
        assert graph.open_parents[key] == sum(1 for each in parents if graph.standings[each].open_tasks)
        work_s = graph.standings[key].open_tasks * graph.task_s[key]
        shortest_s = graph.task_s[key] if work_s else 0.0
        assert graph.length_s[key] == pytest.approx(max(shortest_s, work_s / graph.slots))
    for key in reversed(order):
        children = graph.graph.succ[key]
        tail[key] = graph.length_s[key] + max((tail[child] for child in children), default=0.0)
    assert (graph.paths.head, graph.paths.tail) == (head, tail)
    assert graph.paths.total == max(tail.values(), default=0.0)


@settings(max_examples=200)
@given(EVENTS, st.integers(1, 4), st.sampled_from(LIMITS), st.integers(1, 5))
def test_all_derived_values_are_those_of_the_present_graph(
    events: list[StageEvent], batch: int, limits: Limits, slots: int
) -> None:
    graph = StageGraph(limits)
    for start in range(0, len(events), batch):
        graph.apply(events[start : start + batch])
        graph.set_slots(slots + start % 2)
        assert_derived(graph)
