"""Room that evictions make for a nominated pod is that pod's, by priority, whoever nominated it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from tests.gang.world import World, node, size, spec


def nominated(world: World, on: str, cpu: int = 2, priority: int = 1_000, **fields: object) -> None:
    fields = {"name": "vip", "scheduler_name": "default-scheduler", **fields}
    world.pod(requests=size(cpu), nominated=on, priority=priority, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("priority", "kept"), [(1_000, True), (0, True), (-5, False)])
@pytest.mark.parametrize("scheduler", ["default-scheduler", "carbon-scheduler"])
def test_single_pods_leave_it_alone_by_priority(priority: int, kept: bool, scheduler: str) -> None:
    """Equal priority counts too, as in kube-scheduler."""
    world = World()
    world.add(node("n1", 2))
    nominated(world, "n1", priority=priority, scheduler_name=scheduler)
    world.pod("single")
    assert (world.filter("single").outcome is Outcome.NO_ROOM) is kept


def test_a_nominated_pod_of_ours_may_use_its_own_room() -> None:
    world = World()
    world.add(node("n1", 2))
    nominated(world, "n1", scheduler_name="carbon-scheduler")
    assert world.schedule("vip").outcome is Outcome.SINGLE_PLACED
    assert not world.store.state.nominations
    world.sound()


@pytest.mark.parametrize("fifo", list(FifoMode))
def test_gangs_leave_it_alone_by_priority_in_every_mode(fifo: FifoMode) -> None:
    world = World(Policy(fifo=fifo))
    world.add(node("n1", 4))
    nominated(world, "n1", cpu=3, priority=10)
    world.leader("low", spec(1))
    world.leader("high", spec(1), priority=100)
    assert world.filter("low-driver").outcome is not Outcome.ADMITTED
    assert world.schedule("high-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("fifo", [FifoMode.STRICT, FifoMode.BACKFILL, FifoMode.OFF])
def test_a_nominated_leader_takes_the_room_that_was_made_for_it(fifo: FifoMode) -> None:
    """It was refused, preempted, and comes again; another gang of its shape came before it."""
    world = World(Policy(fifo=fifo))
    world.add(node("n1", 4), node("n2", 1))
    world.leader("small", spec(0), requests=size(3))
    world.leader("vip", spec(1), requests=size(3), nominated="n1", priority=5)
    assert world.filter("small-driver").outcome is not Outcome.ADMITTED
    assert world.schedule("vip-driver").outcome is Outcome.ADMITTED
    world.sound()


def test_a_slot_on_that_node_is_not_used_and_moves_where_there_is_room() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3), node("n2", 4))
    world.leader("a", spec(2))
    assert world.schedule("a-driver").node == "n1"
    assert world.held() == {"n1": 2}
    nominated(world, "n1", cpu=2)
    world.worker("a", 1)
    assert world.filter("a-exec-1").node == "n2"
    world.tick()
    assert world.slots("a") == [("n2", ""), ("n2", "a-exec-1")]
    world.sound()


def test_a_slot_without_other_room_is_owed_and_comes_back_when_the_pod_is_gone() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    nominated(world, "n1", cpu=2)
    world.tick()
    assert world.held() == {}
    world.worker("a", 1)
    assert world.filter("a-exec-1").outcome is Outcome.NO_ROOM
    world.delete("vip")
    world.tick()
    assert world.held() == {"n1": 2}
    assert world.schedule("a-exec-1").outcome is Outcome.SLOT_TAKEN
    world.sound()


@pytest.mark.parametrize(
    "how", ["bound elsewhere", "nominated elsewhere", "not nominated", "deleted", "deleting"]
)
def test_the_promise_ends_with_the_nomination(how: str) -> None:
    world = World()
    world.add(node("n1", 2), node("n2", 2))
    nominated(world, "n1")
    world.pod("single", requests=size(2))
    if how == "bound elsewhere":
        world.change("vip", node="n2", phase="Running")
    elif how == "nominated elsewhere":
        world.change("vip", nominated="n2")
    elif how == "not nominated":
        world.change("vip", nominated="")
    elif how == "deleted":
        world.delete("vip")
    else:
        world.change("vip", deleting=True)
    assert world.filter("single").node == "n1"


def test_it_is_known_after_a_restart() -> None:
    world = World()
    world.add(node("n1", 2))
    nominated(world, "n1")
    world.restart()
    world.pod("single")
    assert world.filter("single").outcome is Outcome.NO_ROOM


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-2, 2), st.sampled_from(["n1", "n2"])), max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 2)), min_size=1, max_size=6),
)
def test_no_admitted_pod_takes_room_that_a_pod_of_its_priority_or_above_waits_for(
    promised: list[tuple[int, int, str]], gangs: list[tuple[int, int]]
) -> None:
    world = World(Policy(fifo=FifoMode.BACKFILL))
    world.add(node("n1", 6), node("n2", 5))
    for number, (cpu, priority, on) in enumerate(promised):
        nominated(world, on, cpu, priority, name=f"vip-{number}")
    table = world.store.state.nodes
    for number, (workers, priority) in enumerate(gangs):
        world.leader(f"g{number}", spec(workers), priority=priority)
    for number, (_, priority) in enumerate(gangs):
        before = table.free[0].copy()
        if world.filter(f"g{number}-driver").outcome is not Outcome.ADMITTED:
            continue
        for name in ("n1", "n2"):
            row = table.row_of[name]
            kept = 1_000 * sum(cpu for cpu, above, on in promised if on == name and above >= priority)
            assert table.free[0, row] == before[row] or table.free[0, row] >= kept
        world.sound()
