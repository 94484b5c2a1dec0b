"""Whole worlds: sound with the real service, and found out when the extender is wrong on purpose."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import aiohttp
import pytest

from extender.lab.checks import Invariant
from extender.lab.cluster import Pace
from extender.lab.registry import POD, Change, phase_of
from extender.lab.spark import NAMESPACE
from extender.lab.summary import percentile, summarize
from extender.lab.workload import Submission, applications, demo_nodes, foreign_pods
from extender.lab.world import Note, World
from tests.lab.support import (
    accepting_everything,
    application,
    http,
    real_service,
    refusing_everything,
    small_nodes,
)
from tests.patience import PATIENCE_S

FAST = Pace(20.0)


async def until_settled(world: World, number: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await world.until(lambda: world.settled(number))


async def ask(url: str, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url + path) as response:
        return await response.json()


async def compare(world: World, url: str) -> None:
    """Let the service's watches catch up, and note what it believes in the end."""
    await world.freeze()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            nodes, summaries = await ask(url, "/v1/nodes"), await ask(url, "/v1/applications")
            if world.checker.agrees(nodes, summaries):
                break
    world.checker.saw_last(nodes, summaries)


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_real_service_keeps_every_invariant(seed: int) -> None:
    draw = random.Random(seed)
    apps = applications(18, 0.5, draw)
    foreign = foreign_pods(apps[-1].at_s, 1.0, draw)
    async with (
        World(demo_nodes(), FAST, draw=draw) as world,
        real_service(world.server.url, kubernetes__claim_ttl_s=5.0) as url,
    ):
        await world.schedule_with(url)
        await world.play(apps, foreign)
        await until_settled(world, len(apps))
        await compare(world, url)
        world.checker.came_to_rest(0.0, 1.0)
        summary = summarize(world, seed, {}, complete=True)
    assert world.checker.broken == {}
    assert summary.sound
    assert (summary.finished, summary.refused, summary.waiting) == (16, 2, 0)
    never = {each for each in Invariant if not world.checker.checked[each]}
    # Nobody need have waited, and nobody may wait for clean power.
    assert never <= {Invariant.FIRST_IN_FIRST_OUT, Invariant.NOT_HELD_PAST_LATEST_START}
    pods = world.registry.all(POD, NAMESPACE)
    roles = Counter((each["metadata"]["labels"]["spark-role"], phase_of(each)) for each in pods)
    assert roles["driver", "Succeeded"] == 16
    assert roles["driver", "Pending"] == 2
    assert ("executor", "Running") not in roles


async def test_a_lost_executor_is_replaced_on_its_slot() -> None:
    app = application(executors=3, work_s=9.0)
    async with World(small_nodes(2), FAST) as world, real_service(world.server.url) as url:
        await world.schedule_with(url)
        await world.play([Submission(0.0, app, fails_at=0.5)], [])
        await until_settled(world, 1)
        await compare(world, url)
    assert world.checker.broken == {}
    names = {each.object["metadata"]["name"] for each in world.registry.since(POD, 0)}
    assert {"app-exec-3", "app-exec-4"} <= names


async def test_what_it_tells() -> None:
    told: list[Note] = []
    app = application(executors=1)
    nodes = small_nodes(2)
    async with World(nodes, FAST, tell=told.append) as world, real_service(world.server.url) as url:
        await world.schedule_with(url)
        world.submit(app)
        world.submit(application("huge", executors=50, admissible=False))
        await until_settled(world, 2)
    kinds = Counter((each.kind, each.name) for each in told)
    assert kinds["submitted", "app"] == kinds["admitted", "app"] == kinds["finished", "app"] == 1
    texts = {each.text for each in told if each.kind == "refused"}
    assert any(text.startswith("exceeds-cluster: ") for text in texts)


async def test_an_extender_that_accepts_everything_is_found_out() -> None:
    apps = applications(18, 0.2, random.Random(1))
    async with World(demo_nodes(), FAST) as world, http(accepting_everything(world.registry)) as url:
        await world.schedule_with(url)
        await world.play(apps, [])
        async with asyncio.timeout(PATIENCE_S):
            await world.until(lambda: Invariant.INADMISSIBLE_NEVER_STARTS in world.checker.broken)
    assert Invariant.ROOM_FOR_MINIMUM in world.checker.broken
    summary = summarize(world, 1, {}, complete=False)
    assert not summary.sound
    assert summary.invariants_broken[Invariant.ROOM_FOR_MINIMUM]


async def test_an_extender_that_binds_anywhere_overcommits_and_is_found_out() -> None:
    """Bound past kube-scheduler's own filters: one node for all."""
    async with World(small_nodes(2), FAST) as world:
        routes = accepting_everything(world.registry)
        bind = routes["/bind"]
        async with http({**routes, "/bind": lambda body: bind({**body, "Node": "n1"})}) as url:
            await world.schedule_with(url)
            for number in range(3):
                world.submit(application(f"app-{number}", executors=3))
            async with asyncio.timeout(PATIENCE_S):
                await world.until(lambda: Invariant.NODE_NOT_OVERCOMMITTED in world.checker.broken)


async def test_an_extender_that_refuses_everything_is_found_out() -> None:
    async with World(small_nodes(2), FAST) as world, http(refusing_everything()) as url:
        await world.schedule_with(url)
        record = world.submit(application())
        async with asyncio.timeout(PATIENCE_S):
            await world.until(lambda: record.refused)
        world.checker.came_to_rest(10.0, 10.0)
    assert set(world.checker.broken) == {Invariant.ADMISSIBLE_IS_ADMITTED}


async def test_a_queue_without_order_is_found_out() -> None:
    """The real service, told not to keep order, lets small gangs pass a large one."""
    async with World(small_nodes(3), FAST) as world, real_service(world.server.url, pools__fifo="off") as url:
        await world.schedule_with(url)
        first = world.submit(application("first", executors=8, work_s=400.0))
        async with asyncio.timeout(PATIENCE_S):
            await world.until(lambda: first.bound_s is not None)
            large = world.submit(application("large", executors=6, priority=5))
            await world.until(lambda: large.refused)
            small = world.submit(application("small", executors=1))
            await world.until(lambda: small.bound_s is not None)
    assert set(world.checker.broken) == {Invariant.FIRST_IN_FIRST_OUT}


async def test_a_part_that_fails_is_not_silent() -> None:
    def fail(_: Change) -> None:
        raise ZeroDivisionError

    async with World(small_nodes(1), FAST) as world:
        world.registry.subscribe(fail)
        world.submit(application())
        with pytest.raises(ZeroDivisionError):
            world.check()


def test_percentiles() -> None:
    assert percentile([], 50) == 0.0
    assert [percentile(range(1, 101), each) for each in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([3.0], 1) == 3.0
