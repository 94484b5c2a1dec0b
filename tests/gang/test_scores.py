"""prioritize: integers from 0 to 10, one for each name."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from extender.core.nodes.terms import PlacementTerms
from extender.core.policy import LabelPriority, Policy
from tests.gang.world import World, node, spec


def scores(world: World, name: str, names: list[str]) -> dict[str, int]:
    """Score of each node."""
    return dict(
        zip(names, world.store.prioritize(world.pods[world.uid(name)], names, world.now), strict=True)
    )


def test_the_held_node_is_best() -> None:
    world = World()
    world.add(*(node(f"n{number}", 8) for number in range(3)))
    world.leader("a", spec(1))
    chosen = world.filter("a-driver").node
    ranked = scores(world, "a-driver", sorted(world.nodes))
    assert ranked.pop(chosen) == 10
    assert set(ranked.values()) == {0}


def test_without_a_hold_the_order_of_packing_counts() -> None:
    world = World()
    world.add(node("empty", 8), node("fuller", 8, 8), node("fullest", 8, 4))
    world.pod("single")
    ranked = scores(world, "single", ["empty", "fullest", "fuller"])
    assert ranked["fullest"] == 10
    assert ranked["fullest"] > ranked["fuller"] > ranked["empty"]


def test_nodes_that_are_closed_or_unknown_get_nothing() -> None:
    world = World()
    world.add(node("n1"), node("n2", unschedulable=True))
    world.pod("single")
    assert scores(world, "single", ["n1", "n2", "unheard-of"]) == {"n1": 10, "n2": 0, "unheard-of": 0}


def test_leaders_follow_the_leaders_label_priority_and_workers_theirs() -> None:
    policy = Policy(
        leader_label_priority=LabelPriority("life", ("on-demand", "spot")),
        worker_label_priority=LabelPriority("life", ("spot", "on-demand")),
    )
    world = World(policy)
    world.add(node("firm", labels={"life": "on-demand"}), node("loose", labels={"life": "spot"}))
    world.leader("a", spec(1))
    world.worker("a", 1)
    assert scores(world, "a-driver", ["firm", "loose"]) == {"firm": 10, "loose": 5}
    assert scores(world, "a-exec-1", ["firm", "loose"]) == {"firm": 5, "loose": 10}


@given(
    nodes=st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=12),
    asked=st.lists(st.sampled_from([f"n{number}" for number in range(12)] + ["unheard-of"]), max_size=20),
    selects=st.booleans(),
)
def test_every_name_has_a_score_between_0_and_10(
    nodes: list[tuple[int, bool]], asked: list[str], selects: bool
) -> None:
    world = World()
    for number, (cores, ready) in enumerate(nodes):
        world.add(node(f"n{number}", cores, ready=ready, labels={"odd": str(number % 2)}))
    terms = PlacementTerms(node_selector=(("odd", "1"),)) if selects else PlacementTerms()
    pod = world.pod("single", terms=terms)
    out = world.store.prioritize(pod, asked, world.now)
    assert len(out) == len(asked)
    assert all(type(score) is int and 0 <= score <= 10 for score in out)
