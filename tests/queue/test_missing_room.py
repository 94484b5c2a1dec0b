"""What gangs that wait for room request beyond what is free: the figure for those who add nodes."""

from __future__ import annotations

from extender.core.nodes.resources import CPU, PODS
from extender.core.queries import missing_room
from tests.gang.world import World, node, size, spec


def test_gangs_that_wait_for_room_count_once_they_were_refused() -> None:
    world = World()
    world.add(node("n1", 8))
    assert missing_room(world.store)[CPU] == 0
    world.leader("a", spec(6))
    world.schedule("a-driver")
    for name, workers in (("b", 2), ("c", 3)):
        world.leader(name, spec(workers, worker=size(2)))
    assert missing_room(world.store)[CPU] == 0, "nobody was refused yet"
    world.filter("b-driver")
    world.filter("c-driver")
    missing = missing_room(world.store)
    assert missing[CPU] == (1 + 4 + 1 + 6 - 1) * 1000
    assert missing[PODS] == 0
    world.add(node("n2", 8))
    assert missing_room(world.store)[CPU] == 3_000
    world.schedule("b-driver")
    assert missing_room(world.store)[CPU] == 3_000, "what is held is not free"
    world.delete("c-driver")
    assert missing_room(world.store)[CPU] == 0
