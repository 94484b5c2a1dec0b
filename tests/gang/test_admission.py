"""A leader starts with room for all its minimum workers, or it does not start."""

from __future__ import annotations

import pytest

from extender.core.nodes.resources import GPU
from extender.core.offers import Listed
from extender.core.outcomes import PLACED, Outcome
from extender.core.policy import Policy
from extender.core.queue.packing import PACKERS
from tests.gang.world import World, node, size, spec


def test_the_room_of_the_whole_gang_is_held_when_the_leader_is_answered() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED
    assert world.held() == {"n1": 4}
    world.sound()


def test_nothing_is_held_for_a_gang_that_lacks_room_for_one_worker() -> None:
    world = World()
    world.add(node("n1", 2), node("n2", 2))
    world.leader("a", spec(3))
    assert world.filter("a-driver").node
    world.leader("b", spec(4), created_s=world.now + 1)
    world.delete("a-driver")
    assert world.filter("b-driver").outcome is Outcome.EXCEEDS_CLUSTER
    assert world.held() == {}


def test_room_that_is_held_is_not_room() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(5))
    world.leader("b", spec(2))
    assert world.filter("a-driver").node
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    assert world.held() == {"n1": 6}


def test_a_gang_is_admitted_when_an_earlier_one_ends() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(2))
    world.leader("b", spec(2))
    world.run("a", 2)
    assert world.schedule("b-driver").outcome is Outcome.NO_ROOM
    for name in ("a-driver", "a-exec-1", "a-exec-2"):
        world.end(name)
    assert world.schedule("b-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_every_packer_admits_all_or_nothing(packer: str) -> None:
    world = World(Policy(packer=packer))
    world.add(node("n1", 4, zone="z"), node("n2", 4, zone="z"))
    world.leader("a", spec(7))
    world.leader("b", spec(8))
    assert world.filter("b-driver").outcome is Outcome.EXCEEDS_CLUSTER
    assert world.filter("a-driver").outcome is Outcome.ADMITTED
    assert sum(world.held().values()) == 8
    world.sound()


def test_the_packer_named_by_the_gang_is_used() -> None:
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", spec(4, packer="tightly-pack"))
    assert world.schedule("a-driver").node == "n1"
    assert [where for where, _ in world.slots("a")] == ["n1"] * 4
    world.leader("b", spec(4, packer="distribute-evenly"))
    assert world.schedule("b-driver").node == "n1"
    assert [where for where, _ in world.slots("b")] == ["n1", "n1", "n2", "n2"]


def test_a_gang_without_workers_is_its_leader() -> None:
    world = World()
    world.add(node("n1", 1))
    world.leader("a", spec(0))
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    assert world.slots("a") == []


def test_only_the_minimum_is_held() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1, 5))
    world.schedule("a-driver")
    assert world.held() == {"n1": 1}


def test_each_pod_takes_a_pod_place() -> None:
    world = World()
    world.add(node("n1", 64, 64, pods=4))
    world.leader("a", spec(4))
    world.leader("b", spec(3))
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_a_resource_first_seen_later_is_accounted_for() -> None:
    world = World()
    world.add(node("n1", 8))
    fpga = spec(2, worker=size(1, 1, **{"example.com/fpga": 1}))
    world.leader("a", fpga)
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER
    world.add(node("n2", 8, extra={"example.com/fpga": 1}))
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER
    world.add(node("n3", 8, extra={"example.com/fpga": 1}))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED
    assert [where for where, _ in world.slots("a")] == ["n2", "n3"]
    world.sound()


def test_devices_keep_gangs_apart() -> None:
    world = World()
    world.add(node("n1", 16, extra={GPU: 2}))
    world.leader("a", spec(2, worker=size(1, 1, **{GPU: 1})))
    world.leader("b", spec(1, worker=size(1, 1, **{GPU: 1})))
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    assert world.schedule("b-driver").outcome is Outcome.NO_ROOM


def test_the_leaders_own_requests_count_not_the_workers() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(1), requests=size(4))
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER


def test_the_same_question_gets_the_same_node() -> None:
    world = World()
    world.add(*(node(f"n{number}", 8) for number in range(4)))
    world.leader("a", spec(6))
    first = world.filter("a-driver")
    for _ in range(3):
        again = world.filter("a-driver")
        assert (again.outcome, again.node) == (Outcome.ALREADY_ADMITTED, first.node)
    assert sum(world.held().values()) == 7


def test_a_leader_whose_node_is_not_offered_again_is_placed_anew() -> None:
    world = World()
    world.add(node("n1", 4), node("n2", 4))
    world.leader("a", spec(2))
    first = world.filter("a-driver").node
    other = "n2" if first == "n1" else "n1"
    decision = world.filter("a-driver", [other])
    assert (decision.outcome, decision.node) == (Outcome.ADMITTED, other)
    assert sum(world.held().values()) == 3
    world.sound()


@pytest.mark.parametrize("offered", [[], ["unheard-of"], ["unheard-of", "unheard-of"]])
def test_a_leader_offered_no_known_node_is_refused(offered: list[str]) -> None:
    world = World()
    world.add(node("n1"))
    world.leader("a", spec(1))
    assert world.filter("a-driver", offered).outcome is Outcome.NODES_UNKNOWN
    assert world.held() == {}


def test_before_the_caches_are_full_nobody_is_judged() -> None:
    world = World()
    world.add(node("n1"))
    pod = world.leader("a", spec(1))
    store = type(world.store)(world.policy)
    decision = store.filter(pod, Listed(["n1"]), world.now)
    assert decision.outcome is Outcome.NOT_READY
    assert decision.broken
    assert store.bind(pod.uid, "n1", world.now).error


def test_a_pod_of_another_scheduler_is_not_ours() -> None:
    world = World()
    world.add(node("n1"))
    world.pod("stranger", scheduler_name="somebody-else")
    assert world.filter("stranger").outcome is Outcome.OTHER_SCHEDULER


def test_outcomes_that_place_are_those_that_name_a_node() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1, 2))
    seen = [world.schedule("a-driver"), world.filter("a-driver")]
    for number in (1, 2, 3):
        world.worker("a", number)
        seen.append(world.schedule(f"a-exec-{number}"))
    assert [decision.outcome for decision in seen] == [
        Outcome.ADMITTED,
        Outcome.ALREADY_ADMITTED,
        Outcome.SLOT_TAKEN,
        Outcome.EXTRA_ADMITTED,
        Outcome.GANG_FULL,
    ]
    assert all(bool(decision.node) is (decision.outcome in PLACED) for decision in seen)
