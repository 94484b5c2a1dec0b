"""Annotations: the newest value lands last, on the right pod, through all failures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.patching import PodPatcher
from tests.cluster.apiserver import ApiServer, answer, first_do, lose, pod
from tests.cluster.follower import Naps, running


def patcher(client: ApiClient, **options: Any) -> PodPatcher:
    options.setdefault("sleep", Naps())
    return PodPatcher(client, **options)


def written(server: ApiServer, name: str = "a") -> dict[str, str]:
    return server.objects["pods"]["ns", name]["metadata"].get("annotations", {})


async def test_annotations_are_merged_into_the_pod(server: ApiServer, client: ApiClient) -> None:
    there = pod("a")
    there["metadata"]["annotations"] = {"theirs": "1"}
    server.put("pods", there)
    assert await patcher(client).annotate("ns", "a", "uid-a", {"ours": "2"})
    assert written(server) == {"theirs": "1", "ours": "2"}


@pytest.mark.parametrize("uid", ["uid-b", "uid-a"], ids=["gone", "recreated"])
async def test_a_pod_that_is_gone_or_another_is_left_alone(
    server: ApiServer, client: ApiClient, uid: str
) -> None:
    if uid == "uid-a":
        server.put("pods", pod("a", "newer"))
    made = patcher(client)
    assert not await made.annotate("ns", "a", uid, {"k": "v"})
    assert made.health.pod_gone == 1
    assert all("annotations" not in each["metadata"] for each in server.objects["pods"].values())


async def test_other_failures_are_raised(server: ApiServer, client: ApiClient) -> None:
    server.faults["patch"].append(answer(403, "Forbidden"))
    with pytest.raises(ApiError, match="403"):
        await patcher(client).annotate("ns", "a", "uid-a", {"k": "v"})


async def test_submitted_annotations_are_written(server: ApiServer, client: ApiClient) -> None:
    made = patcher(client, writers=3)
    for name in "abcdefgh":
        server.put("pods", pod(name))
        assert made.submit("ns", name, f"uid-{name}", {"k": name})
    assert made.backlog == 8
    async with running(made):
        await made.idle()
    assert [written(server, name) for name in "abcdefgh"] == [{"k": name} for name in "abcdefgh"]
    assert made.backlog == 0


async def test_what_waits_for_one_pod_is_one_write_of_the_latest_values(
    server: ApiServer, client: ApiClient
) -> None:
    server.put("pods", pod("a"))
    made = patcher(client)
    for number in range(5):
        made.submit("ns", "a", "uid-a", {"k": str(number), f"k{number}": ""})
    async with running(made):
        await made.idle()
    assert server.count("patch") == 1
    assert written(server) == {"k": "4", "k0": "", "k1": "", "k2": "", "k3": "", "k4": ""}


async def test_a_value_submitted_during_a_failing_write_is_not_overwritten(
    server: ApiServer, client: ApiClient
) -> None:
    server.put("pods", pod("a"))
    made = patcher(client)

    async def submit_then_fail(request: Any, proceed: Any) -> Any:
        made.submit("ns", "a", "uid-a", {"k": "new"})
        return await answer(500)(request, proceed)

    server.faults["patch"].append(submit_then_fail)
    made.submit("ns", "a", "uid-a", {"k": "old", "only": "old"})
    async with running(made):
        await made.idle()
    assert written(server) == {"k": "new", "only": "old"}


async def test_a_value_submitted_during_a_write_follows_it(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    made = patcher(client)
    server.faults["patch"].append(first_do(lambda: made.submit("ns", "a", "uid-a", {"k": "new"})))
    made.submit("ns", "a", "uid-a", {"k": "old"})
    async with running(made):
        await made.idle()
    assert written(server) == {"k": "new"}
    assert server.count("patch") == 2


async def test_failed_writes_are_repeated_with_growing_pauses(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.faults["patch"].extend([answer(500), lose(), lose(after=True)])
    naps = Naps()
    made = patcher(client, sleep=naps)
    made.submit("ns", "a", "uid-a", {"k": "v"})
    async with running(made):
        await made.idle()
    assert written(server) == {"k": "v"}
    assert naps.asked_s == sorted(naps.asked_s)
    assert len(naps.asked_s) == 3


async def test_a_write_that_never_works_does_not_hold_up_others(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.put("pods", pod("b"))
    tried_again = asyncio.Event()

    async def refuse_a(request: Any, proceed: Any) -> Any:
        if not request.path.endswith("/a"):
            return await proceed()
        server.faults["patch"].append(refuse_a)
        return await answer(500)(request, proceed)

    async def pause(seconds: float) -> None:
        await tried_again.wait()

    server.faults["patch"].extend([refuse_a, refuse_a])
    made = patcher(client, writers=1, sleep=pause)
    made.submit("ns", "a", "uid-a", {"k": "v"})
    made.submit("ns", "b", "uid-b", {"k": "v"})
    async with running(made):
        while made.backlog > 1:  # noqa: ASYNC110 - the test has a time-out
            await asyncio.sleep(0)
        assert written(server, "b") == {"k": "v"}
        server.faults["patch"].clear()
        tried_again.set()
        await made.idle()
    assert written(server) == {"k": "v"}


async def test_a_write_is_repeated_until_the_pod_is_gone(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.faults["patch"].extend(answer(403) for _ in range(40))
    server.faults["patch"].append(first_do(lambda: server.delete("pods", "a", "ns")))
    made = patcher(client)
    made.submit("ns", "a", "uid-a", {"k": "v"})
    async with running(made):
        await made.idle()
    assert (made.health.failed, made.health.pod_gone) == (40, 1)


async def test_a_full_queue_takes_no_more_pods(server: ApiServer, client: ApiClient) -> None:
    made = patcher(client, most_waiting=2)
    assert made.submit("ns", "a", "uid-a", {"k": "1"})
    assert made.submit("ns", "b", "uid-b", {"k": "1"})
    assert not made.submit("ns", "c", "uid-c", {"k": "1"})
    assert made.submit("ns", "a", "uid-a", {"k": "2"}), "what already waits can be replaced"
    assert made.health.refused == 1


def nominated(server: ApiServer, name: str = "a") -> str:
    return server.objects["pods"]["ns", name].get("status", {}).get("nominatedNodeName", "")


async def test_a_node_is_named_before_the_pod_is_woken(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    made = patcher(client)
    assert made.name_node("ns", "a", "uid-a", "n7")
    made.submit("ns", "a", "uid-a", {"wake": "1"})
    async with running(made):
        await made.idle()
    patches = [path for operation, path, _ in server.requests if operation == "patch"]
    assert [path.rpartition("/")[2] for path in patches] == ["status", "a"]
    assert (nominated(server), written(server), made.health.named) == ("n7", {"wake": "1"}, 1)


async def test_a_name_that_cannot_be_written_keeps_nothing_waiting(
    server: ApiServer, client: ApiClient
) -> None:
    server.put("pods", pod("a"))
    server.faults["patch"].append(answer(403, "Forbidden"))
    naps = Naps()
    made = patcher(client, sleep=naps)
    made.name_node("ns", "a", "uid-a", "n7")
    made.submit("ns", "a", "uid-a", {"wake": "1"})
    async with running(made):
        await made.idle()
    assert (nominated(server), written(server)) == ("", {"wake": "1"})
    assert (made.health.not_named, made.health.failed) == (1, 0)
    assert server.count("patch") == 2


async def test_a_name_is_not_written_once_kube_scheduler_has_called(
    server: ApiServer, client: ApiClient
) -> None:
    server.put("pods", pod("a"))
    made = patcher(client, still_wanted=lambda _: False)
    made.name_node("ns", "a", "uid-a", "n7")
    async with running(made):
        await made.idle()
    assert (nominated(server), server.count("patch")) == ("", 0)


async def test_the_name_of_another_pods_node_is_refused(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a", "newer"))
    made = patcher(client)
    made.name_node("ns", "a", "uid-a", "n7")
    async with running(made):
        await made.idle()
    assert (nominated(server), made.health.not_named) == ("", 1)
