"""The embedded API server over HTTP, asked by the client and the reflector of the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.reflector import Reflector
from extender.lab.apiserver import ApiServer, selector
from extender.lab.faults import answer
from extender.lab.registry import NODE, POD, Refusal, Registry
from tests.lab.support import small_nodes
from tests.patience import PATIENCE_S


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
async def server(registry: Registry) -> AsyncIterator[ApiServer]:
    async with ApiServer(registry, bookmark_s=0.01) as running:
        yield running


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[ApiClient]:
    async with await ApiClient.anonymous(server.url) as made:
        yield made


def make_pods(registry: Registry, *names: str, **labels: str) -> None:
    for name in names:
        registry.create(POD, {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "spec": {}})


async def listed(client: ApiClient, path: str, **params: str) -> tuple[list[str], dict[str, Any]]:
    page = json.loads(await client.get(path, params))
    return [each["metadata"]["name"] for each in page["items"]], page["metadata"]


async def test_lists_come_in_pages_of_one_version(registry: Registry, client: ApiClient) -> None:
    make_pods(registry, *"abcde")
    names, first = await listed(client, "/api/v1/pods", limit="2")
    make_pods(registry, "f")
    more, second = await listed(client, "/api/v1/pods", limit="2", **{"continue": first["continue"]})
    rest, last = await listed(client, "/api/v1/pods", limit="2", **{"continue": second["continue"]})
    assert [*names, *more, *rest] == list("abcde")
    assert first["resourceVersion"] == second["resourceVersion"] == last["resourceVersion"]
    assert "continue" not in last
    with pytest.raises(ApiError) as caught:
        await client.get("/api/v1/pods", {"continue": "0-2"})
    assert caught.value.expired


async def test_selectors(registry: Registry, client: ApiClient) -> None:
    make_pods(registry, "a", app="web", tier="front")
    make_pods(registry, "b", app="web")
    make_pods(registry, "c")
    registry.bind("ns", "b", {"metadata": {}, "target": {"name": "n1"}})
    path = "/api/v1/namespaces/ns/pods"
    assert (await listed(client, path, labelSelector="app=web,!tier"))[0] == ["b"]
    assert (await listed(client, path, labelSelector="app!=web"))[0] == ["c"]
    assert (await listed(client, path, labelSelector="tier"))[0] == ["a"]
    assert (await listed(client, path, fieldSelector="spec.nodeName=n1"))[0] == ["b"]
    assert (await listed(client, path, fieldSelector="metadata.name!=b"))[0] == ["a", "c"]
    assert (await listed(client, "/api/v1/namespaces/other/pods"))[0] == []
    with pytest.raises(ApiError, match="not supported"):
        await client.get(path, {"fieldSelector": "spec.nowhere=1"})


def test_a_selector_that_is_none_is_refused() -> None:
    with pytest.raises(Refusal, match="unable to parse"):
        selector("=x")


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/secrets", "/api/v1/namespaces/ns/nodes", "/api/v1/pods/p", "/apis/apps/v1/pods"]
)
async def test_what_is_not_there_is_404(client: ApiClient, path: str) -> None:
    with pytest.raises(ApiError) as caught:
        await client.get(path)
    assert caught.value.status == 404


async def test_bad_requests_are_statuses(registry: Registry, client: ApiClient) -> None:
    make_pods(registry, "p")
    for body in (b"", b"{", b"[]", b"\xff"):
        with pytest.raises(ApiError) as caught:
            await client.post("/api/v1/namespaces/ns/pods/p/binding", body)
        assert (caught.value.status, caught.value.reason) == (400, "BadRequest")
    with pytest.raises(ApiError) as caught:
        await client.post("/api/v1/namespaces/ns/pods/p/eviction", b"{}")
    assert caught.value.status == 405


async def test_writes_over_http(registry: Registry, client: ApiClient) -> None:
    await client.post("/api/v1/namespaces/ns/pods", b'{"metadata":{"name":"p"},"spec":{}}')
    await client.patch("/api/v1/namespaces/ns/pods/p", b'{"metadata":{"annotations":{"a":"1"}}}')
    target = b'{"metadata":{"annotations":{"b":"2"}},"target":{"name":"n1"}}'
    assert (
        json.loads(await client.post("/api/v1/namespaces/ns/pods/p/binding", target))["status"] == "Success"
    )
    await client.patch("/api/v1/namespaces/ns/pods/p/status", b'{"status":{"phase":"Running"}}')
    pod = json.loads(await client.get("/api/v1/namespaces/ns/pods/p"))
    assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")
    assert pod["metadata"]["annotations"] == {"a": "1", "b": "2"}
    assert (pod["spec"]["nodeName"], pod["status"]["phase"]) == ("n1", "Running")


class Names:
    """A sink of names."""

    def __init__(self) -> None:
        self.present: dict[str, str] = {}
        self.changed = asyncio.Event()

    def seen(self, item: dict[str, Any]) -> None:
        self.present[item["metadata"]["uid"]] = item["metadata"]["name"]
        self.changed.set()

    def gone(self, key: str) -> None:
        self.present.pop(key, None)
        self.changed.set()

    def listed(self) -> None:
        self.changed.set()

    async def become(self, *names: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while sorted(self.present.values()) != sorted(names):
                self.changed.clear()
                await self.changed.wait()


@pytest.mark.parametrize("params", [{}, {"labelSelector": "app=web"}])
async def test_the_service_s_reflector_follows_it(
    registry: Registry, client: ApiClient, params: dict[str, str]
) -> None:
    names = Names()
    reflector = Reflector(client, "/api/v1/pods", json.loads, names, name="pods", params=params, page_size=2)
    make_pods(registry, *"abc", app="web")
    task = asyncio.create_task(reflector.run())
    await names.become(*"abc")
    make_pods(registry, "d", app="web")
    registry.create(NODE, small_nodes(1)[0])
    await names.become(*"abcd")
    registry.delete(POD, "ns", "a")
    await names.become(*"bcd")
    if params:
        make_pods(registry, "e", app="other")
        registry.merge_patch(POD, "ns", "b", {"metadata": {"labels": {"app": "other"}}})
        await names.become("c", "d")
    task.cancel()


async def test_watches_bookmark_and_end_in_time(registry: Registry, client: ApiClient) -> None:
    make_pods(registry, "p")
    asked = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": "1", "timeoutSeconds": "0.2"}
    async with client.stream_lines("/api/v1/pods", asked, silence_s=PATIENCE_S) as lines:
        events = [json.loads(line) async for line in lines]
    assert events[0]["type"] == "ADDED"
    marks = {each["object"]["metadata"]["resourceVersion"] for each in events[1:]}
    assert marks == {str(registry.version)}
    assert {each["type"] for each in events[1:]} == {"BOOKMARK"}


async def test_a_watch_from_forgotten_times_is_expired(registry: Registry, client: ApiClient) -> None:
    make_pods(registry, "p")
    registry.compact()
    asked = {"watch": "1", "resourceVersion": "1"}
    async with client.stream_lines("/api/v1/pods", asked, silence_s=PATIENCE_S) as lines:
        (event,) = [json.loads(line) async for line in lines]
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_requests_are_noted_and_can_be_made_to_fail(server: ApiServer, client: ApiClient) -> None:
    server.faults["list"].append(answer(403, "Forbidden"))
    with pytest.raises(ApiError):
        await client.get("/api/v1/nodes")
    await client.get("/api/v1/nodes")
    with pytest.raises(ApiError):
        await client.get("/api/v1/nodes/n1")
    assert [operation for operation, _, _ in server.requests] == ["list", "list", "get"]
