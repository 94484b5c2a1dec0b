"""The state rebuilt from pods alone: leaders without a reservation, strays, lost leaders."""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.gangs.reservation import RESERVATION
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec

POLICY = Policy(packer="tightly-pack")


def running(world: World, app: str, workers: int, where: str = "n1") -> None:
    """Pods that were bound before we were there."""
    for number in range(1, workers + 1):
        world.worker(app, number, node=where, phase="Running")


def test_a_leader_without_reservation_gets_its_workers_back() -> None:  # P19
    world = World(POLICY)
    world.add(node("n1", 8))
    world.leader("a", spec(2, 4), node="n1", phase="Running")
    running(world, "a", 3)
    world.restart()
    assert world.slots("a") == [("n1", "a-exec-1"), ("n1", "a-exec-2")]
    assert world.held() == {}
    world.sound()
    world.worker("a", 4)
    world.worker("a", 5)
    assert world.schedule("a-exec-4").outcome is Outcome.EXTRA_ADMITTED
    assert world.schedule("a-exec-5").outcome is Outcome.GANG_FULL


def test_the_workers_it_lacks_are_owed() -> None:  # P20
    world = World(POLICY)
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(3), node="n1", phase="Running")
    running(world, "a", 1)
    world.restart()
    assert world.slots("a") == [("n1", ""), ("n1", "a-exec-1"), ("n2", "")]
    world.sound()


def test_its_reservation_is_written_down_by_the_one_that_is_asked() -> None:
    world = World(POLICY)
    world.add(node("n1", 8))
    world.leader("a", spec(2), node="n1", phase="Running")
    world.restart()
    assert world.writes == []
    world.pod("probe", requests=size(100))
    world.filter("probe")
    world.tick()
    assert RESERVATION in world.pods["uid-a-driver"].annotations
    world.specs.clear()
    world.restart()
    assert world.slots("a") == [("n1", "")] * 2


def test_a_leader_whose_request_is_read_late_is_rebuilt_late() -> None:
    world = World(POLICY)
    world.add(node("n1", 8))
    leader = world.leader("a", None, node="n1", phase="Running")
    running(world, "a", 1)
    world.restart()
    assert world.slots("a") == []
    world.configure(leader, spec(2))
    assert world.slots("a") == [("n1", ""), ("n1", "a-exec-1")]
    world.sound()


def test_a_worker_takes_an_open_slot_on_its_own_node() -> None:
    world = World(POLICY)
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    assert [where for where, _ in world.slots("a")] == ["n1", "n1", "n2"]
    running(world, "a", 1, "n2")
    world.restart()
    assert world.slots("a") == [("n1", ""), ("n1", ""), ("n2", "a-exec-1")]


def test_a_worker_on_another_node_takes_an_open_slot_along() -> None:  # P21
    world = World(POLICY)
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    running(world, "a", 1, "n1")
    world.worker("a", 2, node="n2", phase="Running")
    world.restart()
    assert world.slots("a") == [("n1", "a-exec-1"), ("n2", "a-exec-2")]
    assert world.held() == {}
    world.sound()


def test_workers_whose_leader_is_gone_are_used_room_and_nothing_else() -> None:  # P25
    world = World(POLICY)
    world.add(node("n1", 4))
    running(world, "a", 3)
    world.restart()
    assert world.slots("a") == []
    world.sound()
    world.leader("b", spec(1))
    assert world.filter("b-driver", ["n1"]).outcome is Outcome.NO_ROOM
    world.worker("a", 4)
    assert world.filter("a-exec-4").outcome is Outcome.GANG_UNKNOWN
    world.delete("a-exec-1")
    assert world.schedule("b-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("fields", [{"phase": "Succeeded"}, {"phase": "Failed"}, {"deleting": True}])
def test_a_leader_that_ended_before_the_restart_holds_nothing(fields: dict[str, Any]) -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.change("a-driver", **fields)
    world.restart()
    assert world.held() == {}
    assert world.slots("a") == []
    world.sound()


def test_a_leader_bound_before_its_node_is_seen_is_adopted() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    gone = world.nodes.pop("n1")
    world.restart()
    assert len(world.slots("a")) == 3
    world.add(gone)
    world.tick()
    assert world.slots("a") == [("n1", "")] * 3
    world.sound()


def test_many_gangs_are_rebuilt_as_they_were() -> None:
    world = World()
    world.add(*(node(f"n{number}", 16) for number in range(6)))
    for number in range(20):
        app = f"app{number}"
        world.leader(app, spec(number % 4, number % 4 + 1), created_s=world.now + number)
        assert world.schedule(f"{app}-driver").node
        for worker in range(number % 3):
            world.worker(app, worker)
            world.schedule(f"{app}-exec-{worker}")
    kept = [world.slots(f"app{number}") for number in range(20)], world.held()
    world.restart()
    assert ([world.slots(f"app{number}") for number in range(20)], world.held()) == kept
    world.sound()
