"""The graph without cycles: its order fits every edge, and searches end."""

from __future__ import annotations

import hypothesis.strategies as st
import networkx as nx
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from extender.core.stages.acyclic import SEARCH_STEPS, Acyclic
from extender.core.stages.events import JobStarted, StageInfo
from extender.core.stages.graph import StageGraph

NODES = st.integers(0, 9)


class Growing(RuleBasedStateMachine):
    """Nodes and edges come and go; networkx says which edges close a cycle."""

    def __init__(self) -> None:
        super().__init__()
        self.dag = Acyclic()

    @rule(node=NODES)
    def add_or_remove(self, node: int) -> None:
        if node in self.dag.rank:
            self.dag.remove(node)
        else:
            self.dag.add(node)

    @rule(nodes=st.sets(NODES))
    def add(self, nodes: set[int]) -> None:
        for node in nodes - self.dag.rank.keys():
            self.dag.add(node)

    @rule(parent=NODES, child=NODES)
    def link(self, parent: int, child: int) -> None:
        if parent in self.dag.rank and child in self.dag.rank:
            closes = nx.has_path(self.dag.graph, child, parent)
            assert self.dag.link(parent, child) is not closes
            self.dag.rest()

    @invariant()
    def every_edge_goes_up(self) -> None:
        rank = self.dag.rank
        assert rank.keys() == set(self.dag.graph)
        assert len(set(rank.values())) == len(rank)
        assert all(rank[parent] < rank[child] for parent, child in self.dag.graph.edges)


TestGrowing = Growing.TestCase


def chain(dag: Acyclic, length: int) -> None:
    for node in range(length):
        dag.add(node)
        if node:
            assert dag.link(node - 1, node)


def test_parents_with_lower_numbers_cost_no_search() -> None:
    chain(Acyclic(steps=0), 100)


def test_a_search_without_steps_left_refuses_the_edge_until_the_next_batch() -> None:
    dag = Acyclic(steps=60)
    chain(dag, 20)
    dag.add(30)
    assert not dag.link(19, 0), "a cycle, found by a look at all 20"
    assert not dag.link(30, 0), "no cycle, but who knows without another look"
    assert dag.graph.number_of_edges() == 19
    dag.rest()
    assert dag.link(30, 0)
    assert dag.rank[30] < dag.rank[0]


def test_a_report_full_of_cycles_is_searched_no_longer_than_its_steps_last() -> None:
    """Thousands of copies of an early stage, each with late stages for parents."""
    length, copies = 1000, 2000
    graph = StageGraph()
    stages = [StageInfo(n, n, 1, 0, (n - 1,) if n else ()) for n in range(length)]
    late = tuple(range(length - 9, length - 1))
    again = [JobStarted(1 + n, (StageInfo(length + n, 1, 1, 0, late),)) for n in range(copies)]
    graph.apply([JobStarted(0, tuple(stages)), *again])
    assert graph.refused == 8 * copies
    assert graph.graph.number_of_edges() == length - 1
    assert 0 < graph.dag.searched <= SEARCH_STEPS
