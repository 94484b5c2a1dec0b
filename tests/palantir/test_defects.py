"""Defects of the archived Palantir extender, by the numbers of docs/migrating-from-palantir.md: not ours.

Nodes are given in cores; memory never matters here. Several defects have more tests in the folder of
their concept: see test_coverage.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extender.adapters.spark import SpecReader
from extender.adapters.webhooks import wire
from extender.core.events import PodGone, PodSeen
from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes import fit_counts as rooms
from extender.core.nodes.resources import CPU
from extender.core.nodes.terms import PlacementTerms, Taint, Toleration
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode, Policy
from extender.core.queue import empty_cluster
from extender.core.queue.packing import base
from tests.gang.world import World, node, size, spec

TIGHT = Policy(packer="tightly-pack")


def cluster(*cores: int, policy: Policy = TIGHT) -> World:
    """Nodes n1, n2, ... of so many cores."""
    world = World(policy)
    world.add(*(node(f"n{number}", amount) for number, amount in enumerate(cores, 1)))
    return world


def worker(world: World, app: str, number: int, offered: list[str] | None = None, **fields: Any) -> str:
    """An executor is created, filtered and bound; its node, or the outcome of its refusal."""
    pod = world.worker(app, number, **fields)
    decision = world.filter(pod.name, offered)
    if not decision.node:
        return decision.outcome.value
    assert world.bind(pod.name, decision.node) == ""
    return decision.node


def test_d01_an_earlier_gang_counts_with_all_its_pods() -> None:
    world = cluster(8)
    world.leader("old", spec(6))
    world.leader("young", spec(3), created_s=world.now + 1)
    assert world.filter("young-driver").outcome is Outcome.NO_ROOM
    assert world.filter("old-driver").outcome is Outcome.ADMITTED


def test_d02_used_room_counts_once() -> None:
    world = cluster(8)
    world.foreign("other", "n1", requests=size(3))
    world.leader("a", spec(0, 2, worker=size(3)))
    assert world.schedule("a-driver").node  # 1 + 3 of 8 are in use: one more of 3 fits
    assert worker(world, "a", 1, requests=size(3)) == "n1"


def test_d03_an_extra_executor_moves_into_the_slot_of_a_lost_one() -> None:
    world = cluster(8)
    world.leader("app-id", spec(1, 3))
    world.run("app-id", 2)
    world.delete("app-id-exec-1")
    assert world.slots("app-id") == [("n1", "app-id-exec-2")]
    assert worker(world, "app-id", 3) == "n1"
    world.sound()


def test_d04_executors_without_a_driver_stop_nobody() -> None:
    world = cluster(8)
    for number in range(3):
        world.worker("orphans", number, node="n1", phase="Running")
    world.restart()
    world.leader("a", spec(1))
    world.run("a", 1)
    world.sound()


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_d05_a_finished_driver_and_finished_strangers_take_no_room(phase: str) -> None:
    world = cluster(4)
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.end("a-driver", phase)
    world.foreign("stranger", "n1", requests=size(4))
    world.end("stranger", phase)
    world.leader("b", spec(3))
    assert world.schedule("b-driver").node == "n1"


def test_d06_an_executor_is_never_on_the_drivers_place() -> None:
    world = cluster(8)
    world.leader("a", spec(1))
    world.schedule("a-driver")
    for number in range(3):
        world.worker("a", number, node="n1", phase="Running")
    world.restart()
    assert world.slots("a") == [("n1", "a-exec-0")]
    world.sound()


def test_d07_a_driver_between_answer_and_bind_counts_once() -> None:
    world = cluster(8)
    world.leader("a", spec(3))
    world.leader("b", spec(3), created_s=world.now + 1)
    assert world.filter("a-driver").node
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_d08_no_driver_or_several_is_a_refusal() -> None:
    world = cluster(8)
    assert worker(world, "nobodys", 1) == Outcome.GANG_UNKNOWN
    world.leader("a", spec(2))
    world.leader("a", spec(2), name="again")
    world.schedule("a-driver")
    assert world.filter("again").outcome is Outcome.LEADER_EXISTS
    assert worker(world, "a", 1, []) == Outcome.NODES_UNKNOWN
    assert worker(world, "a", 2) == "n1"


def test_d09_a_reservation_is_written_with_the_driver_or_not_at_all() -> None:
    world = cluster(8)
    world.leader("a", spec(2))
    world.filter("a-driver")
    world.bind("a-driver", "n1", fails=True)
    assert world.held() == {}
    assert world.schedule("a-driver").node
    world.restart()
    assert world.slots("a") == [("n1", "")] * 2


def test_d10_an_executor_whose_node_is_not_offered_goes_elsewhere() -> None:
    world = cluster(2, 8)
    world.leader("a", spec(1))
    assert world.schedule("a-driver").node == "n1"
    assert world.slots("a") == [("n1", "")]
    world.worker("a", 1)
    assert world.filter("a-exec-1", ["n1"]).node == "n1"
    decision = world.filter("a-exec-1", ["n2"])
    assert (decision.outcome, decision.node) == (Outcome.SLOT_MOVED, "n2")
    world.sound()


def test_d11_ids_belong_to_their_namespace() -> None:
    world = cluster(8)
    for namespace in ("blue", "red"):
        world.leader("id", spec(1), namespace=namespace, name=f"{namespace}-driver")
        assert world.schedule(f"{namespace}-driver").outcome is Outcome.ADMITTED
        assert worker(world, "id", 1, namespace=namespace, name=f"{namespace}-exec") == "n1"
    assert world.slots("id", "blue") == [("n1", "blue-exec")]
    assert world.slots("id", "red") == [("n1", "red-exec")]


def test_d12_executors_are_reserved_only_where_they_can_run() -> None:
    world = cluster(1)
    world.add(node("n2", 8, unschedulable=True), node("n3", 8, taints=(Taint("dedicated"),)))
    world.leader("a", spec(2))
    assert world.filter("a-driver", ["n1"]).outcome is Outcome.EXCEEDS_CLUSTER
    tolerant = PlacementTerms(tolerations=(Toleration("dedicated", "Exists"),))
    world.leader("b", spec(2, worker_terms=tolerant))
    assert world.filter("b-driver", ["n1"]).node == "n1"
    assert world.held() == {"n1": 1, "n3": 2}


@pytest.mark.parametrize("label", ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"])
def test_d13_both_zone_labels_make_zones(label: str) -> None:
    world = World(Policy(packer="single-az-tightly-pack"))
    world.add(node("a1", 4, labels={label: "a"}), node("b1", 4, labels={label: "b"}))
    world.leader("a", spec(6))
    assert world.filter("a-driver").outcome is Outcome.EXCEEDS_CLUSTER
    world.leader("b", spec(3))
    assert world.filter("b-driver").outcome is Outcome.ADMITTED


def test_d14_an_evicted_executor_leaves_its_slot() -> None:
    world = cluster(8)
    world.leader("a", spec(1))
    world.run("a", 1)
    world.end("a-exec-1", "Failed")  # phase Failed, whatever its containers say
    assert worker(world, "a", 2) == "n1"
    assert world.slots("a") == [("n1", "a-exec-2")]


def test_d15_a_negative_count_is_refused_with_its_key() -> None:
    annotations = {
        "spark-driver-cpu": "1",
        "spark-driver-mem": "1Gi",
        "spark-executor-cpu": "1",
        "spark-executor-mem": "1Gi",
        "spark-executor-count": "-1",
    }
    problem = SpecReader().read(PodFacts("u", "ns", "driver", annotations=annotations), None)
    assert isinstance(problem, SpecProblem)
    assert problem.outcome is Outcome.INVALID_REQUEST
    assert "spark-executor-count" in problem.detail


@pytest.mark.parametrize("body", [b'{"Pod":{}}', b'{"Pod":{},"NodeNames":null}', b'{"Pod":{},"Nodes":null}'])
def test_d15_missing_node_names_are_an_error_that_says_so(body: bytes) -> None:
    with pytest.raises(wire.BadRequest, match="NodeNames"):
        wire.offered_nodes(wire.decode_call(body))


@pytest.mark.parametrize("packer", ["single-az-tightly-pack", "single-az-minimal-fragmentation"])
def test_d16_a_gang_of_zero_size_fits_an_empty_node(packer: str) -> None:
    world = cluster(8, policy=Policy(packer=packer))
    world.leader("a", spec(3, worker={}), requests={})
    assert world.filter("a-driver").outcome is Outcome.ADMITTED


@pytest.mark.parametrize("packer", ["single-az-tightly-pack", "single-az-minimal-fragmentation"])
def test_d17_a_zone_is_judged_with_the_gang_in_it(packer: str) -> None:
    """Zone a is emptier now, and full with the gang; zone b stays half empty."""
    world = World(Policy(packer=packer))
    world.add(node("a1", 4, 400, zone="a"), node("b1", 10, 300, zone="b"))
    world.foreign("stranger", "b1", requests=size(1))
    world.leader("a", spec(3))
    assert world.filter("a-driver").node == "a1"


def test_d17_shares_are_exact_below_a_core() -> None:
    world = World(Policy(packer="single-az-tightly-pack"))
    for zone, used_milli in (("a", 600), ("b", 900)):
        world.add(node(f"{zone}1", 4, zone=zone))
        world.foreign(f"stranger-{zone}", f"{zone}1", requests={CPU: used_milli})
    world.add(node("a1", 4, 31, zone="a"))  # so that zone a comes first in order
    world.leader("a", spec(0), requests={CPU: 100})
    assert world.filter("a-driver").node == "b1"


def test_d18_a_deletion_noticed_late_leaves_nothing_behind() -> None:
    """The reflector names what a new list lacks; a name is all that the store needs."""
    world = cluster(8)
    world.leader("a", spec(1, 3))
    world.run("a", 3)
    for name in ("a-exec-3", "a-exec-1", "a-driver", "a-exec-2"):
        uid = world.uid(name)
        del world.pods[uid]
        world.store.apply(PodGone(uid), world.now)
        world.sound()
    state = world.store.state
    assert (state.gangs, state.pods, state.seats, state.claims, world.held()) == ({}, {}, {}, {}, {})
    assert not state.nodes.used.any()


def test_d19_a_slot_that_changes_hands_over_nodes_keeps_accounts_and_maximum() -> None:
    world = cluster(3, 8)
    world.leader("a", spec(1, 2))
    assert world.schedule("a-driver").node == "n1"
    assert worker(world, "a", 1) == "n1"
    assert worker(world, "a", 2, ["n2"]) == "n2"
    world.delete("a-exec-1")
    table = world.store.state.nodes
    assert table.used[0, table.row_of["n2"]] == 1_000
    assert worker(world, "a", 3) == "n1"
    assert worker(world, "a", 4) == Outcome.GANG_FULL
    world.sound()


def test_d20_a_rebuilt_gang_takes_exactly_its_room() -> None:
    world = cluster(4, 4)
    for app, where in (("a", "n1"), ("b", "n2")):
        world.leader(app, spec(3), node=where, phase="Running")
    world.restart()
    assert world.held() == {"n1": 3, "n2": 3}
    world.sound()


def test_d21_drivers_of_the_same_second_have_an_order() -> None:
    for order in (("a", "b"), ("b", "a")):
        world = cluster(4)
        for app in order:
            world.leader(app, spec(2), created_s=1_000.0)
        assert world.filter("b-driver").outcome is Outcome.NO_ROOM
        assert world.filter("a-driver").outcome is Outcome.ADMITTED


def test_d22_equal_nodes_and_zones_have_an_order() -> None:
    placed: set[tuple[str, ...]] = set()
    for names in (("a1", "b1", "c1", "d1"), ("d1", "c1", "b1", "a1"), ("b1", "d1", "a1", "c1")):
        world = World(Policy(packer="single-az-tightly-pack"))
        for name in names:
            gpus = {"nvidia.com/gpu": 2} if name in "b1 d1" else {}
            world.add(node(name, 8, zone=name[0], extra=gpus))
        world.leader("a", spec(3))
        world.filter("a-driver")
        placed.add(tuple(where for where, _ in world.slots("a")))
    assert placed == {("a1", "a1", "a1")}


def test_d23_decisions_do_not_wait_for_writes() -> None:
    """All writes are lost, and nobody is refused or doubled for it."""
    world = cluster(3, 8, 8)
    world.lose_writes = True
    world.leader("a", spec(2))
    world.schedule("a-driver")
    for number, where in ((1, "n2"), (2, "n3")):
        assert worker(world, "a", number, [where]) == where
        world.tick()
    assert world.slots("a") == [("n2", "a-exec-1"), ("n3", "a-exec-2")]
    world.sound()


def test_d24_what_the_watch_says_of_a_reservation_counts() -> None:
    world = cluster(8, 8)
    world.leader("a", spec(2))
    world.schedule("a-driver")
    text = world.pods["uid-a-driver"].annotations["carbon-scheduler/reservation"]
    moved = text.replace('["n1",2]', '["n2",2]')
    world.change("a-driver", annotations={"carbon-scheduler/reservation": moved})
    assert world.slots("a") == [("n2", "")] * 2
    world.delete("a-driver")
    late = PodSeen(PodFacts("uid-other", "ns", "other"))  # nothing of it comes back by itself
    world.store.apply(late, world.now)
    assert world.held() == {}


def test_d25_one_bad_driver_hides_no_other() -> None:
    world = cluster(4)
    world.leader("bad", SpecProblem(Outcome.INVALID_REQUEST, "spark-executor-cpu=x is no quantity"))
    world.leader("huge", spec(50), created_s=world.now + 1)
    world.leader("good", spec(2), created_s=world.now + 2)
    outcomes = {app: world.filter(f"{app}-driver") for app in ("huge", "bad", "good")}
    assert outcomes["bad"].outcome is Outcome.INVALID_REQUEST
    assert "spark-executor-cpu=x" in outcomes["bad"].reason
    assert outcomes["huge"].outcome is Outcome.EXCEEDS_CLUSTER
    assert outcomes["good"].outcome is Outcome.ADMITTED


def test_d26_what_the_pods_really_request_counts() -> None:
    """The annotations said 1 core a driver and 1 an executor; both forgot something."""
    world = cluster(8)
    world.leader("a", spec(2), requests=size(2))
    world.schedule("a-driver")
    table = world.store.state.nodes
    assert table.used[0, 0] == 2_000
    assert worker(world, "a", 1, requests=size(2)) == "n1"
    assert (table.used[0, 0], table.reserved[0, 0]) == (4_000, 2_000)
    world.sound()


def test_d26_palantirs_sizes_are_raised_to_sparks_own() -> None:
    annotations = {
        "spark-driver-cpu": "1",
        "spark-driver-mem": "1g",
        "spark-executor-cpu": "1",
        "spark-executor-mem": "1g",
        "spark-executor-count": "2",
    }
    conf = {"spark.properties": "spark.executor.memory=1g\n"}
    found = SpecReader().read(PodFacts("u", "ns", "driver", annotations=annotations), conf)
    assert isinstance(found, GangSpec)
    assert found.worker["memory"] == (1024 + 384) << 20


@pytest.mark.parametrize("mode", list(FifoMode))
def test_d27_refusing_looks_at_each_node_once(monkeypatch: pytest.MonkeyPatch, mode: FifoMode) -> None:
    """The executors alone would fit, and every node could take the driver: one pod is too many."""
    looked_at: list[int] = []
    original = base.room_for

    def counted(free: Any, request: Any) -> Any:
        looked_at.append(free.shape[1])
        return original(free, request)

    for module in (base, empty_cluster, rooms):
        monkeypatch.setattr(module, "room_for", counted)
    n_nodes = 200
    world = World(Policy(packer="tightly-pack", fifo=mode))
    for number in range(n_nodes):
        world.add(node(f"n{number}", 16, 64))
        world.foreign(f"s{number}", f"n{number}", requests=size(1))
    for app in ("a", "b", "c"):
        world.leader(app, spec(15 * n_nodes), created_s=world.now + ord(app))
    for app in ("c", "b", "a"):
        assert world.filter(f"{app}-driver").outcome in (Outcome.NO_ROOM, Outcome.EARLIER_GANG_WAITS)
    assert n_nodes <= sum(looked_at) <= 3 * 4 * n_nodes
    looked_at.clear()
    for app in ("c", "b", "a"):
        assert not world.filter(f"{app}-driver").node
    assert looked_at == []


def test_d27_arithmetic_agrees_with_trying_every_node() -> None:
    """The bound is not only cheap: it is exact."""
    generator = np.random.default_rng(27)
    for _ in range(30):
        cores = generator.integers(1, 6, size=5).tolist()
        driver, workers = int(generator.integers(1, 4)), int(generator.integers(0, 12))
        fits = any(cores[d] >= driver and sum(cores) - driver >= workers for d in range(len(cores)))
        world = cluster(*cores)
        world.leader("a", spec(workers), requests=size(driver))
        assert bool(world.filter("a-driver").node) is fits
