"""bind: one Binding a pod, with the reservation in it; what is not bound is given back."""

from __future__ import annotations

import pytest

from extender.core.facts import GangKey
from extender.core.gangs.reservation import RESERVATION, decode
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec


def admitted(workers: int = 2, *cores: int) -> World:
    """Gang `a`, held and not bound."""
    world = World(Policy(packer="tightly-pack"))
    world.add(*(node(f"n{number}", amount) for number, amount in enumerate(cores or (4,), 1)))
    world.leader("a", spec(workers))
    assert world.filter("a-driver").node == "n1"
    return world


def test_the_binding_carries_the_reservation() -> None:
    world = admitted(2, 2, 8)
    decision = world.store.bind("uid-a-driver", "n1", world.now)
    reservation = decode(decision.annotations[RESERVATION])
    assert reservation is not None
    assert reservation.nodes == ("n1", "n2")
    assert (reservation.min_workers, reservation.worker) == (2, size())


def test_workers_bindings_carry_nothing() -> None:
    world = admitted()
    world.bind("a-driver", "n1")
    world.worker("a", 1)
    world.filter("a-exec-1")
    decision = world.store.bind("uid-a-exec-1", "n1", world.now)
    assert (decision.error, dict(decision.annotations)) == ("", {})


def test_bind_may_come_twice() -> None:
    world = admitted()
    first = world.store.bind("uid-a-driver", "n1", world.now)
    assert world.store.bind("uid-a-driver", "n1", world.now) == first
    assert world.bind("a-driver", "n1") == ""
    assert world.store.bind("uid-a-driver", "n1", world.now).already_bound
    world.sound()


def test_a_bound_pod_is_not_bound_elsewhere() -> None:
    world = admitted(1, 8, 8)
    world.bind("a-driver", "n1")
    assert "bound to n1 already" in world.store.bind("uid-a-driver", "n2", world.now).error
    world.sound()


def test_a_pod_nobody_knows_is_not_bound() -> None:
    world = admitted()
    assert "not known" in world.store.bind("uid-of-nobody", "n1", world.now).error


def test_bind_to_another_node_is_judged_anew() -> None:
    world = admitted(2, 8, 8)
    assert world.bind("a-driver", "n2") == ""
    assert world.node_of("a-driver") == "n2"
    world.sound()


def test_bind_to_another_node_without_room_is_refused() -> None:
    world = admitted(2, 8, 8)
    world.foreign("stranger", "n2", requests=size(8))
    error = world.bind("a-driver", "n2")
    assert "no room is reserved for the pod on n2" in error
    assert "no-room" in error
    world.sound()


def test_bind_to_another_node_while_a_binding_is_written_is_refused() -> None:
    world = admitted(2, 8, 8)
    assert world.store.bind("uid-a-driver", "n1", world.now).error == ""
    assert world.store.bind("uid-a-driver", "n2", world.now).error
    assert world.store.state.claims["uid-a-driver"].row == world.store.state.nodes.row_of["n1"]


def test_bind_to_a_node_nobody_knows_is_refused() -> None:
    world = admitted()
    assert world.bind("a-driver", "unheard-of")
    world.sound()


def test_a_failed_bind_gives_the_whole_gang_back() -> None:
    world = admitted(3)
    world.pod("single")
    assert world.filter("single").outcome is Outcome.NO_ROOM
    world.bind("a-driver", "n1", fails=True)
    assert world.held() == {}
    assert world.filter("single").outcome is Outcome.SINGLE_PLACED
    world.sound()


def test_a_gang_whose_bind_failed_waits_at_its_old_place() -> None:
    world = admitted(3)
    world.leader("b", spec(3), created_s=world.now + 1)
    world.bind("a-driver", "n1", fails=True)
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED


def test_a_workers_failed_bind_opens_its_slot() -> None:
    world = admitted(1)
    world.bind("a-driver", "n1")
    world.worker("a", 1)
    world.filter("a-exec-1")
    assert world.slots("a") == [("n1", "a-exec-1")]
    world.bind("a-exec-1", "n1", fails=True)
    assert world.slots("a") == [("n1", "")]
    assert world.held() == {"n1": 1}
    world.sound()


def test_a_hold_without_bind_expires() -> None:
    world = admitted(3)
    world.tick(world.policy.hold_ttl_s - 1)
    assert world.held() == {"n1": 4}
    world.tick(1)
    assert world.held() == {}
    world.sound()


def test_asking_again_renews_a_hold() -> None:
    world = admitted(3)
    world.tick(world.policy.hold_ttl_s - 1)
    world.filter("a-driver")
    world.tick(world.policy.hold_ttl_s - 1)
    assert world.held() == {"n1": 4}


def test_a_hold_does_not_expire_while_its_binding_is_written() -> None:
    world = admitted(3)
    world.store.bind("uid-a-driver", "n1", world.now)
    world.tick(10 * world.policy.hold_ttl_s)
    assert world.held() == {"n1": 4}


def test_a_late_bind_is_admitted_again_if_there_is_room() -> None:
    world = admitted(3)
    world.tick(world.policy.hold_ttl_s)
    assert world.bind("a-driver", "n1") == ""
    assert world.slots("a") == [("n1", "")] * 3
    world.sound()


def test_a_late_bind_is_refused_if_the_room_is_gone() -> None:
    world = admitted(3)
    world.tick(world.policy.hold_ttl_s)
    world.foreign("stranger", "n1")
    assert "no room is reserved" in world.bind("a-driver", "n1")
    assert world.node_of("a-driver") == ""
    assert world.held() == {}


def test_a_late_bind_does_not_overtake() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("young", spec(1), created_s=world.now + 1)
    world.filter("young-driver")
    world.leader("old", spec(3))
    world.tick(world.policy.hold_ttl_s)
    assert "no-room" in world.bind("young-driver", "n1")
    assert world.schedule("old-driver").outcome is Outcome.ADMITTED


def test_an_event_from_before_the_binding_does_not_unbind() -> None:
    world = admitted(2)
    before = world.pods["uid-a-driver"]
    assert world.bind("a-driver", "n1", seen=False) == ""
    after = world.pods["uid-a-driver"]
    world.pods["uid-a-driver"] = before
    world.see("uid-a-driver")
    assert world.store.bind("uid-a-driver", "n1", world.now).already_bound
    world.pods["uid-a-driver"] = after
    world.see("uid-a-driver")
    assert world.slots("a") == [("n1", "")] * 2
    world.sound()


@pytest.mark.parametrize(("seen", "told"), [(True, True), (True, False), (False, True)])
def test_a_binding_is_noticed_by_its_answer_or_by_the_watch(seen: bool, told: bool) -> None:
    world = admitted(2)
    assert world.bind("a-driver", "n1", seen=seen, told=told) == ""
    world.tick(2 * world.policy.hold_ttl_s)
    assert world.held() == {"n1": 2}
    assert world.store.state.claims == {}
    world.sound()


def test_a_pod_that_others_bound_elsewhere_is_accounted_where_it_is() -> None:
    world = admitted(1, 8, 8)
    world.change("a-driver", node="n2")
    table = world.store.state.nodes
    assert table.used[0, table.row_of["n2"]] == 1_000
    assert world.store.state.gangs[GangKey("ns", "a")].owner_uid == "uid-a-driver"
    world.sound()


def test_a_slots_claim_that_others_bound_elsewhere_keeps_its_slot() -> None:
    world = admitted(1, 8, 8)
    world.bind("a-driver", "n1")
    world.worker("a", 1)
    world.filter("a-exec-1")
    world.change("a-exec-1", node="n2")
    assert world.slots("a") == [("n2", "a-exec-1")]
    assert world.held() == {}
    world.sound()


def owed(other: int = 1) -> tuple[World, str]:
    """A gang held on two nodes; where its driver is not, a foreign pod has taken the worker's room."""
    world = World(Policy())
    world.add(node("n0", 2, 8), node("n1", other, 8))
    world.leader("a", spec(2))
    decision = world.filter("a-driver")
    away = next(name for name, _ in world.slots("a") if name != decision.node)
    world.foreign("stranger", away, requests=size(other))
    return world, decision.node


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_driver_is_not_bound_when_a_slot_of_its_gang_has_no_room_any_more(seconds: int) -> None:
    world, on = owed()
    if seconds:
        world.tick(seconds)
    error = world.bind("a-driver", on)
    assert "is gone" in error or "no room is reserved" in error
    assert world.held() == {}
    assert world.filter("a-driver").outcome is Outcome.NO_ROOM
    world.sound()


def test_a_refused_driver_is_planned_again_and_starts_when_there_is_room() -> None:
    world, on = owed()
    assert world.bind("a-driver", on)
    world.add(node("n2", 4))
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    world.sound()


def test_a_slot_that_lost_its_room_moves_and_the_binding_says_where() -> None:
    world = World(Policy())
    world.add(node("n0", 2, 8), node("n1", 1, 8))
    world.leader("a", spec(2))
    on = world.filter("a-driver").node
    away = next(name for name, _ in world.slots("a") if name != on)
    world.add(node("n2", 4))
    world.foreign("stranger", away, requests=size(1))
    decision = world.store.bind(world.uid("a-driver"), on, world.now)
    reservation = decode(decision.annotations[RESERVATION])
    assert reservation is not None
    assert "n2" in reservation.nodes
    assert world.node_of("stranger") == away
    assert reservation.nodes.count(away) < 2
    world.sound()


def test_a_pod_is_not_bound_to_a_node_that_was_filled_or_closed_since_filter() -> None:
    world = admitted(1, 8, 8)
    world.foreign("stranger", "n1", requests=size(8))
    assert "n1 is no longer free" in world.bind("a-driver", "n1")
    assert world.filter("a-driver").node == "n2"
    world.add(node("n2", 8, unschedulable=True))
    assert "n2 is no longer free" in world.bind("a-driver", "n2")
    assert world.held() == {}
