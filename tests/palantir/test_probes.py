"""Probes of the archived extender (P1..P30 of its reference). Where it answered wrongly, the right answer.

Nodes without GPU, sizes in cores; tightly-pack and strict order unless said.
"""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.nodes.terms import PlacementTerms, Taint
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from extender.core.queue.packing import PACKERS
from tests.gang.world import World, node, size, spec

GROUP = {"terms": PlacementTerms(node_selector=(("carbon-scheduler/pool", "group"),))}
IN_GROUP = {"carbon-scheduler/pool": "group"}


def cluster(*cores: int, labels: dict[str, str] | None = None, **policy: Any) -> World:
    """Nodes n1, n2, ... of so many cores."""
    world = World(Policy(**{"packer": "tightly-pack", **policy}))
    world.add(*(node(f"n{number}", amount, labels=labels or {}) for number, amount in enumerate(cores, 1)))
    return world


def executor(world: World, app: str, number: int, offered: list[str] | None = None, **fields: Any) -> str:
    """An executor is created, filtered and bound; its node, or the outcome of its refusal."""
    pod = world.worker(app, number, **fields)
    decision = world.filter(pod.name, offered)
    if not decision.node:
        return decision.outcome.value
    assert world.bind(pod.name, decision.node) == ""
    world.change(pod.name, phase="Running")
    return decision.node


def test_p01_the_later_one_does_not_overtake() -> None:
    world = cluster(8)
    world.leader("earlier", spec(6))
    world.leader("later", spec(3), created_s=world.now + 1)
    assert world.filter("later-driver").outcome is Outcome.NO_ROOM
    assert world.filter("earlier-driver").outcome is Outcome.ADMITTED


def queue_behind(
    needs: int, seconds: float = 1.0, labels: dict[str, str] | None = None, **policy: Any
) -> World:
    """8 cores, 2 of them in use; an earlier application needs so many, a later one 4."""
    world = cluster(8, labels=labels, **policy)
    world.foreign("stranger", "n1", requests=size(2))
    fields: dict[str, Any] = GROUP if labels else {}
    worker_terms = fields.get("terms", PlacementTerms())
    world.leader("a-earlier", spec(needs - 1, worker_terms=worker_terms), **fields)
    world.leader("b-later", spec(3, worker_terms=worker_terms), created_s=world.now + seconds, **fields)
    return world


def test_p02_an_earlier_one_that_waits_blocks_and_one_that_never_fits_does_not() -> None:
    assert queue_behind(7).filter("b-later-driver").outcome is Outcome.EARLIER_GANG_WAITS
    assert queue_behind(61).filter("b-later-driver").outcome is Outcome.ADMITTED


def test_p03_of_the_same_second_one_is_earlier() -> None:
    world = queue_behind(7, seconds=0.0)
    assert world.filter("b-later-driver").outcome is Outcome.EARLIER_GANG_WAITS


def test_p04_an_earlier_one_below_the_age_limit_does_not_block() -> None:
    world = queue_behind(7, fifo=FifoMode.STRICT_AFTER_AGE, enforce_after_age_s=3600.0)
    world.tick(600.0)
    assert world.filter("b-later-driver").outcome is Outcome.ADMITTED


def test_p05_with_or_without_a_group_there_is_an_order() -> None:
    assert queue_behind(7).filter("b-later-driver").outcome is Outcome.EARLIER_GANG_WAITS
    world = queue_behind(7, labels=IN_GROUP)
    assert world.filter("b-later-driver").outcome is Outcome.EARLIER_GANG_WAITS


def test_p06_an_extra_executor_uses_what_is_free() -> None:
    world = cluster(8)
    world.foreign("other", "n1", requests=size(3))
    world.leader("a", spec(0, 1, worker=size(3)))
    world.schedule("a-driver")
    assert executor(world, "a", 1, requests=size(3)) == "n1"


@pytest.mark.parametrize("packer", ["tightly-pack", "single-az-minimal-fragmentation"])
def test_p07_on_a_node_without_reservation_too(packer: str) -> None:
    world = cluster(1, packer=packer)
    world.leader("a", spec(0, 1, worker=size(3)))
    world.schedule("a-driver")
    world.add(node("n2", 8))
    world.foreign("other", "n2", requests=size(4))
    assert executor(world, "a", 1, requests=size(3)) == "n2"


def test_p08_an_earlier_one_that_holds_its_room_counts_once() -> None:
    world = cluster(8)
    world.leader("a", spec(3))
    world.filter("a-driver")
    world.leader("b", spec(3), created_s=world.now + 1)
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_p09_an_executor_whose_node_is_not_offered_goes_elsewhere() -> None:
    world = cluster(2, 8)
    world.leader("a", spec(1))
    world.schedule("a-driver")
    world.worker("a", 1)
    assert world.filter("a-exec-1").node == "n1"
    assert world.filter("a-exec-1", ["n2"]).node == "n2"


def test_p10_a_reserved_driver_gets_a_node_that_is_offered() -> None:
    world = cluster(8, 8)
    world.leader("a", spec(1))
    assert world.filter("a-driver", ["n1"]).node == "n1"
    assert world.filter("a-driver", ["n2"]).node == "n2"
    assert sum(world.held().values()) == 2


def test_p11_another_driver_of_the_same_id_waits() -> None:
    world = cluster(8)
    world.leader("a", spec(1))
    world.schedule("a-driver")
    world.leader("a", spec(1), name="other")
    assert world.filter("other").outcome is Outcome.LEADER_EXISTS


def test_p12_nodes_that_are_never_offered_hold_no_executors() -> None:
    world = cluster(1)
    world.add(node("n2", 8, unschedulable=True), node("n3", 8, taints=(Taint("dedicated"),)))
    world.leader("a", spec(2))
    assert world.filter("a-driver", ["n1"]).outcome is Outcome.EXCEEDS_CLUSTER
    assert world.held() == {}


@pytest.mark.parametrize("label", ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"])
def test_p13_one_zone_is_one_zone_by_either_label(label: str) -> None:
    world = World(Policy(packer="single-az-tightly-pack"))
    for zone in ("z1", "z2"):
        world.add(node(f"{zone}-n", 4, labels={label: zone}))
    world.leader("a", spec(6))
    assert not world.filter("a-driver").node


def test_p14_a_finished_application_frees_its_node() -> None:
    world = cluster(4)
    world.leader("a", spec(3))
    world.run("a", 3)
    for name in [pod.name for pod in world.pods.values()]:
        world.end(name)
    world.leader("b", spec(3))
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_p15_a_finished_stranger_frees_its_node() -> None:
    world = cluster(4)
    world.foreign("stranger", "n1", requests=size(4))
    world.end("stranger")
    world.leader("b", spec(3))
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_p16_an_evicted_executor_is_replaced_while_its_object_is_kept() -> None:
    world = cluster(4)
    world.leader("a", spec(1))
    world.run("a", 1)
    world.end("a-exec-1", "Failed")
    assert executor(world, "a", 2) == "n1"


def test_p17_a_static_slot_moves_to_where_there_is_room() -> None:
    world = cluster(2, 8)
    world.leader("a", spec(1))
    world.schedule("a-driver")
    world.worker("a", 1)
    assert world.filter("a-exec-1", ["n2"]).outcome is Outcome.SLOT_MOVED
    assert world.slots("a") == [("n2", "a-exec-1")]


def zoned(*names: str) -> World:
    """Nodes named after their zone; the application may have two executors more than none."""
    world = World(Policy(packer="single-az-tightly-pack", same_zone_workers=True))
    world.add(*(node(name, 4, zone=name[0]) for name in names))
    world.leader("a", spec(0, 2))
    return world


def test_p18_the_zone_is_known_before_anything_runs() -> None:
    world = zoned("x1", "y1")
    assert world.bind("a-driver", world.filter("a-driver", ["y1"]).node, seen=False) == ""
    assert executor(world, "a", 1) == "y1"


def test_p18_a_candidate_without_zone_is_passed_over() -> None:
    world = zoned("x1")
    world.schedule("a-driver")
    world.add(node("unlabelled", 4))
    assert executor(world, "a", 1, ["unlabelled", "x1"]) == "x1"


def test_p18_other_zones_only_is_a_refusal() -> None:
    world = zoned("x1", "y1")
    world.schedule("a-driver")
    assert executor(world, "a", 1, ["y1"]) == Outcome.NO_ROOM


def test_p18_several_zones_are_no_restriction() -> None:
    world = zoned("x1", "y1", "z1")
    world.schedule("a-driver")
    world.worker("a", 1, node="y1", phase="Running")
    assert executor(world, "a", 2, ["z1"]) == "z1"


def test_p19_a_dynamic_application_is_rebuilt_from_its_pods() -> None:
    world = cluster(8)
    world.leader("a", spec(2, 4), node="n1", phase="Running")
    for number in (1, 2, 3):
        world.worker("a", number, node="n1", phase="Running")
    world.restart()
    assert [pod for _, pod in world.slots("a")] == ["a-exec-1", "a-exec-2"]
    assert executor(world, "a", 4) == "n1"
    assert executor(world, "a", 5) == Outcome.GANG_FULL


def test_p20_missing_executors_of_a_static_application_are_owed() -> None:
    world = cluster(8)
    world.leader("a", spec(3), node="n1", phase="Running")
    world.worker("a", 1, node="n1", phase="Running")
    world.restart()
    assert world.slots("a") == [("n1", ""), ("n1", ""), ("n1", "a-exec-1")]


def test_p21_executors_that_run_have_slots_wherever_they_run() -> None:
    world = cluster(3, 8)
    world.leader("a", spec(2))
    world.schedule("a-driver")
    assert world.slots("a") == [("n1", "")] * 2
    for number, where in ((1, "n1"), (2, "n2")):
        world.worker("a", number, node=where, phase="Running")
    world.restart()
    assert world.slots("a") == [("n1", "a-exec-1"), ("n2", "a-exec-2")]
    assert world.held() == {}


@pytest.mark.parametrize("workers", [1, 0])
def test_p22_a_cordoned_node_takes_nobody(workers: int) -> None:
    world = cluster()
    world.add(node("n1", 8, unschedulable=True))
    world.leader("a", spec(workers))
    assert not world.filter("a-driver", ["n1"]).node


def test_p23_a_late_request_for_a_dead_executor_takes_nothing() -> None:
    world = cluster(8)
    world.leader("a", spec(0, 3))
    world.schedule("a-driver")
    dead = world.worker("a", 0)
    world.delete(dead.name)
    assert world.store.filter(dead, Listed(["n1"]), world.now).outcome is Outcome.POD_GONE
    placed = [executor(world, "a", number) for number in (1, 2, 3, 4)]
    assert placed == ["n1", "n1", "n1", Outcome.GANG_FULL]


def test_p24_p27_an_extra_executor_takes_the_slot_and_its_accounts_stay_where_it_runs() -> None:
    for app in ("app", "ns"):  # the reference gets it right only if the id equals the namespace
        world = cluster(3, 8)
        world.leader(app, spec(1, 2))
        world.schedule(f"{app}-driver")
        assert executor(world, app, 0) == "n1"
        assert executor(world, app, 1, ["n2"]) == "n2"
        world.delete(f"{app}-exec-0")
        assert world.slots(app) == [("n2", f"{app}-exec-1")]
        table = world.store.state.nodes
        assert table.used[0, table.row_of["n2"]] == 1_000
        assert executor(world, app, 2) == "n1"
        assert [executor(world, app, number) for number in (3, 4)] == [Outcome.GANG_FULL] * 2


def test_p25_executors_of_a_lost_driver_stop_nobody() -> None:
    world = cluster(8)
    world.leader("a", spec(2))
    world.run("a", 2)
    world.delete("a-driver")
    world.restart()
    world.leader("b", spec(1))
    world.run("b", 1)
    assert executor(world, "a", 3) == Outcome.GANG_UNKNOWN


def test_p26_a_refused_write_loses_nothing() -> None:
    world = cluster(8)
    world.leader("a", spec(1))
    assert world.bind("a-driver", world.filter("a-driver").node, fails=True)
    assert world.schedule("a-driver").node
    assert executor(world, "a", 1) == "n1"
    world.restart()
    assert world.slots("a") == [("n1", "a-exec-1")]


def test_p28_executors_outside_a_gang_are_placed_one_by_one() -> None:
    world = cluster(8)
    world.pod("without-id")
    assert world.schedule("without-id").outcome is Outcome.SINGLE_PLACED
    world.worker("client-mode", 1, leader_optional=True)
    assert world.schedule("client-mode-exec-1").outcome is Outcome.SINGLE_PLACED


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_p30_an_application_of_zero_size_fits_for_every_packer(packer: str) -> None:
    world = cluster(8, 8, packer=packer)
    world.leader("a", spec(2, worker={}), requests={})
    assert world.filter("a-driver").outcome is Outcome.ADMITTED
