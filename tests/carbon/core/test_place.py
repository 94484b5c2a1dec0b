"""The score of a decision follows the order in which nodes are preferred."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.nodes.terms import ANYWHERE, PlacementTerms, Taint
from extender.core.queue.scoring.place import node_score
from extender.core.queue.workspace import preferred
from tests.gang.world import World, node, size

shapes = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["", "a", "b", "c"]), st.booleans()),
    min_size=1,
    max_size=8,
)


def cluster(nodes: list[tuple[int, int, str, bool]]) -> World:
    world = World()
    for number, (cpu, memory, zone, closed) in enumerate(nodes):
        taints = (Taint("closed", "", "NoSchedule"),) if closed else ()
        world.add(node(f"n{number}", cpu, memory, zone=zone, taints=taints))
    return world


@given(shapes)
def test_scores_never_fall_along_the_order_of_preference(nodes: list[tuple[int, int, str, bool]]) -> None:
    table = cluster(nodes).store.state.nodes
    rows = preferred(table, ANYWHERE, None).tolist()
    scores = [node_score(table, ANYWHERE, row) for row in rows]
    assert None not in scores
    known = [score for score in scores if score is not None]
    # Zones that are equally full are ordered by their first node, so only distinct ones are compared.
    if len({zone for _, _, zone, _ in nodes}) == 1:
        assert known == sorted(known)
    assert all(0 <= score < 1 for score in known)


@given(shapes, st.integers(0, 7))
def test_what_was_taken_since_does_not_count(nodes: list[tuple[int, int, str, bool]], at: int) -> None:
    world = cluster(nodes)
    table = world.store.state.nodes
    row = at % len(nodes)
    before = [node_score(table, ANYWHERE, each) for each in range(len(nodes))]
    held = table.vector(size(1, 1))
    table.reserve(row, held)
    assert [node_score(table, ANYWHERE, each, [(row, held)]) for each in range(len(nodes))] == before


def test_the_fullest_zone_comes_first() -> None:
    table = cluster([(6, 6, "a", False), (5, 5, "b", False), (1, 1, "a", False)]).store.state.nodes
    assert [node_score(table, ANYWHERE, row) for row in (1, 2, 0)] == pytest.approx([0, 1 / 3, 2 / 3])


def test_a_node_that_is_not_open_to_the_pod_has_no_score() -> None:
    table = cluster([(6, 6, "", True), (5, 5, "", False)]).store.state.nodes
    assert node_score(table, PlacementTerms(), 0) is None
