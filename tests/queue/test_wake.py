"""kube-scheduler must be made to ask again for a pod it believes hopeless, and only for such a pod."""

from __future__ import annotations

from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION
from extender.core.leadership import LEADS_FOR_S
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec

POLICY = Policy(hold_ttl_s=60.0, silent_after_s=5.0, dormant_after_s=30.0)


def keep_asking(world: World, seconds: float, *names: str) -> None:
    """Time passes while kube-scheduler asks for these pods every second."""
    for _ in range(round(seconds)):
        world.tick(1.0)
        for name in names:
            world.filter(name)


def probe(world: World) -> None:
    """A pod that is never placed: asking for it shows that our kube-scheduler is the active one."""
    world.pod("probe", requests=size(100))


def test_refused_pods_are_woken_when_a_hold_expires() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.leader("b", spec(3), created_s=world.now + 1)
    world.pod("single")
    assert world.filter("a-driver").node
    assert not world.filter("b-driver").node
    assert not world.filter("single").node
    world.tick(59.0)
    assert world.woken == []
    world.tick(1.0)
    assert {"b-driver", "single"} <= set(world.woken)
    assert world.filter("single").outcome is Outcome.SINGLE_PLACED


def test_a_hold_that_is_bound_wakes_nobody() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.leader("b", spec(3), created_s=world.now + 1)
    world.schedule("a-driver")
    world.filter("b-driver")
    world.tick(120.0)
    assert world.woken == []


def test_a_pod_that_was_placed_or_is_gone_is_not_woken() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.pod("placed")
    world.pod("gone")
    world.leader("a", spec(3))
    world.filter("a-driver")
    assert not world.filter("placed").node
    assert not world.filter("gone").node
    world.add(node("n2", 1))
    assert world.schedule("placed").node == "n2"
    world.delete("gone")
    world.tick(60.0)
    assert set(world.woken) <= {"a-driver"}


def test_a_leader_is_woken_when_its_configuration_arrives() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    leader = world.leader("a", WAIT_FOR_CONFIGURATION)
    assert world.filter("a-driver").outcome is Outcome.WAITING_FOR_CONFIGURATION
    world.configure(leader, spec(3))
    assert world.woken == ["a-driver"]
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_leader_nobody_refused_is_not_woken_by_its_configuration() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    leader = world.leader("a", WAIT_FOR_CONFIGURATION)
    world.configure(leader, spec(3))
    assert world.woken == []


def test_a_configuration_that_arrives_again_wakes_nobody() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    leader = world.leader("a", WAIT_FOR_CONFIGURATION)
    world.filter("a-driver")
    world.configure(leader, spec(9))
    world.configure(leader, spec(9))
    world.configure(leader, WAIT_FOR_CONFIGURATION)
    assert world.woken == ["a-driver"]


def test_a_silent_leader_that_could_start_is_woken_once() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    probe(world)
    world.leader("a", spec(3))
    keep_asking(world, 4, "probe")
    assert world.woken == []
    keep_asking(world, 20, "probe")
    assert world.woken == ["a-driver"]


def test_a_silent_leader_that_cannot_start_is_left_alone() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    probe(world)
    world.foreign("stranger", "n1")
    world.leader("a", spec(3))
    keep_asking(world, 20, "probe")
    assert world.woken == []
    world.delete("stranger")
    keep_asking(world, 2, "probe")
    assert world.woken == ["a-driver"]


def test_a_leader_that_never_reacts_stops_holding_others_up() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("old", spec(3))
    world.leader("young", spec(3), created_s=world.now + 1)
    keep_asking(world, 5 + 29, "young-driver")
    assert world.filter("young-driver").outcome is Outcome.NO_ROOM
    keep_asking(world, 5, "young-driver")
    assert world.filter("young-driver").node
    assert world.woken.count("old-driver") == 1


def test_a_dormant_leader_that_is_asked_for_is_back_in_its_place() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("old", spec(3))
    world.leader("young", spec(3), created_s=world.now + 1)
    keep_asking(world, 40, "young-driver")
    world.delete("young-driver")
    world.leader("third", spec(3), created_s=world.now)
    assert world.filter("old-driver").outcome is Outcome.ADMITTED
    assert world.filter("third-driver").outcome is Outcome.NO_ROOM


def test_a_leader_that_reacts_is_not_put_to_sleep() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    probe(world)
    world.leader("a", spec(3))
    for round_number in range(1, 5):
        keep_asking(world, 10, "probe")
        assert world.woken == ["a-driver"] * round_number
        assert world.filter("a-driver").node
        world.bind("a-driver", "n1", fails=True)


def test_a_leader_that_other_plugins_keep_off_its_node_is_not_woken_again_and_again() -> None:
    """n2 would do, but is not offered; kube-scheduler asks by itself when that changes."""
    world = World(POLICY)
    world.add(node("n1", 1), node("n2", 4))
    probe(world)
    world.leader("a", spec(3, worker=size(1)), requests=size(2))
    assert world.filter("a-driver", ["n1"]).outcome is Outcome.NO_ROOM
    keep_asking(world, 60, "probe")
    assert world.woken == []
    assert world.filter("a-driver", ["n1", "n2"]).node == "n2"


def test_an_extender_that_is_not_asked_wakes_no_silent_leaders() -> None:
    world = World(POLICY)
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    for _ in range(40):
        world.tick(1.0)
    assert world.woken == []
    probe(world)
    world.filter("probe")
    world.tick(LEADS_FOR_S - 1)
    assert world.woken == ["a-driver"]
