"""Where workers go: their slot, their slot moved, or free room above the gang's minimum."""

from __future__ import annotations

from dataclasses import replace

import pytest

from extender.core.facts import GangKey
from extender.core.nodes.resources import CPU
from extender.core.nodes.terms import NodeTerm, PlacementTerms, Requirement, Taint, Toleration
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, size, spec


def running(workers: int, most: int | None = None, *nodes: int, policy: Policy | None = None) -> World:
    """Gang `a` with all its minimum workers, on nodes n1.. with so many cores."""
    world = World(policy or Policy(packer="tightly-pack"))
    world.add(*(node(f"n{number}", cores) for number, cores in enumerate(nodes or (8,), 1)))
    world.leader("a", spec(workers, most))
    world.run("a", workers)
    return world


def test_workers_take_the_slots_held_for_them() -> None:
    world = running(2)
    assert world.slots("a") == [("n1", "a-exec-1"), ("n1", "a-exec-2")]
    assert world.held() == {}
    world.sound()


def test_a_worker_asked_for_again_keeps_its_slot() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.worker("a", 1)
    assert world.filter("a-exec-1").outcome is Outcome.SLOT_TAKEN
    assert world.filter("a-exec-1").outcome is Outcome.ALREADY_ADMITTED
    assert world.held() == {"n1": 2}


def test_a_lost_worker_leaves_its_slot_to_the_next() -> None:
    world = running(2)
    for number, loss in enumerate(
        (lambda: world.delete("a-exec-1"), lambda: world.end("a-exec-2", "Failed")), 3
    ):
        loss()
        assert world.held() == {"n1": 1}
        world.worker("a", number)
        assert world.schedule(f"a-exec-{number}").outcome is Outcome.SLOT_TAKEN
    assert world.slots("a") == [("n1", "a-exec-3"), ("n1", "a-exec-4")]
    world.sound()


def test_a_lost_workers_slot_is_not_given_to_others() -> None:
    world = running(3, 3, 4)
    world.delete("a-exec-2")
    world.pod("single")
    assert world.filter("single").outcome is Outcome.NO_ROOM
    world.leader("b", spec(0))
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM


def test_a_slot_moves_when_its_node_is_not_offered() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    assert world.held() == {"n1": 2}
    world.worker("a", 1)
    decision = world.filter("a-exec-1", ["n2"])
    assert (decision.outcome, decision.node) == (Outcome.SLOT_MOVED, "n2")
    assert world.held() == {"n1": 1, "n2": 1}
    world.sound()


def test_a_moved_slot_is_written_down() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.worker("a", 1)
    decision = world.filter("a-exec-1", ["n2"])
    assert world.bind("a-exec-1", decision.node) == ""
    world.tick()
    world.restart()
    assert world.slots("a") == [("n1", ""), ("n2", "a-exec-1")]


def test_slots_of_a_lost_node_are_planned_elsewhere() -> None:
    world = running(3, 3, 4, 8)
    assert [where for where, _ in world.slots("a")] == ["n1"] * 3
    world.remove_node("n1")
    for number in (1, 2, 3):
        world.delete(f"a-exec-{number}")
    world.tick()
    assert world.slots("a") == [("n2", "")] * 3
    assert world.held() == {"n2": 3}
    world.sound()


def test_slots_without_room_anywhere_are_owed_and_placed_when_room_appears() -> None:
    world = running(3, 3, 4)
    world.remove_node("n1")
    for number in (1, 2, 3):
        world.delete(f"a-exec-{number}")
    world.tick()
    world.add(node("n2", 2))
    world.tick()
    assert [where for where, _ in world.slots("a")].count("n2") == 2
    world.add(node("n3", 2))
    world.tick()
    assert [where for where, _ in world.slots("a")] == ["n2", "n2", "n3"]
    world.sound()


def test_extra_workers_use_free_room_only() -> None:
    world = running(1, 5, 5)
    world.leader("b", spec(1))
    world.schedule("b-driver")  # 2 of 5 cores are left, and 1 of them is held
    world.worker("a", 2)
    assert world.schedule("a-exec-2").outcome is Outcome.EXTRA_ADMITTED
    world.worker("a", 3)
    assert world.schedule("a-exec-3").outcome is Outcome.NO_ROOM
    world.worker("b", 1)
    assert world.schedule("b-exec-1").outcome is Outcome.SLOT_TAKEN
    world.sound()


def test_nobody_runs_above_the_maximum() -> None:
    world = running(1, 2)
    world.worker("a", 2)
    world.worker("a", 3)
    assert world.schedule("a-exec-2").outcome is Outcome.EXTRA_ADMITTED
    refusal = world.filter("a-exec-3")
    assert refusal.outcome is Outcome.GANG_FULL
    assert "maximum of 2" in refusal.reason


def test_an_extra_worker_frees_its_room_when_it_ends() -> None:
    world = running(1, 2)
    for number in (2, 3, 4):
        world.worker("a", number)
        assert world.schedule(f"a-exec-{number}").outcome is Outcome.EXTRA_ADMITTED
        world.end(f"a-exec-{number}")
    assert world.held() == {}


def test_an_extra_worker_takes_the_place_of_a_lost_minimum_worker() -> None:
    world = running(1, 3, 3, 8)
    world.worker("a", 2)
    assert world.schedule("a-exec-2").outcome is Outcome.EXTRA_ADMITTED
    world.delete("a-exec-1")
    assert [pod for _, pod in world.slots("a")] == ["a-exec-2"]
    assert world.held() == {}
    world.sound()


def test_extra_workers_count_against_the_maximum_wherever_their_slot_is() -> None:  # also D19
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 3), node("n2", 8))
    world.leader("a", spec(1, 2))
    world.run("a", 1)
    world.worker("a", 2)
    assert world.bind("a-exec-2", world.filter("a-exec-2", ["n2"]).node) == ""
    world.delete("a-exec-1")
    placed = []
    for number in (3, 4, 5):
        world.worker("a", number)
        placed.append(bool(world.schedule(f"a-exec-{number}").node))
    assert placed == [True, False, False]
    world.sound()


def test_workers_of_a_gang_that_is_not_admitted_wait() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(8))
    world.worker("a", 1)
    assert world.filter("a-exec-1").outcome is Outcome.GANG_NOT_ADMITTED
    assert world.held() == {}


def test_workers_of_nobody_are_refused_unless_they_may_run_without_a_leader() -> None:
    world = World()
    world.add(node("n1", 4))
    world.worker("a", 1)
    assert world.filter("a-exec-1").outcome is Outcome.GANG_UNKNOWN
    world.worker("b", 1, leader_optional=True)
    assert world.schedule("b-exec-1").outcome is Outcome.SINGLE_PLACED


def test_a_leader_that_is_there_binds_even_workers_that_could_do_without() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(8))
    world.worker("a", 1, leader_optional=True)
    assert world.filter("a-exec-1").outcome is Outcome.GANG_NOT_ADMITTED


@pytest.mark.parametrize("how", ["ends", "is deleted", "is being deleted"])
def test_workers_of_a_leader_that_ended_are_refused(how: str) -> None:
    world = running(2)
    world.worker("a", 3)
    if how == "ends":
        world.end("a-driver")
    elif how == "is deleted":
        world.delete("a-driver")
    else:
        world.change("a-driver", deleting=True)
    assert world.held() == {}
    assert world.filter("a-exec-3").outcome is Outcome.LEADER_ENDED
    world.sound()


# -- real size ---------------------------------------------------------------------------------


def test_the_first_real_worker_corrects_the_size_of_open_slots() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 16))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.worker("a", 1, requests=size(3))
    assert world.schedule("a-exec-1").outcome is Outcome.SLOT_TAKEN
    table = world.store.state.nodes
    assert table.reserved[table.columns.index(CPU), table.row_of["n1"]] == 6_000
    world.sound()


def test_a_smaller_worker_does_not_shrink_what_is_held_for_the_others() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 10))
    world.leader("a", spec(3, worker=size(3)))
    world.schedule("a-driver")
    world.leader("b", spec(0), requests=size(3))
    world.worker("a", 1, requests=size(2))
    world.schedule("a-exec-1")
    assert world.held() == {"n1": 2}
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    world.sound()


def test_larger_real_workers_move_the_slots_that_no_longer_fit() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4), node("n2", 8))
    world.leader("a", spec(3))
    assert world.schedule("a-driver").node == "n1"
    world.worker("a", 1, requests=size(2))
    world.schedule("a-exec-1")
    world.tick()
    assert sorted(where for where, _ in world.slots("a")) == ["n1", "n2", "n2"]
    world.sound()


def test_larger_real_workers_never_over_commit_a_node() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    placed = 0
    for number in (1, 2, 3):
        world.worker("a", number, requests=size(2))
        placed += bool(world.schedule(f"a-exec-{number}").node)
        world.sound()
    assert placed == 1


def test_a_corrected_size_survives_a_restart() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 16))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.worker("a", 1, requests=size(3))
    world.schedule("a-exec-1")
    world.end("a-exec-1", "Failed")
    world.delete("a-exec-1")
    world.tick()
    world.restart()
    gang = world.store.state.gangs[GangKey("ns", "a")]
    assert gang.admission is not None
    assert gang.admission.spec.worker[CPU] == 3_000


def test_executors_of_another_resource_profile_say_nothing_of_the_slots() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.worker("a", 1, requests=size(2), profile="1")
    assert world.held() == {"n1": 3}
    assert world.filter("a-exec-1").outcome is Outcome.NO_ROOM
    world.worker("a", 2)
    assert world.schedule("a-exec-2").outcome is Outcome.SLOT_TAKEN
    world.sound()


# -- lost nodes --------------------------------------------------------------------------------


def test_replacements_do_not_wait_for_workers_on_a_node_that_is_gone() -> None:
    """Its kubelet will never say that they ended."""
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 2), node("n2", 4))
    world.leader("a", spec(2))
    world.run("a", 2)
    lost = [name for name in ("a-exec-1", "a-exec-2") if world.node_of(name) == "n2"]
    assert lost
    world.add(replace(world.nodes["n2"], ready=False))
    world.add(node("n3", 4))
    for number, name in enumerate(lost, 3):
        world.change(name, deleting=True)
        world.worker("a", number)
        decision = world.schedule(f"a-exec-{number}")
        assert decision.node == "n3", decision
    world.sound()
    world.add(replace(world.nodes["n2"], ready=True))
    world.sound()


def test_owed_slots_get_new_room_before_gangs_that_wait() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.foreign("thief", "n1", requests=size(3))
    world.tick()
    assert [name for name, _ in world.slots("a")] == ["", "", ""]
    world.leader("b", spec(1))
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    world.delete("thief")
    assert world.filter("b-driver").outcome is Outcome.NO_ROOM
    assert [name for name, _ in world.slots("a")] == ["n1", "n1", "n1"]
    world.sound()


# -- zones -------------------------------------------------------------------------------------

ZONED = Policy(packer="single-az-tightly-pack", same_zone_workers=True)


def zoned(policy: Policy = ZONED) -> World:
    """Gang `a` (one worker, at most three) in zone a, with a larger empty zone b."""
    world = World(policy)
    world.add(node("a1", 3, zone="a"), node("b1", 8, zone="b"))
    world.leader("a", spec(1, 3))
    world.run("a", 1)
    assert world.slots("a") == [("a1", "a-exec-1")]
    return world


def test_extra_workers_stay_in_the_zone_of_their_gang() -> None:
    world = zoned()
    world.worker("a", 2)
    assert world.schedule("a-exec-2").node == "a1"
    world.worker("a", 3)
    assert world.filter("a-exec-3").outcome is Outcome.NO_ROOM


def test_without_the_rule_extra_workers_use_any_zone() -> None:
    world = zoned(Policy(packer="single-az-tightly-pack"))
    world.worker("a", 2)
    world.worker("a", 3)
    assert [world.schedule(f"a-exec-{number}").node for number in (2, 3)] == ["a1", "b1"]


def test_the_rule_is_for_packers_of_one_zone() -> None:
    world = zoned(Policy(packer="az-aware-tightly-pack", same_zone_workers=True))
    world.worker("a", 2)
    world.worker("a", 3)
    assert [world.schedule(f"a-exec-{number}").node for number in (2, 3)] == ["a1", "b1"]


def test_the_rule_follows_the_packer_of_the_pool() -> None:
    terms = PlacementTerms(node_selector=(("carbon-scheduler/pool", "etl"),))
    policy = Policy(
        packer="tightly-pack", packer_by_pool={"etl": "single-az-tightly-pack"}, same_zone_workers=True
    )
    world = World(policy)
    labels = {"carbon-scheduler/pool": "etl"}
    world.add(node("a1", 2, zone="a", labels=labels), node("b1", 8, zone="b", labels=labels))
    world.leader("a", spec(1, 3, worker_terms=terms), terms=terms)
    assert world.schedule("a-driver").node == "a1"
    world.worker("a", 1, terms=terms)
    world.schedule("a-exec-1")
    world.worker("a", 2, terms=terms)
    assert world.filter("a-exec-2").outcome is Outcome.NO_ROOM


def test_a_gang_over_several_zones_is_not_restricted() -> None:
    world = zoned()
    world.add(node("a1", 3, zone="a", unschedulable=True))
    world.delete("a-exec-1")
    world.tick()
    world.add(node("c1", 8, zone="c"))
    world.change("a-driver", node="c1")
    world.worker("a", 2)
    assert world.schedule("a-exec-2").node


# -- real placement ----------------------------------------------------------------------------

POOL = PlacementTerms((("pool", "spark"),))
DEDICATED = Taint("dedicated", "spark")
TOLERANT = PlacementTerms((("pool", "spark"),), None, (Toleration("dedicated", "Equal", "spark"),))
AFFINE = PlacementTerms((), (NodeTerm((Requirement("pool", "In", ("spark",)),)),))


@pytest.mark.parametrize("terms", [POOL, AFFINE, TOLERANT], ids=["selector", "affinity", "toleration"])
def test_open_slots_follow_the_place_that_real_workers_state(terms: PlacementTerms) -> None:
    """What a webhook writes into executors stands in no configuration."""
    world = World(Policy(packer="tightly-pack"))
    taints = (DEDICATED,) if terms.tolerations else ()
    world.add(node("general", 6), node("pool", 4, labels={"pool": "spark"}, taints=taints))
    world.leader("a", spec(3))
    assert world.schedule("a-driver").node == ("general" if taints else "pool")
    world.add(node("pool-2", 4, labels={"pool": "spark"}, taints=taints))
    world.worker("a", 1, terms=terms)
    assert all(where.startswith("pool") for where in world.held()), "as soon as the first pod is seen"
    for number in (2, 3):
        world.worker("a", number, terms=terms)
    for number in (1, 2, 3):
        assert world.schedule(f"a-exec-{number}").outcome is Outcome.SLOT_TAKEN
    world.sound()


def test_nobody_takes_the_room_that_real_workers_need() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("general", 6), node("pool", 3, labels={"pool": "spark"}, taints=(DEDICATED,)))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.worker("a", 1, terms=TOLERANT)
    world.pod("other", terms=TOLERANT)
    assert world.filter("other").outcome is Outcome.NO_ROOM


def test_the_place_of_real_workers_stays_known_when_the_request_is_read_again_and_after_a_restart() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("general", 6), node("pool", 4, labels={"pool": "spark"}, taints=(DEDICATED,)))
    leader = world.leader("a", spec(3))
    world.schedule("a-driver")
    world.worker("a", 1, terms=TOLERANT)
    world.schedule("a-exec-1")
    world.configure(leader, spec(3, weight=2))
    world.tick()
    assert [where for where, _ in world.slots("a")] == ["pool"] * 3
    world.restart()
    assert [where for where, _ in world.slots("a")] == ["pool"] * 3
    world.sound()


def test_the_place_of_another_resource_profile_says_nothing_of_the_slots() -> None:
    world = World(Policy(packer="tightly-pack"))
    world.add(node("general", 6), node("pool", 4, labels={"pool": "spark"}, taints=(DEDICATED,)))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.worker("a", 1, terms=TOLERANT, profile="1")
    assert world.held() == {"general": 2}


# -- resource profiles -------------------------------------------------------------------------


def test_the_maximum_is_for_each_resource_profile() -> None:
    world = World()
    world.add(node("n1", 16))
    world.leader("a", spec(2, 2))
    world.run("a", 2)
    for number, profile, outcome in (
        (3, "1", Outcome.EXTRA_ADMITTED),
        (4, "0", Outcome.GANG_FULL),
        (5, "1", Outcome.EXTRA_ADMITTED),
        (6, "1", Outcome.GANG_FULL),
        (7, "2", Outcome.EXTRA_ADMITTED),
    ):
        world.worker("a", number, profile=profile)
        decision = world.schedule(f"a-exec-{number}")
        assert decision.outcome is outcome
        assert ("profile 1" in decision.reason) is (outcome is Outcome.GANG_FULL and profile == "1")
    state = world.store.state
    (admission,) = state.admissions()
    assert state.most_workers(admission) == 6
    world.sound()
