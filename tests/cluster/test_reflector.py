"""List and watch against a server that fails in all the ways servers do."""

from __future__ import annotations

import pytest

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.reflector import Reflector, name_of, namespaced_name_of
from extender.objects.structs import Node, ObjectKey, decode_node
from tests.cluster.apiserver import ApiServer, answer, node, pod, status
from tests.cluster.follower import Mirror, Naps, reflector, running


def lists(server: ApiServer) -> list[dict[str, str]]:
    return [query for operation, _, query in server.requests if operation == "list"]


async def test_the_first_list_comes_in_pages_and_may_come_from_the_cache(
    server: ApiServer, client: ApiClient
) -> None:
    for number in range(7):
        made_pod = pod(f"p{number}")
        made_pod["metadata"]["labels"] = {"a": "b"}
        server.put("pods", made_pod)
    mirror = Mirror()
    made = reflector(client, mirror, page_size=3, params={"labelSelector": "a=b"})
    async with running(made):
        await made.synced.wait()
        await mirror.until_same_as(server)
        first, *rest = lists(server)
        assert first == {"limit": "3", "resourceVersion": "0", "labelSelector": "a=b"}
        assert [set(each) for each in rest] == [{"limit", "continue", "labelSelector"}] * 2
        stream = await server.opened.get()
        assert stream.params["allowWatchBookmarks"] == "true"
        assert stream.params["resourceVersion"] == str(server.version)
        assert stream.params["timeoutSeconds"] == "375"
        assert stream.params["labelSelector"] == "a=b"
        assert made.health.lists == 1


async def test_a_consistent_first_list_can_be_asked_for(server: ApiServer, client: ApiClient) -> None:
    made = reflector(client, Mirror(), first_list_from_cache=False)
    async with running(made):
        await made.synced.wait()
    assert lists(server) == [{"limit": "500"}]


async def test_a_server_that_ignores_the_limit_is_understood(server: ApiServer, client: ApiClient) -> None:
    server.cache_ignores_limit = True
    for number in range(1200):
        server.put("pods", pod(f"p{number}", note="x" * 500))
    mirror = Mirror()
    made = reflector(client, mirror)
    async with running(made):
        await made.synced.wait()
        assert len(mirror.pods) == 1200
        await mirror.until_same_as(server)
    assert len(lists(server)) == 1


async def test_changes_arrive(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    mirror = Mirror()
    made = reflector(client, mirror)
    async with running(made):
        await server.opened.get()
        server.put("pods", pod("b"))
        server.put("pods", pod("a", node="n1"))
        await mirror.until_same_as(server)
        server.delete("pods", "a", "ns")
        await mirror.until_same_as(server)
        assert made.health.connected
        assert made.health.last_event_s is not None
    assert mirror.pods.keys() == {"uid-b"}
    assert not made.health.connected


async def test_a_watch_that_ends_is_resumed_where_it_ended(server: ApiServer, client: ApiClient) -> None:
    mirror, naps = Mirror(), Naps()
    async with running(reflector(client, mirror, sleep=naps)):
        stream = await server.opened.get()
        server.put("pods", pod("a"))
        await mirror.until_same_as(server)
        stream.ask_to_end()
        again = await server.opened.get()
        assert again.version == server.version
        server.put("pods", pod("b"))
        await mirror.until_same_as(server)
    assert naps.asked_s == []
    assert server.count("list") == 1


async def test_a_bookmark_moves_the_version(server: ApiServer, client: ApiClient) -> None:
    async with running(reflector(client, Mirror())):
        stream = await server.opened.get()
        server.version += 50
        server.bookmark()
        stream.ask_to_end()
        assert (await server.opened.get()).version == server.version


async def test_a_dropped_connection_is_resumed_after_a_jittered_pause(
    server: ApiServer, client: ApiClient
) -> None:
    mirror, naps = Mirror(), Naps()
    made = reflector(client, mirror, sleep=naps)
    async with running(made):
        (await server.opened.get()).drop()
        (await server.opened.get()).drop()
        await server.opened.get()
        server.put("pods", pod("a"))
        await mirror.until_same_as(server)
    assert naps.asked_s == pytest.approx([0.15, 0.3])
    assert made.health.restarts == 2
    assert server.count("list") == 1


@pytest.mark.parametrize("jitter", [0.0, 0.999])
async def test_pauses_grow_and_stay_bounded(server: ApiServer, client: ApiClient, jitter: float) -> None:
    server.faults["list"].extend(answer(503) for _ in range(12))
    naps = Naps()
    made = reflector(client, Mirror(), sleep=naps, draw=lambda: jitter)
    async with running(made):
        await made.synced.wait()
    assert len(naps.asked_s) == 12
    assert naps.asked_s == sorted(naps.asked_s)
    assert 10 <= naps.asked_s[-1] <= 30


async def test_an_event_resets_the_pause(server: ApiServer, client: ApiClient) -> None:
    mirror, naps = Mirror(), Naps()
    async with running(reflector(client, mirror, sleep=naps)):
        for name in ("a", "b", "c"):
            stream = await server.opened.get()
            server.put("pods", pod(name))
            await mirror.until_same_as(server)
            stream.drop()
        await server.opened.get()
    assert naps.asked_s == pytest.approx([0.15] * 3)


async def test_the_server_says_how_long_to_wait(server: ApiServer, client: ApiClient) -> None:
    async def busy(request: object, proceed: object) -> object:
        response = status(429, "TooManyRequests", "slow down")
        response.headers["Retry-After"] = "7"
        return response

    server.faults["list"].append(busy)  # pyright: ignore[reportArgumentType]
    naps = Naps()
    made = reflector(client, Mirror(), sleep=naps)
    async with running(made):
        await made.synced.wait()
    assert naps.asked_s == [7.0]


@pytest.mark.parametrize("by_status", [True, False], ids=["http-410", "error-event"])
async def test_an_expired_version_leads_to_a_new_list_with_its_difference(
    server: ApiServer, client: ApiClient, by_status: bool
) -> None:
    for name in ("stays", "goes", "changes"):
        server.put("pods", pod(name))
    mirror, naps = Mirror(), Naps()
    made = reflector(client, mirror, sleep=naps)
    async with running(made):
        stream = await server.opened.get()
        server.streams.remove(stream)  # the watch hangs: nothing of the following is told
        server.delete("pods", "goes", "ns")
        server.put("pods", pod("changes", node="n1"))
        server.put("pods", pod("comes"))
        if by_status:
            server.faults["watch"].append(answer(410, "Expired"))
        else:
            server.compact()
        server.streams.append(stream)
        mirror.calls.clear()
        stream.drop()
        await mirror.until(lambda: mirror.lists == 2)
        await mirror.until_same_as(server)
    assert ("gone", "uid-goes") in mirror.calls
    assert len([call for call in mirror.calls if call[0] == "gone"]) == 1
    assert lists(server)[-1] == {"limit": "500"}, "a later list must not come from a stale cache"
    assert len(naps.asked_s) == 1, "one pause for the dropped connection, none for the 410"


async def test_a_server_that_always_expires_is_not_hammered(server: ApiServer, client: ApiClient) -> None:
    server.faults["watch"].extend(answer(410, "Expired") for _ in range(6))
    naps = Naps()
    async with running(reflector(client, Mirror(), sleep=naps)):
        await server.opened.get()
    assert server.count("list") == 7
    assert len(naps.asked_s) == 5


async def test_a_recreated_pod_is_another_one(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a", "old"))
    mirror = Mirror()
    async with running(reflector(client, mirror)):
        stream = await server.opened.get()
        server.streams.remove(stream)
        server.delete("pods", "a", "ns")
        server.put("pods", pod("a", "new"))
        server.compact()
        server.streams.append(stream)
        stream.drop()
        await mirror.until(lambda: mirror.lists == 2)
        assert mirror.pods.keys() == {"new"}


async def test_nodes_are_known_by_name(server: ApiServer, client: ApiClient) -> None:
    gone: list[str] = []

    class Names:
        def seen(self, item: Node) -> None: ...

        def gone(self, key: str) -> None:
            gone.append(key)

        def listed(self) -> None: ...

    server.put("nodes", node("n1"))
    made = Reflector(client, "/api/v1/nodes", decode_node, Names(), name="nodes", key=name_of)
    async with running(made):
        await server.opened.get()
        server.delete("nodes", "n1")
        server.streams[0].ask_to_end()
        await server.opened.get()
    assert gone == ["n1"]


def test_config_maps_are_known_by_namespace_and_name() -> None:
    assert namespaced_name_of(ObjectKey(namespace="ns", name="c")) == "ns/c"
