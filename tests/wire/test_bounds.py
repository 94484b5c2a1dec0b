"""Requests larger than kube-scheduler sends of a cluster of this size: refused early, in few words."""

from __future__ import annotations

import json
import logging

import pytest

from extender.adapters.webhooks.bounds import POD_BYTES, Bounds
from tests.wire import go
from tests.wire.world import World, args, driver


def body(names: bytes, made: object = None) -> bytes:
    pod = json.dumps(driver("a") if made is None else made).encode()
    return b'{"Pod":' + pod + b',"Nodes":null,"NodeNames":' + names + b"}"


@pytest.mark.parametrize(
    "names",
    [
        b'["' + b'","'.join([b"a"] * 200_000) + b'"]',
        json.dumps([f"m{number},\\" for number in range(20_000)]).encode(),
        json.dumps(["x" * 300_000]).encode(),
    ],
    ids=["one-letter names", "escaped names", "a long name"],
)
@pytest.mark.parametrize("path", ["/filter", "/prioritize"])
async def test_more_nodes_than_the_cluster_can_have_are_a_bad_request(names: bytes, path: str):
    world = World(50)
    answer = await world.post(path, body(names))
    assert len(answer) < 1000
    assert world.seen[-1][1] == "bad-request"


async def test_a_cluster_may_have_grown_since_the_watch_spoke():
    world = World(50)
    names = [f"new-{number}" for number in range(1000)] + world.names
    assert len((await world.filter(driver("a"), names)).names or ()) == 1


@pytest.mark.parametrize("field", ["annotations", "labels", "uid"])
async def test_a_pod_larger_than_the_api_server_takes_is_a_bad_request(field: str):
    world = World(5000)
    made = driver("a")
    text = "x" * POD_BYTES
    made["metadata"][field] = text if field == "uid" else {"a": text}
    result = go.filter_result(await world.post("/filter", args(made, world.names[:5])), [])
    assert "longer than" in result.error
    assert world.seen[-1][1] == "bad-request"


def test_bounds_grow_with_the_cluster_and_never_beyond_the_setting():
    small, large, none = (Bounds.of(nodes, 64 << 20) for nodes in (3, 5000, None))
    assert small.body_bytes < 12 << 20 < large.body_bytes <= 64 << 20
    assert large.nodes >= 10_000
    assert none.body_bytes == 64 << 20
    assert Bounds.of(5000, 4096).body_bytes == 4096


async def test_bad_requests_do_not_fill_the_log(caplog: pytest.LogCaptureFixture):
    world = World()
    with caplog.at_level(logging.WARNING):
        for number in range(200):
            await world.post("/filter", b"{" + str(number).encode())
            await world.post("/bind", b"{}")
    assert len(caplog.records) <= 2
