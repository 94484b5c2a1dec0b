"""preempt: only the nodes on which evicting would really help; the reply is by uid in both modes."""

from __future__ import annotations

import json

import pytest

from tests.wire import go
from tests.wire.world import Object, World, driver, pod


async def preempt(
    world: World, made: Object, victims: dict[str, list[Object]], *, meta: bool
) -> dict[str, list[str]]:
    def listed(pods: list[Object]) -> Object:
        short = [{"UID": each["metadata"]["uid"]} for each in pods]
        return {"Pods": short if meta else pods, "NumPDBViolations": 1}

    by_node = {node: listed(pods) for node, pods in victims.items()}
    call = {
        "Pod": made,
        "NodeNameToVictims": None if meta else by_node,
        "NodeNameToMetaVictims": by_node if meta else None,
    }
    return go.preempt_result(await world.post("/preempt", json.dumps(call).encode()))


def full_world() -> tuple[World, list[Object]]:
    """Two nodes of 4 cores, each filled by one pod of another scheduler."""
    world = World(nodes=2)
    others = [pod(f"other-{name}", scheduler="default", cpu="4") for name in world.names]
    for made, name in zip(others, world.names, strict=True):
        world.see(made, name, "Running")
    return world, others


@pytest.mark.parametrize("meta", [True, False])
async def test_a_node_on_which_the_whole_gang_would_fit_is_useful(meta: bool):
    world, (first, second) = full_world()
    useful = await preempt(world, driver("a", executors=2), {"n0": [first], "n1": [second]}, meta=meta)
    assert useful == {"n0": ["uid-other-n0"], "n1": ["uid-other-n1"]}


@pytest.mark.parametrize("meta", [True, False])
async def test_evicting_for_the_driver_alone_is_vetoed(meta: bool):
    world, (first, second) = full_world()
    assert await preempt(world, driver("a", executors=6), {"n0": [first], "n1": [second]}, meta=meta) == {}


async def test_candidates_without_victims_are_dropped():
    world, (first, _) = full_world()
    assert await preempt(world, pod("p"), {"n0": [first], "n1": []}, meta=True) == {"n0": ["uid-other-n0"]}


async def test_unknown_nodes_and_victims_are_dropped():
    world, (first, _) = full_world()
    assert await preempt(world, pod("p"), {"ghost": [first], "n1": [first]}, meta=True) == {}


async def test_pods_of_another_scheduler_get_a_veto():
    world, (first, _) = full_world()
    assert await preempt(world, pod("p", scheduler="x"), {"n0": [first]}, meta=True) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"Pod":null}',
        b'{"Pod":{"metadata":{"uid":"u","name":"p"}},"NodeNameToMetaVictims":{"n0":{"Pods":[{}]}}}',
        b'{"Pod":{"metadata":{"uid":"u","name":"p"}},"NodeNameToMetaVictims":{"n0":{"Pods":null}}}',
        b'{"Pod":{"metadata":{"uid":"u","name":"p"}},"NodeNameToMetaVictims":{"n0":null}}',
    ],
)
async def test_what_cannot_be_read_evicts_nobody(body: bytes):
    world = World()
    assert go.preempt_result(await world.post("/preempt", body)) == {}
