"""Recorded behaviours of the archived extender's request path (T1..T20 of its reference), asked of ours.

Its harness: nodes of 8 cores, 8 GiB and 1 GPU; a driver of 1 core, 1 byte and 1 GPU; executors of 1 core
and 1 byte; strict order; extra executors in the zone of their application.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from extender.core.decisions import FilterDecision
from extender.core.facts import PodFacts
from extender.core.gangs.reservation import RESERVATION
from extender.core.nodes.resources import CPU, GPU, MEMORY
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from tests.gang.world import World, node, spec

DRIVER = {CPU: 1_000, MEMORY: 1, GPU: 1}
EXECUTOR = {CPU: 1_000, MEMORY: 1}
BOTH = ["node1", "node2"]


def cluster(packer: str, zones: tuple[str, str] = ("zone1", "zone1")) -> World:
    """Two nodes."""
    world = World(Policy(packer=packer, same_zone_workers=True))
    for name, zone in zip(BOTH, zones, strict=True):
        world.add(node(name, 8, 8, zone=zone, extra={GPU: 1}))
    return world


def driver(
    world: World,
    app: str,
    least: int,
    most: int | None = None,
    offered: list[str] | None = None,
    executor: dict[str, int] | None = None,
    **fields: Any,
) -> FilterDecision:
    """A driver is created, filtered and bound."""
    wanted = spec(least, most, worker=executor or EXECUTOR)
    pod = world.leader(app, wanted, **{"requests": DRIVER, **fields})
    return placed(world, pod, offered or BOTH)


def executor(
    world: World, app: str, number: int, offered: list[str] | None = None, **fields: Any
) -> FilterDecision:
    """An executor is created, filtered and bound."""
    pod = world.worker(app, number, **{"requests": EXECUTOR, **fields})
    return placed(world, pod, offered or BOTH)


def placed(world: World, pod: PodFacts, offered: list[str]) -> FilterDecision:
    decision = world.filter(pod.name, offered)
    if decision.node:
        assert world.bind(pod.name, decision.node) == ""
        world.change(pod.name, phase="Running")
    return decision


def extras(world: World, app: str) -> dict[str, str]:
    """Executors without a slot, and their nodes."""
    seated = {pod for _, pod in world.slots(app)}
    return {
        pod.name: pod.node
        for pod in world.pods.values()
        if pod.role == "worker" and pod.occupies and pod.gang and pod.gang.app_id == app
        if pod.name not in seated
    }


def static(world: World) -> None:
    """A static application of two executors, all placed."""
    assert driver(world, "a", 2).node
    assert [executor(world, "a", number).outcome for number in (0, 1)] == [Outcome.SLOT_TAKEN] * 2


def test_t01_a_static_application_is_placed() -> None:
    world = cluster("single-az-tightly-pack")
    static(world)
    world.sound()


def test_t01b_one_executor_too_many_is_refused() -> None:
    world = cluster("single-az-tightly-pack")
    static(world)
    assert executor(world, "a", 2).outcome is Outcome.GANG_FULL


def test_t01c_a_replacement_takes_the_slot() -> None:
    world = cluster("single-az-tightly-pack")
    static(world)
    world.end("a-exec-0", "Failed")
    assert executor(world, "a", 2).outcome is Outcome.SLOT_TAKEN


def test_t02_extra_executors_join_their_own_application() -> None:
    world = cluster("single-az-minimal-fragmentation")
    assert driver(world, "a", 2, offered=["node1"]).node
    assert all(executor(world, "a", number, ["node1"]).node for number in (0, 1))
    assert driver(world, "b", 1, 2).node == "node2"  # the only GPU left
    assert executor(world, "b", 0, ["node2"]).node == "node2"
    assert executor(world, "b", 1).node == "node2"
    world.sound()


def test_t03_extra_executors_go_where_the_smallest_room_is() -> None:
    world = cluster("single-az-minimal-fragmentation")
    assert driver(world, "a", 0, offered=["node1"], requests={CPU: 1_000, MEMORY: 4, GPU: 1}).node
    large = {CPU: 3_000, MEMORY: 1}
    big = {CPU: 4_000, MEMORY: 1, GPU: 1}
    assert driver(world, "b", 0, 1, ["node2"], executor=large, requests=big).node
    assert executor(world, "b", 0, requests=large).node == "node2"


def test_t04_the_minimum_has_a_slot() -> None:
    world = cluster("single-az-tightly-pack")
    driver(world, "a", 1, 3)
    executor(world, "a", 0)
    assert [pod for _, pod in world.slots("a")] == ["a-exec-0"]
    assert extras(world, "a") == {}


def test_t05_what_is_above_it_has_none() -> None:
    world = cluster("single-az-tightly-pack")
    driver(world, "a", 1, 3)
    executor(world, "a", 0)
    executor(world, "a", 1)
    assert [pod for _, pod in world.slots("a")] == ["a-exec-0"]
    assert extras(world, "a") == {"a-exec-1": "node1"}


def test_t06_the_fuller_node_comes_first() -> None:
    world = cluster("single-az-tightly-pack")
    driver(world, "a", 1, 2, ["node2"])
    executor(world, "a", 0, ["node2"])
    assert executor(world, "a", 1).node == "node2"


def test_t07_asking_again_adds_nothing() -> None:
    world = cluster("single-az-tightly-pack")
    driver(world, "a", 1, 3)
    for number in range(3):
        executor(world, "a", number)
    before = extras(world, "a"), world.held()
    assert world.filter("a-exec-2", BOTH).outcome is Outcome.ALREADY_ADMITTED
    assert (extras(world, "a"), world.held()) == before == ({"a-exec-1": "node1", "a-exec-2": "node1"}, {})


def test_t08_after_a_loss_there_is_one_executor_in_the_slot_and_one_above() -> None:
    """The reference gives the slot to the newcomer, ours to the one that already runs."""
    world = cluster("single-az-tightly-pack")
    driver(world, "a", 1, 3)
    executor(world, "a", 0)
    executor(world, "a", 1)
    world.end("a-exec-0", "Failed")
    assert executor(world, "a", 2).node == "node1"
    assert [pod for _, pod in world.slots("a")] == ["a-exec-1"]
    assert extras(world, "a") == {"a-exec-2": "node1"}


def test_t09_extra_executors_stay_in_the_zone_of_the_driver() -> None:
    world = cluster("single-az-tightly-pack", ("zone1", "zone2"))
    driver(world, "a", 1, offered=["node1"])
    driver(world, "b", 0, 2, ["node2"])
    assert [executor(world, "b", number).node for number in (0, 1)] == ["node2", "node2"]


@pytest.mark.parametrize(("test", "workers", "exceeds"), [("t10", 2, False), ("t11", 100, True)])
def test_t10_t11_what_exceeds_the_cluster_is_told(test: str, workers: int, exceeds: bool) -> None:
    world = cluster("single-az-tightly-pack")
    outcome = driver(world, test, workers).outcome
    assert (outcome is Outcome.EXCEEDS_CLUSTER) is exceeds


def test_t12_devices_that_are_not_there_refuse_driver_and_executors() -> None:
    world = cluster("single-az-tightly-pack")
    with_gpu = {**EXECUTOR, GPU: 1}
    assert driver(world, "a", 2, executor=with_gpu).outcome is Outcome.EXCEEDS_CLUSTER
    for number in (0, 1):
        assert executor(world, "a", number, requests=with_gpu).outcome is Outcome.GANG_NOT_ADMITTED


def test_t13_a_slot_whose_pod_is_gone_is_found_after_a_restart() -> None:
    world = World(Policy(packer="single-az-minimal-fragmentation"))
    world.add(node("n1", 32, 28))
    size = {CPU: 2_000, MEMORY: 4 << 30}
    reservation = {"v": 1, "min": 2, "max": 2, "packer": "", "worker": size, "slots": [["n1", 2]]}
    world.leader(
        "appID1", None, node="n1", phase="Running", annotations={RESERVATION: json.dumps(reservation)}
    )
    world.worker("appID1", 1, node="n1", phase="Running", requests=size)
    world.restart()
    assert executor(world, "appID1", 2, ["n1"], name="new-podName", requests=size).node == "n1"
    assert [pod for _, pod in world.slots("appID1")] == ["appID1-exec-1", "new-podName"]
    world.restart()
    assert [pod for _, pod in world.slots("appID1")] == ["appID1-exec-1", "new-podName"]


@pytest.mark.parametrize(
    ("others", "blocked"),
    [((101.0, 150.0), False), ((101.0,), False), ((101.0, 99.0), True), ((99.0, 101.0), True)],
)
def test_t17_to_t20_only_earlier_drivers_are_waited_for(others: tuple[float, ...], blocked: bool) -> None:
    world = World()
    world.add(node("n1", 8))
    world.foreign("stranger", "n1", requests={CPU: 6_000})
    for created_s in others:
        world.leader(f"at-{created_s:.0f}", spec(5), created_s=created_s)
    world.leader("asking", spec(1), created_s=100.0)
    outcome = world.filter("asking-driver").outcome
    assert outcome is (Outcome.EARLIER_GANG_WAITS if blocked else Outcome.ADMITTED)
