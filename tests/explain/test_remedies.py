"""Changes that would help: each one that is listed works when it is made, and asking changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.explain.explanation import Explanation
from extender.core.facts import NodeFacts
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.nodes.terms import PlacementTerms, Taint
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from tests.explain.support import explained
from tests.gang.world import GIB, World, node, size, spec


def changes(explanation: Explanation) -> list[str]:
    return [each.change for each in explanation.would_help]


def waits(world: World, app: str, wanted: GangSpec, **fields: object) -> Explanation:
    world.leader(app, wanted, **fields)
    assert world.filter(f"{app}-driver").node == ""
    return explained(world, app)


def starts(wanted: GangSpec, *nodes: NodeFacts, used: int = 0, **fields: object) -> bool:
    world = World()
    world.add(*nodes)
    if used:
        world.foreign("other", nodes[0].name, requests=size(used))
    world.leader("a", wanted, **fields)
    return bool(world.filter("a-driver").node)


def test_fewer_executors_are_proposed_with_the_largest_number_that_starts():
    world = World()
    world.add(node("n0", 8), node("n1", 8))
    world.foreign("other", "n0", requests=size(6))
    found = waits(world, "a", spec(12))
    assert found.outcome == Outcome.NO_ROOM
    assert "3 of cpu missing" in found.headline
    assert "ask for 9 instead of 12 executors as the minimum" in changes(found)
    assert starts(spec(9), node("n0", 8), node("n1", 8), used=6)
    assert not starts(spec(10), node("n0", 8), node("n1", 8), used=6)


def test_smaller_executors_are_proposed_in_the_resource_that_is_short():
    world = World()
    world.add(node("n0", 16, 32))
    world.foreign("other", "n0", requests=size(1, 15))
    wide = spec(4, worker=size(1, 6))
    found = waits(world, "a", wide)
    (memory,) = [each for each in changes(found) if "of memory" in each]
    assert memory == "ask for 4096Mi instead of 6144Mi of memory an executor"


def test_an_excluding_selector_is_named():
    world = World()
    world.add(node("n0", 8, labels={"disk": "ssd"}), node("n1", 8))
    world.foreign("other", "n0", requests=size(7))
    terms = PlacementTerms(node_selector=(("disk", "ssd"),))
    found = waits(world, "a", replace(spec(2), worker_terms=terms), terms=terms)
    assert changes(found)[0] == "remove the node selector disk=ssd"
    assert [(each.pod, each.nodes, each.with_room) for each in found.nodes] == [
        ("leader", 2, 1),
        ("worker", 2, 1),
    ]
    assert found.nodes[1].excluded[0].reason == "node(s) didn't match Pod's node affinity/selector"


def test_a_taint_is_named():
    world = World()
    world.add(
        node("n0", 8, taints=(Taint("dedicated", "ml"),)), node("n1", 8, unschedulable=True), node("n2", 2)
    )
    world.foreign("other", "n2", requests=size(1))
    found = waits(world, "a", spec(3))
    assert "tolerate the taints of the nodes with room" in changes(found)
    assert {each.reason: each.nodes for each in found.nodes[1].excluded} == {
        "node(s) had untolerated taint {dedicated: ml}": 1,
        "node(s) were unschedulable": 1,
    }


def test_behind_a_gang_that_waits_priority_and_backfill_are_proposed():
    world = World()
    world.add(node("n0", 8))
    world.foreign("other", "n0", requests=size(3))
    waits(world, "big", spec(6))
    world.now += 1
    found = waits(world, "small", spec(1))
    assert found.blocker == "ns/big"
    assert found.place is not None
    assert (found.place.position, found.place.waiting) == (2, 2)
    assert changes(found)[:3] == [
        "give the driver a priority above 0, which ns/big has",
        "run the default pool with queue order `backfill`",
        "ns/big: ask for 4 instead of 6 executors as the minimum",
    ]
    urgent = World()
    urgent.add(node("n0", 8))
    urgent.foreign("other", "n0", requests=size(3))
    urgent.leader("big", spec(6))
    urgent.leader("small", spec(1), priority=1)
    assert urgent.filter("small-driver").node


def test_nodes_to_add_are_counted():
    world = World()
    world.add(node("n0", 8), node("n1", 4))
    world.foreign("other", "n0", requests=size(7))
    found = waits(world, "a", spec(30))
    assert found.outcome == Outcome.EXCEEDS_CLUSTER
    assert found.refused_for_good
    assert found.expected is None
    assert changes(found)[-1] == "add 4 nodes like n0 (8 CPU)"
    more = [node(f"m{number}", 8) for number in range(4)]
    assert starts(spec(30), node("n0", 8), node("n1", 4), *more, used=7)
    assert not starts(spec(30), node("n0", 8), node("n1", 4), *more[:3], used=7)


def test_a_gang_that_waits_in_a_pool_without_order_is_tried_alone():
    world = World(Policy(fifo=FifoMode.OFF))
    world.add(node("n0", 8))
    world.foreign("other", "n0", requests=size(4))
    found = waits(world, "a", spec(6))
    assert "ask for 3 instead of 6 executors as the minimum" in changes(found)


@given(
    workers=st.integers(1, 12),
    cpu=st.integers(1, 4),
    memory=st.integers(1, 8),
    used=st.lists(st.integers(0, 7), min_size=2, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_every_proposed_size_starts(workers: int, cpu: int, memory: int, used: list[int]):
    def build(wanted: GangSpec) -> World:
        world = World()
        for number, cores in enumerate(used):
            world.add(node(f"n{number}", 8, 16))
            if cores:
                world.foreign(f"other-{number}", f"n{number}", requests=size(cores, cores))
        world.leader("a", wanted)
        return world

    wanted = spec(workers, worker=size(cpu, memory))
    world = build(wanted)
    if world.filter("a-driver").node:
        return
    for each in explained(world, "a").would_help:
        words = each.change.split()
        if words[0] != "ask":
            continue
        if "executors" in words:
            changed = spec(int(words[2]), worker=wanted.worker)
        else:
            less = (
                {CPU: round(float(words[2]) * 1000)}
                if "cpu" in words
                else {MEMORY: int(words[2].removesuffix("Mi")) << 20}
            )
            changed = replace(wanted, worker={**wanted.worker, **less})
        assert build(changed).filter("a-driver").node, each


def test_asking_changes_no_decision():
    def play(*, ask: bool) -> list[str]:
        world = World()
        world.add(node("n0", 8), node("n1", 8))
        world.foreign("other", "n0", requests=size(4))
        answers: list[str] = []
        for number, workers in enumerate((9, 3, 14, 2)):
            world.now += 1
            world.leader(f"a{number}", spec(workers))
            answers.append(world.filter(f"a{number}-driver").reason)
            for name in [f"a{each}" for each in range(number + 1)] if ask else []:
                explained(world, name)
        world.end("other")
        answers += [world.filter(f"a{number}-driver").node or "" for number in range(4)]
        return answers

    assert play(ask=True) == play(ask=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_leader_without_room_has_no_advice_about_executors(workers: int):
    world = World()
    world.add(node("n0", 2))
    world.foreign("other", "n0", requests=size(2))
    found = waits(world, "a", spec(workers, worker=size(1, GIB >> 30)))
    assert not any("executors" in each for each in changes(found))
