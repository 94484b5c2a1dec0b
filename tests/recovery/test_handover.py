"""A replica that begins to lead reads what is bound, once, before it decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.core import queries
from extender.core.events import Instruction, NodeSeen, Synced
from extender.core.facts import PodFacts
from extender.core.leadership import UNBROKEN_S
from extender.core.offers import Listed
from extender.core.policy import Policy
from extender.engine import Engine
from extender.objects.projection import PodProjector
from extender.runtime.handover import Handover
from extender.runtime.pod_reads import PodReads
from tests.cluster.apiserver import ApiServer, Fault, Object, answer, lose, pod, text
from tests.gang.world import node

OURS = "carbon-scheduler"


class Replica:
    """An engine that the watch has filled, and its handover. `now` is set by hand."""

    def __init__(self, client: ApiClient, *schedulers: str) -> None:
        self.now = 1_000.0
        self.engine = Engine(Policy(scheduler_names=frozenset(schedulers or (OURS,))), SpecReader())
        self.engine.observe(NodeSeen(node("n1")), self.now)
        self.done: list[Instruction] = []
        reads = PodReads(client, PodProjector(identify), self.engine, self.perform, lambda: self.now)
        self.handover = Handover(reads)

    def perform(self, instructions: Iterable[Instruction]) -> None:
        self.done += instructions

    def synced(self) -> Replica:
        self.engine.observe(Synced(), self.now)
        return self

    def used_pods(self) -> int:
        """Bound pods that the engine counts on the node."""
        (only,) = queries.nodes(self.engine.store)
        return only.used["pods"]


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An empty API server."""
    async with ApiServer() as running:
        yield running


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[ApiClient]:
    """A client of it."""
    async with await server.client() as made:
        yield made


def bound(name: str, scheduler: str = OURS, phase: str = "Running") -> Object:
    """A pod of a scheduler of ours on the node."""
    made = pod(name, node="n1", schedulerName=scheduler)
    made["status"]["phase"] = phase
    return made


async def test_what_another_replica_bound_counts_before_the_watch_shows_it(
    server: ApiServer, client: ApiClient
) -> None:
    replica = Replica(client).synced()
    server.put("pods", bound("theirs"))
    assert await replica.handover() == ""
    assert replica.used_pods() == 1
    assert replica.engine.store.leadership.leads(replica.now)


async def test_only_running_pods_of_our_schedulers_are_read(server: ApiServer, client: ApiClient) -> None:
    replica = Replica(client, OURS, "carbon-batch").synced()
    others = (
        bound("ended", phase="Succeeded"),
        bound("failed", phase="Failed"),
        bound("x", "default-scheduler"),
    )
    for made in (bound("a"), bound("b", "carbon-batch"), *others, pod("unbound", schedulerName=OURS)):
        server.put("pods", made)
    assert await replica.handover() == ""
    assert replica.used_pods() == 2


async def test_before_the_first_lists_nothing_is_read(server: ApiServer, client: ApiClient) -> None:
    replica = Replica(client)
    assert await replica.handover() == ""
    assert not server.requests


async def test_calls_that_go_on_cost_no_read(server: ApiServer, client: ApiClient) -> None:
    replica = Replica(client).synced()
    for _ in range(10):
        assert await replica.handover() == ""
        replica.now += UNBROKEN_S - 0.1
    assert server.count("list") == 1


async def test_calls_that_begin_again_after_a_pause_cost_one_read(
    server: ApiServer, client: ApiClient
) -> None:
    replica = Replica(client).synced()
    await replica.handover()
    server.put("pods", bound("meanwhile"))
    replica.now += UNBROKEN_S
    assert await replica.handover() == ""
    assert (server.count("list"), replica.used_pods()) == (2, 1)


async def test_a_call_to_preempt_does_not_stand_in_for_the_read(server: ApiServer, client: ApiClient) -> None:
    replica = Replica(client).synced()
    await replica.handover()
    replica.now += UNBROKEN_S
    stranger = PodFacts(uid="u", namespace="ns", name="p", scheduler_name=OURS)
    replica.engine.preempt(stranger, {}, replica.now)
    await replica.handover()
    assert server.count("list") == 2


async def test_a_replica_that_lost_the_lease_reads_again_however_short_the_pause(
    server: ApiServer, client: ApiClient
) -> None:
    replica = Replica(client).synced()
    await replica.handover()
    replica.engine.store.leadership.lost()
    assert await replica.handover() == ""
    assert server.count("list") == 2


async def test_calls_at_once_share_one_read(server: ApiServer, client: ApiClient) -> None:
    replica = Replica(client).synced()
    server.put("pods", bound("theirs"))
    assert await asyncio.gather(*(replica.handover() for _ in range(5))) == [""] * 5
    assert server.count("list") == 1


async def test_a_caller_that_gives_up_does_not_end_the_read_of_the_others(
    server: ApiServer, client: ApiClient
) -> None:
    replica = Replica(client).synced()
    server.put("pods", bound("theirs"))
    impatient, patient = (asyncio.ensure_future(replica.handover()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == ""
    assert (server.count("list"), replica.used_pods()) == (1, 1)


@pytest.mark.parametrize(
    "fault", [answer(403, "Forbidden"), text(b"<html>"), lose()], ids=["403", "html", "cut"]
)
async def test_a_read_that_fails_is_a_reason_and_is_tried_again_with_the_next_call(
    server: ApiServer, client: ApiClient, fault: Fault
) -> None:
    replica = Replica(client).synced()
    server.put("pods", bound("theirs"))
    server.faults["list"].extend([fault] * 20)
    assert (await replica.handover()).startswith("what is bound cannot be read: ")
    assert not replica.engine.store.leadership.leads(replica.now)
    server.faults["list"].clear()
    assert await replica.handover() == ""
    assert replica.used_pods() == 1


async def test_a_pod_that_cannot_be_read_is_left_to_the_watch(
    server: ApiServer, client: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    replica = Replica(client).synced()
    odd = bound("odd")
    odd["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "lots"
    server.put("pods", odd)
    server.put("pods", bound("theirs"))
    assert await replica.handover() == ""
    assert replica.used_pods() == 1
    assert "a bound pod is left to the watch" in caplog.text


async def test_what_the_read_shows_is_judged_like_any_other_news(
    server: ApiServer, client: ApiClient
) -> None:
    """Room promised to a pod is void once another replica has bound pods."""
    replica = Replica(client).synced()
    waiting = PodFacts(uid="w", namespace="ns", name="w", scheduler_name=OURS, requests={"cpu": 1000})
    assert replica.engine.filter(waiting, Listed(["n1"]), replica.now).node == "n1"
    server.put("pods", bound("theirs"))
    assert await replica.handover() == ""
    (only,) = queries.nodes(replica.engine.store)
    assert only.reserved["pods"] == 0
