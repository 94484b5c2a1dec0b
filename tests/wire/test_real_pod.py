"""A caller of the webhooks may say anything of a pod: at bind at the latest, the pod itself decides."""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.events import NodeSeen, PodGone, PodRead, VerifyPod
from extender.core.facts import NodeFacts
from extender.core.nodes.terms import Taint
from tests.wire.world import GIB, World, driver, pod


def tainted() -> World:
    """n0 of four cores, and `gpu`, which only pods that tolerate it may use."""
    world = World(1)
    taints = (Taint("secure", "", "NoSchedule"),)
    allocatable = {"cpu": 64_000, "memory": 256 * GIB, "pods": 110}
    world.store.apply(NodeSeen(NodeFacts("gpu", allocatable, taints=taints)), world.now)
    return world


async def bound_by_a_lie(world: World, real: dict[str, Any], lie: dict[str, Any], node: str) -> str:
    world.api[real["metadata"]["uid"]] = real
    assert (await world.filter(lie, [node])).names == [node]
    return await world.bind(lie, node)


async def test_a_pod_of_another_scheduler_is_not_bound():
    world = tainted()
    error = await bound_by_a_lie(world, pod("victim", scheduler="default-scheduler"), pod("victim"), "n0")
    assert "not known" in error
    assert (world.writer.written, world.held()) == ([], {})


async def test_a_toleration_that_the_pod_lacks_does_not_count():
    world = tainted()
    lie = pod("victim", tolerations=[{"operator": "Exists"}])
    assert "no room is reserved for the pod on gpu" in await bound_by_a_lie(world, pod("victim"), lie, "gpu")
    assert (world.writer.written, world.held()) == ([], {})


async def test_a_pod_that_is_larger_than_said_is_not_bound_without_room():
    world = tainted()
    real, lie = pod("victim", cpu="5"), pod("victim", cpu="100m")
    assert "no room is reserved for the pod on n0" in await bound_by_a_lie(world, real, lie, "n0")
    assert (world.writer.written, world.held()) == ([], {})


async def test_a_driver_that_needs_more_executors_than_said_is_not_bound_without_their_room():
    world = tainted()
    real, lie = driver("a", executors=9), driver("a", executors=1)
    assert "no room is reserved" in await bound_by_a_lie(world, real, lie, "n0")
    assert (world.writer.written, world.held()) == ([], {})


async def test_a_driver_without_a_request_of_its_own_is_not_bound_by_the_callers():
    world = tainted()
    real, lie = driver("a", annotations={"carbon-scheduler/executor-count": "none"}), driver("a", executors=1)
    assert "no room is reserved" in await bound_by_a_lie(world, real, lie, "n0")
    assert world.writer.written == []


async def test_a_pod_that_does_not_exist_is_not_bound():
    world = tainted()
    world.api["uid-ghost"] = None
    assert (await world.filter(pod("ghost"))).names
    assert "not known" in await world.bind(pod("ghost"), "n0")
    assert (world.writer.written, world.held()) == ([], {})


async def test_a_pod_that_cannot_be_read_is_not_bound_now():
    world = tainted()
    node = ((await world.filter(pod("a"))).names or [""])[0]
    world.unread = "no answer"
    assert "cannot be read before it is bound: no answer" in await world.bind(pod("a"), node)
    world.unread = ""
    assert await world.bind(pod("a"), node) == ""


async def test_room_of_a_pod_that_does_not_exist_is_given_back_as_soon_as_the_api_server_says_so():
    world = tainted()
    assert (await world.filter(pod("ghost"))).names
    assert world.asked == [VerifyPod("uid-ghost", "ns", "ghost")]
    world.engine.observe(PodGone("uid-ghost"), world.now)
    assert world.held() == {}


async def test_a_bound_pod_of_another_scheduler_is_left_alone():
    world = tainted()
    other = pod("victim", scheduler="default-scheduler")
    world.see(other, "n0", "Running")
    used = world.store.state.nodes.used.copy()
    assert not (await world.filter(pod("victim"))).names
    world.engine.observe(PodRead(world.facts(other)), world.now)
    assert (world.store.state.nodes.used == used).all()


@pytest.mark.parametrize("seconds", [10, 600])
async def test_a_pod_bound_by_us_that_the_watch_never_shows_is_asked_for_and_given_up(seconds: int):
    world = tainted()
    node = ((await world.filter(pod("a"))).names or [""])[0]
    assert await world.bind(pod("a"), node) == ""
    world.now += seconds
    assert VerifyPod("uid-a", "ns", "a") in world.engine.tick(world.now)
    assert "uid-a" in world.store.state.seats
    world.engine.observe(PodGone("uid-a"), world.now)
    assert "uid-a" not in world.store.state.seats


async def test_what_the_watch_shows_of_a_pod_replaces_what_a_caller_told():
    world = tainted()
    assert (await world.filter(driver("victim"), ["n0"])).names
    world.see(pod("victim-driver", scheduler="default-scheduler"))
    assert (world.held(), world.store.state.gangs) == ({}, {})
    assert "not known" in await world.bind(driver("victim"), "n0")
    assert world.writer.written == []
