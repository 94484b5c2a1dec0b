"""Evicting is offered only where it would really let the pod start."""

from __future__ import annotations

from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec


def useful(world: World, name: str, victims: dict[str, list[str]]) -> list[str]:
    """Nodes on which evicting the pods of these names helps."""
    uids = {where: [f"uid-{victim}" for victim in names] for where, names in victims.items()}
    return world.store.preempt(world.pods[world.uid(name)], uids, world.now)


def full(*cores: int) -> World:
    """Nodes n1.. with a foreign pod p1.. on each that takes them whole."""
    world = World(Policy(packer="tightly-pack"))
    for number, amount in enumerate(cores, 1):
        world.add(node(f"n{number}", amount))
        world.foreign(f"p{number}", f"n{number}", requests=size(amount))
    return world


def test_victims_that_make_room_for_the_whole_gang_help() -> None:
    world = full(4)
    world.leader("a", spec(3), priority=10)
    assert useful(world, "a-driver", {"n1": ["p1"]}) == ["n1"]


def test_room_for_the_leader_alone_does_not_help() -> None:
    world = full(4, 2)
    world.leader("a", spec(4), priority=10)
    assert useful(world, "a-driver", {"n1": ["p1"], "n2": ["p2"]}) == []
    world.end("p2")
    assert useful(world, "a-driver", {"n1": ["p1"]}) == ["n1"]


def test_victims_of_the_pods_own_gang_never_help() -> None:
    world = World()
    world.add(node("n1", 3))
    world.leader("a", spec(2, 3))
    world.run("a", 2)
    world.worker("a", 3)
    assert useful(world, "a-exec-3", {"n1": ["a-exec-1"]}) == []


def test_any_pod_needs_enough_room() -> None:
    world = full(4)
    world.foreign("small", "n1", requests=size(0, 0))
    world.pod("single", requests=size(2))
    assert useful(world, "single", {"n1": ["small"]}) == []
    assert useful(world, "single", {"n1": ["p1"]}) == ["n1"]


def test_unknown_victims_and_nodes_do_not_help() -> None:
    world = full(4)
    world.pod("single")
    assert useful(world, "single", {"n1": ["unheard-of"], "n9": ["p1"]}) == []


def test_a_victim_that_runs_elsewhere_does_not_help() -> None:
    world = full(4, 4)
    world.pod("single")
    assert useful(world, "single", {"n1": ["p2"]}) == []


def test_a_node_that_is_closed_to_the_pod_does_not_help() -> None:
    world = full(4)
    world.add(node("n1", 4, unschedulable=True))
    world.pod("single")
    assert useful(world, "single", {"n1": ["p1"]}) == []


def test_evicting_a_minimum_worker_helps_nobody_because_its_slot_is_held_again() -> None:
    world = World()
    world.add(node("n1", 3))
    world.leader("a", spec(2))
    world.run("a", 2)
    world.pod("single", priority=10)
    assert useful(world, "single", {"n1": ["a-exec-1"]}) == []
    world.delete("a-exec-1")
    assert not world.filter("single").node


def test_evicting_an_extra_worker_helps() -> None:
    world = World()
    world.add(node("n1", 3))
    world.leader("a", spec(1, 2))
    world.run("a", 2)
    world.pod("single", priority=10)
    assert useful(world, "single", {"n1": ["a-exec-2"]}) == ["n1"]
    world.delete("a-exec-2")
    assert world.filter("single").node == "n1"


def test_evicting_a_minimum_worker_helps_when_an_extra_one_takes_its_place() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 2))
    world.leader("a", spec(1, 2))
    world.run("a", 1)
    world.add(node("n2", 1))
    world.worker("a", 2)
    assert world.schedule("a-exec-2").node == "n2"
    world.pod("single", priority=10)
    assert useful(world, "single", {"n1": ["a-exec-1"]}) == ["n1"]
    world.delete("a-exec-1")
    assert world.filter("single").node == "n1"


def test_evicting_a_leader_helps_with_all_that_is_held_for_its_gang() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.leader("b", spec(3), priority=10)
    assert useful(world, "b-driver", {"n1": ["a-driver"]}) == ["n1"]
    world.delete("a-driver")
    assert world.filter("b-driver").node == "n1"


def test_nothing_helps_a_leader_whose_request_is_unknown() -> None:
    world = full(4)
    world.leader("a", None, priority=10)
    assert useful(world, "a-driver", {"n1": ["p1"]}) == []


def test_asking_changes_nothing() -> None:
    world = full(4)
    world.leader("a", spec(3), priority=10)
    free = world.store.state.nodes.free.copy()
    useful(world, "a-driver", {"n1": ["p1"]})
    assert (world.store.state.nodes.free == free).all()
    world.sound()
