"""A leader that was started again, whose workers still run, takes its place beside them."""

from __future__ import annotations

import pytest

from extender.core.facts import OwnerRef
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from tests.gang.world import World, node, size, spec


def with_running_workers(running: int, cpu: int = 4, **policy: object) -> World:
    """A gang of three whose leader is gone; the node is full but for what the leader used."""
    world = World(Policy(**policy))  # type: ignore[arg-type]
    world.add(node("n1", cpu))
    world.leader("g", spec(3))
    world.run("g", 3)
    world.delete("g-driver")
    for number in range(running + 1, 4):
        world.delete(f"g-exec-{number}")
    world.leader("g", spec(3), name="again")
    return world


@pytest.mark.parametrize("fifo", [FifoMode.STRICT, FifoMode.BACKFILL, FifoMode.OFF])
def test_it_needs_room_for_itself_only(fifo: FifoMode) -> None:
    world = with_running_workers(3, fifo=fifo)
    assert world.schedule("again").outcome is Outcome.ADMITTED
    assert {pod for _, pod in world.slots("g")} == {"g-exec-1", "g-exec-2", "g-exec-3"}
    assert world.held() == {}
    world.sound()
    world.restart()
    assert {pod for _, pod in world.slots("g")} == {"g-exec-1", "g-exec-2", "g-exec-3"}


def test_and_for_the_workers_that_do_not_run() -> None:
    world = with_running_workers(1)
    world.foreign("other", "n1", requests=size(1))
    assert world.filter("again").outcome is Outcome.NO_ROOM
    world.delete("other")
    assert world.schedule("again").outcome is Outcome.ADMITTED
    assert world.held() == {"n1": 2}
    world.sound()


def test_another_gang_of_the_same_shape_is_not_taken_for_it() -> None:
    world = with_running_workers(3)
    world.leader("h", spec(3))
    assert world.filter("h-driver").outcome is not Outcome.ADMITTED
    assert world.schedule("again").outcome is Outcome.ADMITTED


def test_workers_that_are_being_deleted_are_not_counted_on() -> None:
    world = with_running_workers(3, cpu=4)
    world.change("g-exec-3", deleting=True)
    assert world.filter("again").outcome is Outcome.NO_ROOM


def test_workers_of_the_earlier_job_are_not_counted_on() -> None:
    world = World()
    world.add(node("n1", 4))
    for number in (1, 2, 3):
        world.worker("g", number, node="n1", phase="Running", owner_ref=OwnerRef("Job", "train", "before"))
    world.leader("g", spec(3), owner_ref=OwnerRef("Job", "train", "now"))
    assert world.filter("g-driver").outcome is Outcome.NO_ROOM


def test_a_spark_driver_does_not_count_on_executors_of_another() -> None:
    world = World()
    world.add(node("n1", 4))
    first = world.leader("a", spec(3), name="first")
    world.schedule("first")
    for number in (1, 2, 3):
        world.worker("a", number, leader_optional=True, owner_ref=OwnerRef("Pod", "first", first.uid))
        world.schedule(f"a-exec-{number}")
    world.delete("first")
    world.leader("a", spec(3), name="second")
    assert world.filter("second").outcome is Outcome.NO_ROOM
