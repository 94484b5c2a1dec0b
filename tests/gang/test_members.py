"""Who belongs to a gang, who leads it, and whose room counts."""

from __future__ import annotations

import pytest

from extender.core.events import Synced
from extender.core.facts import GangKey, Role
from extender.core.gangs.spec import SpecProblem
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from tests.gang.world import World, node, size, spec


def test_equal_ids_in_two_namespaces_never_meet() -> None:
    world = World()
    world.add(node("n1", 8))
    for namespace, workers in (("blue", 1), ("red", 2)):
        world.leader("a", spec(workers), namespace=namespace, name=f"{namespace}-driver")
        assert world.schedule(f"{namespace}-driver").outcome is Outcome.ADMITTED
    for namespace, workers in (("blue", 1), ("red", 2)):
        for number in range(workers + 1):
            pod = world.worker("a", number, namespace=namespace, name=f"{namespace}-{number}")
            expected = Outcome.SLOT_TAKEN if number < workers else Outcome.GANG_FULL
            assert world.schedule(pod.name).outcome is expected
    world.delete("blue-driver")
    assert world.slots("a", "blue") == []
    assert world.slots("a", "red") == [("n1", "red-0"), ("n1", "red-1")]
    world.sound()


def test_equal_pod_names_in_two_namespaces_never_meet() -> None:
    world = World()
    world.add(node("n1", 8))
    for namespace in ("blue", "red"):
        world.leader("a", spec(1), namespace=namespace, name="driver", uid=f"driver-{namespace}")
        pod = world.pods[f"driver-{namespace}"]
        decision = world.store.filter(pod, Listed(["n1"]), world.now)
        assert decision.outcome is Outcome.ADMITTED
    assert world.held() == {"n1": 4}


def test_a_second_leader_of_a_gang_gets_nothing_while_the_first_holds_it() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1))
    world.leader("a", spec(1), name="again")
    world.schedule("a-driver")
    assert world.filter("again").outcome is Outcome.LEADER_EXISTS
    assert world.held() == {"n1": 1}
    world.sound()


@pytest.mark.parametrize("how", ["ends", "is deleted"])
def test_a_second_leader_leads_when_the_first_is_gone(how: str) -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1))
    world.leader("a", spec(2), name="again")
    world.schedule("a-driver")
    if how == "ends":
        world.end("a-driver")
    else:
        world.delete("a-driver")
    assert world.schedule("again").outcome is Outcome.ADMITTED
    assert world.slots("a") == [("n1", "")] * 2
    world.sound()


def test_a_second_leader_that_runs_already_takes_over() -> None:
    """Somebody else bound it: what is kept is what a restart would find."""
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(1))
    world.schedule("a-driver")
    world.leader("a", spec(2), name="again")
    world.change("again", node="n1", phase="Running")
    world.delete("a-driver")
    world.tick()
    kept = world.slots("a")
    assert kept == [("n1", "")] * 2
    world.restart()
    assert world.slots("a") == kept
    world.sound()


def test_foreign_pods_take_room() -> None:
    world = World()
    world.add(node("n1", 4))
    world.foreign("stranger", "n1", requests=size(2))
    world.leader("a", spec(2))
    assert world.filter("a-driver").outcome is Outcome.NO_ROOM


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_take_none(phase: str) -> None:
    world = World()
    world.add(node("n1", 4))
    world.foreign("stranger", "n1", requests=size(4))
    world.leader("a", spec(3))
    assert world.filter("a-driver").outcome is not Outcome.ADMITTED
    world.end("stranger", phase)
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_pod_that_is_being_deleted_takes_its_room_until_it_is_gone() -> None:
    world = World()
    world.add(node("n1", 4))
    world.foreign("stranger", "n1", requests=size(4))
    world.change("stranger", deleting=True)
    world.leader("a", spec(3))
    assert world.filter("a-driver", ["n1"]).outcome is Outcome.NO_ROOM
    world.delete("stranger")
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_foreign_pods_on_unknown_nodes_do_no_harm() -> None:
    world = World()
    world.foreign("stranger", "later", requests=size(3))
    world.leader("a", spec(1))
    assert world.filter("a-driver", ["later"]).outcome is Outcome.EXCEEDS_CLUSTER
    world.add(node("later", 4))
    assert world.filter("a-driver", ["later"]).outcome is Outcome.NO_ROOM
    world.delete("stranger")
    assert world.filter("a-driver", ["later"]).outcome is Outcome.ADMITTED


def test_a_resized_pod_takes_its_new_size() -> None:
    world = World()
    world.add(node("n1", 4))
    world.foreign("stranger", "n1", requests=size(1))
    world.change("stranger", requests=size(3))
    world.leader("a", spec(1))
    assert world.filter("a-driver", ["n1"]).outcome is Outcome.NO_ROOM
    world.sound()


def test_single_pods_use_free_unreserved_room() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.pod("one")
    world.pod("two")
    assert world.schedule("one").outcome is Outcome.SINGLE_PLACED
    assert world.schedule("two").outcome is Outcome.NO_ROOM
    world.sound()


def test_a_gang_of_any_pods_works_as_spark_does() -> None:
    """Nothing in the core knows the words driver and executor."""
    world = World()
    world.add(node("n1", 4))
    key = GangKey("ns", "training")
    leader = world.pod("rank-0", role=Role.LEADER, gang=key)
    world.configure(leader, spec(2))
    assert world.schedule("rank-0").outcome is Outcome.ADMITTED
    for rank in ("rank-1", "rank-2"):
        world.pod(rank, role=Role.WORKER, gang=key)
        assert world.schedule(rank).outcome is Outcome.SLOT_TAKEN
    world.sound()


def test_a_gated_leader_waits_outside_the_queue() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(4), gated=True)
    world.leader("b", spec(3), created_s=world.now + 1)
    assert len(world.store.waiting) == 1
    assert world.schedule("b-driver").outcome is Outcome.ADMITTED
    world.delete("b-driver")
    world.change("a-driver", gated=False)
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER


def test_a_leader_deleted_while_it_holds_room_gives_everything_back() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.filter("a-driver")
    world.delete("a-driver")
    assert world.held() == {}
    assert world.store.state.gangs == {}
    world.sound()


def test_a_leader_being_deleted_before_it_was_bound_gives_everything_back() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.filter("a-driver")
    world.change("a-driver", deleting=True)
    assert world.held() == {}
    world.sound()


def test_executors_outlive_their_leader_as_used_room() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(2))
    world.run("a", 2)
    world.delete("a-driver")
    world.leader("b", spec(2))
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    world.delete("a-exec-1")
    assert world.filter("b-driver").outcome is Outcome.ADMITTED
    world.sound()


def test_a_pod_that_is_gone_is_refused() -> None:
    world = World()
    world.add(node("n1", 4))
    pod = world.leader("a", spec(1))
    world.delete("a-driver")
    decision = world.store.filter(pod, Listed(["n1"]), world.now)
    assert decision.outcome is Outcome.POD_GONE
    assert world.held() == {}
    assert world.store.bind(pod.uid, "n1", world.now).error


def test_a_pod_known_to_kube_scheduler_before_our_watch_is_judged() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(1), seen=False)
    assert world.schedule("a-driver").outcome is Outcome.ADMITTED
    world.sound()


def test_a_pod_that_the_watch_never_confirms_is_forgotten() -> None:
    world = World()
    world.add(node("n1", 4))
    world.pod("ghost", seen=False)
    assert world.filter("ghost").node
    world.tick(world.policy.hold_ttl_s)
    assert world.held() == {}
    assert world.store.state.pods == {}


def test_a_pod_that_the_watch_confirms_late_is_judged_again() -> None:
    """The watch was cut for longer than a hold is believed."""
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(1), seen=False)
    assert world.filter("a-driver").node
    world.tick(world.policy.hold_ttl_s)
    assert world.held() == {}
    world.see("uid-a-driver")
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_pod_bound_while_the_watch_is_cut_keeps_its_room() -> None:
    world = World()
    world.add(node("n1", 2))
    world.leader("a", spec(1), seen=False)
    assert world.bind("a-driver", world.filter("a-driver").node, seen=False) == ""
    world.tick(world.policy.hold_ttl_s)
    world.pod("single")
    assert world.filter("single", ["n1"]).outcome is Outcome.NO_ROOM
    world.sound()


def test_an_unreadable_request_is_refused_with_its_reason() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", SpecProblem(Outcome.INVALID_REQUEST, "key=value is wrong; write another"))
    decision = world.filter("a-driver")
    assert decision.outcome is Outcome.INVALID_REQUEST
    assert "key=value is wrong; write another" in decision.reason


def test_a_node_that_is_gone_offers_nothing() -> None:
    world = World()
    world.add(node("n1", 4), node("n2", 1))
    world.leader("a", spec(2))
    world.remove_node("n1")
    assert world.filter("a-driver", ["n1", "n2"]).outcome is Outcome.EXCEEDS_CLUSTER


def test_a_pod_bound_while_the_watch_was_cut_is_forgotten_if_no_list_has_it() -> None:
    world = World()
    world.add(node("n1", 2))
    world.pod("brief", seen=False)
    assert world.bind("brief", world.filter("brief").node, seen=False) == ""
    del world.pods["uid-brief"]
    world.tell(Synced())
    world.now += 2 * world.policy.hold_ttl_s  # the list of that moment may have been older than the Binding
    world.tell(Synced())
    world.leader("a", spec(1))
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_a_pod_that_a_restored_api_server_brings_back_is_judged_again() -> None:
    world = World()
    world.add(node("n1", 2))
    pod = world.leader("a", spec(1))
    world.delete("a-driver")
    world.pods[pod.uid] = pod
    world.see(pod.uid)
    assert world.filter("a-driver").outcome is Outcome.ADMITTED
    world.sound()


def test_a_pod_of_a_third_role_is_refused_with_the_reason() -> None:
    world = World()
    world.add(node("n1", 8))
    world.pod("monitor", label_problem="carbon-scheduler/role=monitor: use leader or worker")
    decision = world.filter("monitor")
    assert decision.outcome is Outcome.INVALID_REQUEST
    assert "role=monitor" in decision.reason
    assert not world.store.state.gangs
