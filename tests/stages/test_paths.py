"""Critical path and slack: kept up to date, equal to what is computed from nothing, and local."""

from __future__ import annotations

import hypothesis.strategies as st
import networkx as nx
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extender.core.facts import GangKey
from extender.core.stages.acyclic import Acyclic
from extender.core.stages.events import JobEnded, JobStarted, StageInfo, TasksEnded
from extender.core.stages.graph import StageGraph
from extender.core.stages.paths import Paths
from extender.core.stages.store import StageStore


def every_path(graph: nx.DiGraph[int], node: int, *, upwards: bool) -> list[list[int]]:
    """All maximal paths from a node, by recursion: an oracle that shares no idea with the code."""
    following = list(graph.predecessors(node) if upwards else graph.successors(node))
    if not following:
        return [[node]]
    return [[node, *path] for other in following for path in every_path(graph, other, upwards=upwards)]


def assert_like_oracle(graph: nx.DiGraph[int], lengths: dict[int, float], paths: Paths) -> None:
    for node in graph:
        tail = max(sum(lengths[each] for each in path) for path in every_path(graph, node, upwards=False))
        head = max(sum(lengths[each] for each in path[1:]) for path in every_path(graph, node, upwards=True))
        assert (paths.tail[node], paths.head[node]) == pytest.approx((tail, head))


class Editing(RuleBasedStateMachine):
    """Random edits of a graph; after each the paths are what an oracle says."""

    def __init__(self) -> None:
        super().__init__()
        self.dag = Acyclic()
        self.graph = self.dag.graph
        self.lengths: dict[int, float] = {}
        self.paths = Paths(self.dag, self.lengths)

    @rule(node=st.integers(0, 6), length=st.integers(0, 5))
    def measure(self, node: int, length: int) -> None:
        if node not in self.graph:
            self.dag.add(node)
        self.lengths[node] = float(length)
        self.paths.update([node])

    @rule(parent=st.integers(0, 6), child=st.integers(0, 6))
    def link(self, parent: int, child: int) -> None:
        if parent in self.graph and child in self.graph:
            self.dag.link(parent, child)
            self.dag.rest()
            self.paths.update([parent, child])

    @rule(node=st.integers(0, 6))
    def remove(self, node: int) -> None:
        if node in self.graph:
            neighbours = [*self.graph.predecessors(node), *self.graph.successors(node)]
            self.dag.remove(node)
            del self.lengths[node]
            self.paths.forget(node)
            self.paths.update(neighbours)

    @invariant()
    def as_the_oracle_says(self) -> None:
        assert_like_oracle(self.graph, self.lengths, self.paths)
        if self.graph:
            weighted = nx.DiGraph((u, v, {"weight": self.lengths[u]}) for u, v in self.graph.edges)
            weighted.add_edges_from((node, -1, {"weight": self.lengths[node]}) for node in self.graph)
            assert self.paths.total == pytest.approx(nx.dag_longest_path_length(weighted))


TestEditing = Editing.TestCase


def chain(length: int) -> StageGraph:
    graph = StageGraph()
    stages = tuple(StageInfo(n, n, 4, 0, (n - 1,) if n else ()) for n in range(length))
    graph.apply([JobStarted(0, stages)])
    return graph


def test_only_ancestors_and_descendants_of_a_change_are_computed() -> None:
    graph = chain(50)
    side = tuple(StageInfo(100 + n, 100 + n, 4, 0, (99 + n,) if n else ()) for n in range(50))
    graph.apply([JobStarted(1, side)])
    graph.apply([TasksEnded(25, 0, 1, 1000)])
    before = graph.paths.touched
    graph.apply([TasksEnded(25, 0, 2, 2000)])
    assert 0 < graph.paths.touched - before <= 26 + 25
    before = graph.paths.touched
    graph.apply([TasksEnded(25, 0, 2, 2000)])
    assert graph.paths.touched == before, "a repetition changes nothing and computes nothing"


@given(st.integers(1, 8), st.integers(0, 4), st.integers(1, 6))
def test_slots_shorten_stages_down_to_one_task(stages: int, finished: int, slots: int) -> None:
    graph = chain(stages)
    graph.set_slots(slots)
    graph.apply([TasksEnded(0, 0, finished, finished * 1000)])
    left = 4 - finished
    first = max(1.0, left / slots) if left else 0.0
    assert graph.paths.total == pytest.approx(first + (stages - 1) * max(1.0, 4 / slots))


def test_importance_falls_with_slack() -> None:
    """A long and a short branch to one end: 8 + 4 against 2 + 4 task-seconds."""
    key, store = GangKey("spark", "app"), StageStore()
    store.apply(key, [JobStarted(0, (StageInfo(0, 0, 8), StageInfo(1, 1, 2), StageInfo(2, 2, 4, 0, (0, 1))))])
    assert dict(store.priorities(key).by_stage) == {0: 1.0, 1: 0.5, 2: 1.0}
    graph = store.graph(key)
    assert graph is not None
    assert [graph.slack_s(stage) for stage in (0, 1, 2)] == [0.0, 6.0, 0.0]
    store.apply(key, [TasksEnded(0, 0, 8, 8000), JobEnded(0)])
    assert dict(store.priorities(key).by_stage) == {}
