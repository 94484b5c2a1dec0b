"""The model of kube-scheduler: its queue, its filters, and how it calls an extender."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from extender.lab.extender_client import ExtenderClient
from extender.lab.registry import NODE, POD, Object, Registry
from extender.lab.scheduler import Attempt, ClusterView, Scheduler, project_pod
from extender.lab.scheduling_queue import SchedulingQueue
from tests.lab.support import (
    Answer,
    accepting_everything,
    http,
    refusing_everything,
    small_nodes,
)
from tests.patience import PATIENCE_S

BACKOFF_S = (0.01, 0.02)


def pod(name: str, cpu: str = "1", scheduler: str = "carbon-scheduler", **spec: Any) -> Object:
    containers = [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"schedulerName": scheduler, "containers": containers, **spec},
    }


class Heard:
    """Attempts as they end."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self._more = asyncio.Event()

    def __call__(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self._more.set()

    async def number(self, number: int) -> list[Attempt]:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.attempts) < number:
                self._more.clear()
                await self._more.wait()
        return self.attempts


@asynccontextmanager
async def scheduling(
    registry: Registry, routes: dict[str, Answer] | None = None, name: str = "carbon-scheduler"
) -> AsyncIterator[Heard]:
    heard = Heard()
    async with http(routes or {}) as url, ExtenderClient(url) as extender:
        scheduler = Scheduler(
            name,
            registry,
            extender=extender if routes is not None else None,
            backoff_s=BACKOFF_S,
            on_attempt=heard,
        )
        task = asyncio.create_task(scheduler.run())
        try:
            yield heard
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def bound(registry: Registry, name: str) -> str:
    """The node of a pod, once it has one."""
    done = asyncio.Event()
    unsubscribe = registry.subscribe(
        lambda change: done.set() if change.object["spec"].get("nodeName") else None
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not (node := registry.get(POD, "ns", name)["spec"].get("nodeName")):
                done.clear()
                await done.wait()
        return node
    finally:
        unsubscribe()


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    for each in small_nodes(3):
        made.create(NODE, each)
    return made


async def test_without_an_extender_it_is_the_default_scheduler(registry: Registry) -> None:
    registry.create(POD, pod("mine", scheduler="default-scheduler"))
    registry.create(POD, pod("other"))
    async with scheduling(registry, name="default-scheduler") as heard:
        assert await bound(registry, "mine") in {"n1", "n2", "n3"}
    assert [each.pod["metadata"]["name"] for each in heard.attempts] == ["mine"]


async def test_many_nodes_are_ranked_by_prioritize(registry: Registry) -> None:
    routes = accepting_everything(registry)
    routes["/prioritize"] = lambda body: [{"Host": n, "Score": 10 * (n == "n2")} for n in body["NodeNames"]]
    registry.create(POD, pod("p"))
    async with scheduling(registry, routes):
        assert await bound(registry, "p") == "n2"


async def test_one_node_is_not_ranked(registry: Registry) -> None:
    routes = accepting_everything(registry)
    routes["/filter"] = lambda _: {"NodeNames": ["n3"]}
    del routes["/prioritize"]
    registry.create(POD, pod("p"))
    async with scheduling(registry, routes):
        assert await bound(registry, "p") == "n3"


async def test_pods_that_fit_nowhere_are_not_shown_to_the_extender(registry: Registry) -> None:
    registry.create(POD, pod("huge", cpu="5"))
    async with scheduling(registry, {}) as heard:
        (first, *_) = await heard.number(1)
    assert not first.by_extender
    assert first.reason.startswith("0/3 nodes are available")
    condition = registry.get(POD, "ns", "huge")["status"]["conditions"][0]
    assert (condition["status"], condition["message"]) == ("False", first.reason)


async def test_a_refused_pod_waits_for_an_event(registry: Registry) -> None:
    registry.create(POD, pod("p"))
    async with scheduling(registry, refusing_everything()) as heard:
        # Its own condition wakes it once; with the same text there is no second change.
        await heard.number(2)
        registry.merge_patch(POD, "ns", "p", {"metadata": {"annotations": {"wake": "1"}}})
        await heard.number(3)
        registry.merge_patch(NODE, "", "n1", {"metadata": {"labels": {"a": "b"}}})
        await heard.number(4)
    assert {each.reason for each in heard.attempts} == {"carbon-scheduler: no-room: no"}
    assert {each.by_extender for each in heard.attempts} == {True}


async def test_an_error_is_tried_again_without_an_event(registry: Registry) -> None:
    answers = iter([{"Error": "not ready"}, {"NodeNames": ["n1"]}])
    routes = {**accepting_everything(registry), "/filter": lambda _: next(answers)}
    registry.create(POD, pod("p"))
    async with scheduling(registry, routes) as heard:
        assert await bound(registry, "p") == "n1"
    assert heard.attempts[0].reason == "extender: not ready"


async def test_a_failed_bind_gives_the_room_back(registry: Registry) -> None:
    routes = accepting_everything(registry)
    bind, calls = routes["/bind"], iter([{"Error": "the API server is away"}])
    routes["/bind"] = lambda body: next(calls, None) or bind(body)
    registry.create(POD, pod("p", cpu="4"))
    async with scheduling(registry, routes) as heard:
        await bound(registry, "p")
    assert "bind: the API server is away" in {each.reason for each in heard.attempts}


async def test_room_is_assumed_taken_before_the_binding_is_there(registry: Registry) -> None:
    for number in range(4):
        registry.create(POD, pod(f"p{number}", cpu="3"))
    async with scheduling(registry, accepting_everything(registry)) as heard:
        attempts = await heard.number(4)
    placed = [each.node for each in attempts[:4] if each.node]
    assert sorted(placed) == ["n1", "n2", "n3"]


def test_in_tree_filters(registry: Registry) -> None:
    registry.merge_patch(NODE, "", "n1", {"spec": {"unschedulable": True}})
    registry.merge_patch(NODE, "", "n2", {"spec": {"taints": [{"key": "spot", "effect": "NoSchedule"}]}})
    registry.merge_patch(NODE, "", "n3", {"metadata": {"labels": {"disk": "ssd"}}})
    view = ClusterView(registry)

    def fitting(**spec: Any) -> list[str]:
        return view.fitting(project_pod(registry.create(POD, pod(f"p{registry.version}", **spec))))

    assert fitting() == ["n3"]
    assert fitting(tolerations=[{"key": "spot", "operator": "Exists"}]) == ["n2", "n3"]
    assert fitting(tolerations=[{"operator": "Exists"}], nodeSelector={"disk": "ssd"}) == ["n3"]
    view.take("x", "n3", {"cpu": 3500})
    assert fitting() == []
    view.release("x")
    assert fitting() == ["n3"]


async def test_higher_priority_goes_first_then_age() -> None:
    queue = SchedulingQueue()
    for uid, priority in (("a", 0), ("b", 10), ("c", 0)):
        queue.add(uid, priority)
    assert [await queue.pop() for _ in range(3)] == ["b", "a", "c"]


async def test_an_event_during_the_attempt_is_not_lost() -> None:
    queue = SchedulingQueue(*BACKOFF_S)
    queue.add("a", 0)
    assert await queue.pop() == "a"
    queue.wake()
    queue.refused("a")
    async with asyncio.timeout(PATIENCE_S):
        assert await queue.pop() == "a"


async def test_backoff_grows_to_its_limit_and_wakes_do_not_shorten_it() -> None:
    loop = asyncio.get_running_loop()
    queue = SchedulingQueue(1000.0, 2000.0)
    queue.add("a", 0)
    for expected_s in (1000.0, 2000.0, 2000.0):
        assert await queue.pop() == "a"
        before_s = loop.time()
        queue.refused("a")
        queue.wake("a")
        ready_s = queue._entries["a"].ready_s  # pyright: ignore[reportPrivateUsage]
        assert before_s + expected_s <= ready_s <= loop.time() + expected_s
        assert not queue._active  # pyright: ignore[reportPrivateUsage]
        queue._activate("a")  # pyright: ignore[reportPrivateUsage]
    queue.remove("a")
    assert "a" not in queue
