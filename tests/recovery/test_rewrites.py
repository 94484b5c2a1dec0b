"""A reservation that a running leader still does not carry is written again, by the replica that leads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extender.core.gangs.ownership import REWRITE_AFTER_S
from extender.core.gangs.reservation import RESERVATION, decode
from extender.core.leadership import LEADS_FOR_S
from extender.core.policy import Policy
from tests.gang.world import World, node, spec


@pytest.fixture
def world() -> World:
    """Gang `a` runs; a slot has moved to n2, the write that says so was lost, and the watch shows that."""
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3), node("n2", 3))
    world.leader("a", spec(2))
    assert world.schedule("a-driver").node == "n1"
    world.lose_writes = True
    world.worker("a", 1)
    assert world.bind("a-exec-1", world.filter("a-exec-1", ["n2"]).node) == ""
    world.tick()
    assert world.outdated
    world.lose_writes = False
    world.writes.clear()
    world.see("uid-a-driver")
    return world


def written(world: World) -> list[str]:
    """Leaders whose reservation was written since, in order."""
    return [each.name for _, each in world.writes if RESERVATION in each.annotations]


def slots_carried(world: World) -> list[str]:
    """Nodes of the slots in the reservation that the leader carries."""
    found = decode(world.pods["uid-a-driver"].annotations[RESERVATION])
    assert found is not None
    return sorted(found.nodes)


def test_it_is_written_once_and_carries_the_newest_slots(world: World) -> None:
    assert slots_carried(world) == ["n1", "n1"]
    world.tick(REWRITE_AFTER_S)
    assert slots_carried(world) == ["n1", "n2"]
    world.filter_probe()
    world.tick(REWRITE_AFTER_S)
    world.tick(REWRITE_AFTER_S)
    assert written(world) == ["a-driver"]
    world.sound()


def test_not_before_the_first_write_has_had_its_time(world: World) -> None:
    world.tick(REWRITE_AFTER_S - 0.1)
    assert written(world) == []
    world.tick(0.1)
    assert written(world) == ["a-driver"]


def test_a_rewrite_that_is_lost_too_is_repeated_at_the_same_pace(world: World) -> None:
    world.lose_writes = True
    for _ in range(3):
        world.filter_probe()
        world.tick(REWRITE_AFTER_S)
    assert written(world) == ["a-driver"] * 3
    assert slots_carried(world) == ["n1", "n1"]


def test_an_older_write_that_lands_late_is_written_over(world: World) -> None:
    """A write that was given up may land on a newer one."""
    old = world.pods["uid-a-driver"].annotations
    world.tick(REWRITE_AFTER_S)
    world.filter_probe()
    world.change("a-driver", annotations=old)
    assert slots_carried(world) == ["n1", "n1"]
    world.tick(REWRITE_AFTER_S)
    assert slots_carried(world) == ["n1", "n2"]
    assert world.slots("a") == [("n1", ""), ("n2", "a-exec-1")]


def test_a_replica_that_does_not_lead_leaves_it_alone(world: World) -> None:
    world.tick(LEADS_FOR_S)
    assert written(world) == []
    world.filter_probe()
    world.tick()
    assert written(world) == ["a-driver"]


@pytest.mark.parametrize("go", [World.end, World.delete])
def test_a_leader_that_has_gone_is_not_written_to(world: World, go: Callable[[World, str], None]) -> None:
    go(world, "a-driver")
    world.tick(REWRITE_AFTER_S)
    world.tick(REWRITE_AFTER_S)
    assert written(world) == []
