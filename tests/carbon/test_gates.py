"""The scheduling gate `carbon-scheduler/hold`: seen, and taken off alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.patching import PodPatcher
from extender.adapters.spark.identify import identify
from extender.objects.projection import HOLD_GATE, PodProjector
from extender.objects.structs import decode_pod
from tests.cluster.apiserver import ApiServer, Object, answer, pod
from tests.cluster.follower import Naps, running

OURS, THEIRS = {"name": HOLD_GATE}, {"name": "example.com/quota"}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with ApiServer() as made:
        yield made


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[ApiClient]:
    async with await server.client() as made:
        yield made


def gated(name: str, *gates: Object) -> Object:
    return pod(name, schedulingGates=list(gates))


def gates(server: ApiServer, name: str) -> list[str]:
    return [each["name"] for each in server.objects["pods"]["ns", name]["spec"]["schedulingGates"]]


@pytest.mark.parametrize(
    ("listed", "is_gated", "is_held"),
    [
        (None, False, False),
        ([], False, False),
        ([OURS], True, True),
        ([THEIRS], True, False),
        ([OURS, THEIRS], True, False),
        ([{}], True, False),
    ],
)
def test_a_pod_is_ours_to_release_when_only_our_gate_is_left(
    listed: list[Any] | None, is_gated: bool, is_held: bool
):
    facts = PodProjector(identify).facts(decode_pod(json.dumps(pod("a", schedulingGates=listed)).encode()))
    assert (facts.gated, facts.hold_gate) == (is_gated, is_held)


async def test_exactly_our_gate_is_taken_off(server: ApiServer, client: ApiClient):
    patcher = PodPatcher(client, sleep=Naps())
    server.put("pods", gated("a", THEIRS, OURS))
    server.put("pods", gated("b", OURS))
    patcher.ungate("ns", "a", "uid-a")
    patcher.ungate("ns", "b", "uid-b")
    async with running(patcher):
        await patcher.idle()
    assert gates(server, "a") == ["example.com/quota"]
    assert gates(server, "b") == []


async def test_a_namesake_keeps_its_gate(server: ApiServer, client: ApiClient):
    patcher = PodPatcher(client, sleep=Naps())
    server.put("pods", {**gated("a", OURS), "metadata": {**pod("a")["metadata"], "uid": "another"}})
    patcher.ungate("ns", "a", "uid-a")
    async with running(patcher):
        await patcher.idle()
    assert gates(server, "a") == [HOLD_GATE]
    assert patcher.health.pod_gone == 1


async def test_the_gate_is_taken_off_in_the_end_with_the_annotations(server: ApiServer, client: ApiClient):
    patcher = PodPatcher(client, sleep=Naps())
    server.put("pods", gated("a", OURS))
    server.faults["patch"].extend([answer(500, "InternalError")] * 3)
    patcher.ungate("ns", "a", "uid-a")
    patcher.submit("ns", "a", "uid-a", {"k": "v"})
    async with running(patcher):
        await patcher.idle()
    assert gates(server, "a") == []
    assert server.objects["pods"]["ns", "a"]["metadata"]["annotations"] == {"k": "v"}
