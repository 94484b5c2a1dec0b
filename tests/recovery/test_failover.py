"""Two kube-scheduler + extender pairs on one watch: one is asked, the other follows and takes over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from extender.core.gangs.reservation import RESERVATION
from extender.core.invariants import snapshot, violations
from extender.core.leadership import LEADS_FOR_S
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec

POLICY = Policy(packer="tightly-pack")


def pair(*cores: int) -> World:
    """Two extenders, gang `a` of three workers waiting."""
    world = World(POLICY)
    world.add(*(node(f"n{number}", amount) for number, amount in enumerate(cores or (2, 3), 1)))
    world.start_standby()
    world.leader("a", spec(3))
    return world


def sound(world: World) -> None:
    """Neither extender breaks an invariant."""
    world.sound()
    assert world.standby is not None
    assert violations(world.standby.state) == []


def agree(world: World) -> None:
    """Both extenders know the same."""
    assert world.standby is not None
    assert snapshot(world.store.state) == snapshot(world.standby.state)


# -- the steps of an admission -----------------------------------------------------------------


def nothing_asked(world: World) -> None:
    """Before filter."""


def held(world: World) -> None:
    assert world.filter("a-driver").node == "n1"


def prepared(world: World) -> None:
    held(world)
    assert not world.store.bind("uid-a-driver", "n1", world.now).error


def written(world: World) -> None:
    """The watch is late for both."""
    held(world)
    assert world.bind("a-driver", "n1", seen=False, told=False) == ""


def seen(world: World) -> None:
    held(world)
    assert world.bind("a-driver", "n1") == ""


def one_worker(world: World) -> None:
    seen(world)
    world.worker("a", 1)
    world.schedule("a-exec-1")


def one_worker_held(world: World) -> None:
    seen(world)
    world.worker("a", 1)
    world.filter("a-exec-1")


def one_worker_lost(world: World) -> None:
    one_worker(world)
    world.delete("a-exec-1")


def one_worker_moved(world: World) -> None:
    seen(world)
    world.add(node("n3", 3))
    world.worker("a", 1)
    assert world.bind("a-exec-1", world.filter("a-exec-1", ["n3"]).node) == ""
    world.tick()


def node_lost(world: World) -> None:
    seen(world)
    world.filter("a-driver")
    world.add(node("n3", 3))
    world.remove_node("n2")
    world.tick()


STEPS: list[Callable[[World], None]] = [
    nothing_asked,
    held,
    prepared,
    written,
    seen,
    one_worker_held,
    one_worker,
    one_worker_lost,
    one_worker_moved,
    node_lost,
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_the_other_one_goes_on(step: Callable[[World], None]) -> None:
    world = pair()
    step(world)
    world.fail_over()
    for uid in list(world.pods):
        world.see(uid)  # the watch catches up
    if not world.node_of("a-driver"):
        assert world.schedule("a-driver").node
    number = 10
    while len([pod for pod in world.pods.values() if pod.role == "worker" and pod.occupies]) < 3:
        waiting = [pod.name for pod in world.pods.values() if pod.role == "worker" and pod.waiting]
        number += 1
        name = waiting[0] if waiting else world.worker("a", number).name
        assert world.schedule(name).node, world.filter(name).reason
        sound(world)
    assert len({pod for _, pod in world.slots("a")} - {""}) == 3
    world.tick(POLICY.hold_ttl_s)
    assert world.held() == {}
    assert world.held(by=world.standby) == {}
    agree(world)


@pytest.mark.parametrize("step", STEPS[4:], ids=lambda step: step.__name__)
def test_the_one_that_follows_knows_the_same(step: Callable[[World], None]) -> None:
    world = pair()
    step(world)
    if step is one_worker_held:
        world.tick(POLICY.hold_ttl_s)  # tentative holds are not shared
    sound(world)
    agree(world)


def test_a_hold_of_the_one_is_not_known_to_the_other_until_the_binding() -> None:
    world = pair()
    held(world)
    assert world.held(by=world.standby) == {}
    world.bind("a-driver", "n1")
    assert world.held(by=world.standby) == world.held() == {"n1": 1, "n2": 2}


def test_a_hold_of_the_one_gives_way_to_the_binding_of_the_other() -> None:
    """The one that was asked first believed in other slots."""
    world = pair(4, 4)
    held(world)
    assert world.held() == {"n1": 4}
    world.fail_over()
    assert world.filter("a-driver", ["n2"]).node == "n2"
    assert world.bind("a-driver", "n2") == ""
    assert world.slots("a") == world.slots("a", by=world.standby)
    sound(world)
    agree(world)


def test_a_hold_on_the_same_node_gives_way_to_other_slots() -> None:
    world = pair(2, 3, 3)
    held(world)
    assert [where for where, _ in world.slots("a")] == ["n1", "n2", "n2"]
    assert world.standby is not None
    world.fail_over()
    world.foreign("stranger", "n2", requests=size(2))
    assert world.filter("a-driver", ["n1"]).node == "n1"
    assert world.bind("a-driver", "n1") == ""
    agree(world)
    sound(world)


def test_slots_moved_by_the_one_are_moved_for_the_other() -> None:
    world = pair()
    seen(world)
    node_lost_on = world.slots("a")
    assert ("n2", "") in node_lost_on
    world.filter("a-driver")
    world.add(node("n3", 3))
    world.remove_node("n2")
    world.tick()
    assert ("n3", "") in world.slots("a")
    agree(world)
    assert RESERVATION in world.pods["uid-a-driver"].annotations
    assert "n3" in world.pods["uid-a-driver"].annotations[RESERVATION]


def test_an_unreserved_leader_is_rebuilt_alike_by_both() -> None:
    world = pair(4, 4)
    world.change("a-driver", node="n1", phase="Running")
    world.pod("probe", requests=size(100))
    world.filter("probe")
    world.tick()
    sound(world)
    agree(world)


def test_only_the_one_that_is_asked_writes() -> None:
    world = pair()
    node_lost(world)
    world.fail_over()
    world.filter("a-driver")
    world.add(node("n4", 3))
    world.add(node("n3", 3, unschedulable=True))
    world.tick()
    assert world.writes
    assert {by for by, _ in world.writes} == {"asked"}


def test_the_one_that_is_no_longer_asked_stops_writing() -> None:
    world = pair()
    seen(world)
    world.fail_over()
    world.tick(LEADS_FOR_S)
    world.filter("a-driver")
    world.writes.clear()
    world.add(node("n3", 3))
    world.remove_node("n2")
    world.tick()
    assert [by for by, _ in world.writes] == ["asked"]


def test_nobody_is_written_to_while_nobody_is_asked() -> None:
    world = pair()
    seen(world)
    world.tick(LEADS_FOR_S)
    world.writes.clear()
    world.add(node("n3", 3))
    world.remove_node("n2")
    for _ in range(20):
        world.tick(5.0)
    assert world.writes == []
    world.filter("a-driver")
    world.tick()
    assert [instruction.name for _, instruction in world.writes] == ["a-driver"]


def test_a_failed_over_queue_keeps_its_order() -> None:
    world = pair(4)
    world.leader("b", spec(1), created_s=world.now + 1)
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    world.fail_over()
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_failing_over_and_back_doubles_nothing() -> None:
    world = pair()
    seen(world)
    for number in range(1, 4):
        world.fail_over()
        world.worker("a", number)
        assert world.schedule(f"a-exec-{number}").outcome is Outcome.SLOT_TAKEN
        sound(world)
        agree(world)
    assert len({pod for _, pod in world.slots("a")}) == 3


def test_a_binding_that_was_given_up_and_happened_after_all_counts_as_written() -> None:
    """The answer was lost, the hold expired, the gang was new plan; then the watch shows the Binding."""
    world = pair(2, 3, 3)
    assert world.standby is not None
    held(world)
    first = world.store.bind("uid-a-driver", "n1", world.now).annotations
    world.store.state.claims["uid-a-driver"].binding = False
    world.tick(POLICY.hold_ttl_s)
    world.foreign("stranger", "n2", requests=size(2))
    assert world.filter("a-driver", ["n1"]).node == "n1"
    assert [where for where, _ in world.slots("a")] != ["n1", "n2", "n2"]
    world.delete("stranger")
    world.change("a-driver", node="n1", annotations=first)
    assert [where for where, _ in world.slots("a")] == ["n1", "n2", "n2"]
    sound(world)
    agree(world)


def test_a_deposed_replica_gives_up_what_it_promised_and_writes_nothing() -> None:
    """Its kube-scheduler lost the lease while a gang was answered but not bound."""
    world = World()
    world.add(node("n1", 4))
    world.leader("x", spec(3))
    world.start_standby()
    assert world.filter("x-driver").node == "n1"
    deposed = world.store
    world.fail_over()
    world.leader("y", spec(3), priority=10)
    assert world.schedule("y-driver").node == "n1"
    assert not deposed.state.claims
    assert not deposed.leadership.leads(world.now)
    for store in (deposed, world.store):
        assert [name for name, _ in world.slots("y", by=store)] == ["n1"] * 3
    world.tick()
    assert not world.writes
    world.sound()
