"""Bindings: done once, reported truthfully, refused when the room is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.kubernetes.binding import Binder, BindError
from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.patience import Patience
from extender.objects.projection import PodProjector
from tests.cluster.apiserver import ApiServer, Fault, answer, first_do, lose, never, pod, text
from tests.cluster.follower import Naps

NODE = {"cpu": 4000, "memory": 16 << 30, "pods": 110}


def binder(client: ApiClient, capacity: dict[str, dict[str, int]] | None = None, **options: Any) -> Binder:
    nodes = {"n1": NODE, "n2": NODE} if capacity is None else capacity
    options.setdefault("sleep", Naps())
    return Binder(client, nodes.get, PodProjector(lambda labels: None), **options)


def node_of(server: ApiServer, name: str = "a") -> str:
    return server.objects["pods"]["ns", name]["spec"].get("nodeName", "")


@pytest.mark.parametrize("last_look", [True, False])
async def test_a_pod_is_bound_with_its_annotations_in_one_write(
    server: ApiServer, client: ApiClient, last_look: bool
) -> None:
    server.put("pods", pod("a"))
    await binder(client, last_look=last_look).bind("ns", "a", "uid-a", "n1", {"slots": "[1]"})
    assert node_of(server) == "n1"
    assert server.objects["pods"]["ns", "a"]["metadata"]["annotations"] == {"slots": "[1]"}
    assert server.count("bind") == 1
    assert server.count("patch") == 0


@pytest.mark.parametrize("last_look", [True, False])
async def test_binding_again_to_the_same_node_is_success(
    server: ApiServer, client: ApiClient, last_look: bool
) -> None:
    server.put("pods", pod("a", node="n1"))
    await binder(client, last_look=last_look).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


@pytest.mark.parametrize("last_look", [True, False])
@pytest.mark.parametrize(
    ("there", "says"),
    [
        (pod("a", node="n2"), "already bound to node n2"),
        (pod("a", "other"), "deleted and made again"),
        (pod("a", schedulingGates=[{"name": "x/hold"}]), "scheduling gates: x/hold"),
        (pod("b"), "404|does not exist"),
    ],
    ids=["other-node", "other-uid", "gated", "gone"],
)
async def test_what_can_never_be_bound_is_an_error_that_says_why(
    server: ApiServer, client: ApiClient, there: dict[str, Any], says: str, last_look: bool
) -> None:
    server.put("pods", there)
    before = dict(server.objects["pods"])
    with pytest.raises(BindError, match=says):
        await binder(client, last_look=last_look).bind("ns", "a", "uid-a", "n1")
    assert server.objects["pods"] == before
    assert server.count("bind") <= 1


@pytest.mark.parametrize("last_look", [True, False])
async def test_a_pod_that_is_being_deleted_is_not_bound(
    server: ApiServer, client: ApiClient, last_look: bool
) -> None:
    leaving = pod("a")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    server.put("pods", leaving)
    with pytest.raises(BindError, match="being deleted"):
        await binder(client, last_look=last_look).bind("ns", "a", "uid-a", "n1")


FAULTS: dict[str, Fault] = {
    "lost before": lose(),
    "lost after": lose(after=True),
    "500 before": answer(500, "InternalError"),
    "500 after": answer(504, "Timeout", after=True),
    "409 before": answer(409, "Conflict"),
    "busy": answer(429, "TooManyRequests"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_fault_of_the_write_is_survived(server: ApiServer, client: ApiClient, fault: str) -> None:
    server.put("pods", pod("a"))
    server.faults["bind"].append(FAULTS[fault])
    await binder(client).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


async def test_a_write_that_times_out_but_worked_is_success(server: ApiServer) -> None:
    server.put("pods", pod("a"))
    client = await server.client(patience=Patience(least_s=0.5))

    async def slow(request: Any, proceed: Any) -> Any:
        await proceed()
        return await never()(request, proceed)

    server.faults["bind"].append(slow)
    async with client:
        await binder(client).bind("ns", "a", "uid-a", "n1")
    assert server.count("bind") == 1


async def test_the_pod_and_its_node_are_read_side_by_side(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    both = asyncio.Barrier(2)

    async def together(_: Any, proceed: Any) -> Any:
        await both.wait()
        return await proceed()

    server.faults["get"].append(together)
    server.faults["list"].append(together)
    await binder(client).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


async def test_a_node_filled_while_a_slow_bind_is_read_takes_no_more(
    server: ApiServer, client: ApiClient
) -> None:
    """The list of the second bind is older than the first Binding, which is done before its pod is read."""
    for name in "bcde":
        server.put("pods", pod(name, node="n1" if name < "e" else ""))
    server.put("pods", pod("a"))
    first_is_bound = asyncio.Event()

    async def later(_: Any, proceed: Any) -> Any:
        await first_is_bound.wait()
        return await proceed()

    made = binder(client)
    server.faults["get"].append(later)
    second = asyncio.create_task(made.bind("ns", "e", "uid-e", "n1"))
    while server.count("list") < 1 or server.count("get") < 1:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await made.bind("ns", "a", "uid-a", "n1")
    first_is_bound.set()
    with pytest.raises(BindError, match="node n1 is full"):
        await second


async def test_a_read_back_that_fails_leads_to_another_attempt(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.faults["bind"].append(lose(after=True))
    server.faults["get"].extend([answer(503), text(b"<html>"), first_do(lambda: None)])
    await binder(client, last_look=False).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


async def test_attempts_are_bounded(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.faults["bind"].extend(answer(500) for _ in range(50))
    with pytest.raises(BindError, match="not known to be bound after 4 attempts: 500"):
        await binder(client).bind("ns", "a", "uid-a", "n1")
    assert server.count("bind") == 4
    assert node_of(server) == ""


@pytest.mark.parametrize("code", [400, 403, 422])
async def test_a_refusal_for_good_is_not_repeated(server: ApiServer, client: ApiClient, code: int) -> None:
    server.put("pods", pod("a"))
    server.faults["bind"].append(answer(code, "Forbidden"))
    with pytest.raises(BindError, match=r"refused to bind ns/a.*injected"):
        await binder(client).bind("ns", "a", "uid-a", "n1")
    assert server.count("bind") == 1


async def test_the_last_look_counts_what_others_bound(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    for name in "bcde":
        server.put("pods", pod(name, node="n1"))
    with pytest.raises(BindError, match="node n1 is full: cpu 4000 used, 1000 asked for, 4000 in all"):
        await binder(client).bind("ns", "a", "uid-a", "n1")
    assert server.count("bind") == 0
    await binder(client).bind("ns", "a", "uid-a", "n2")
    assert node_of(server) == "n2"


async def test_the_last_look_leaves_out_finished_pods(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    for name in "bcdefg":
        ended = pod(name, node="n1")
        ended["status"]["phase"] = "Succeeded" if name < "e" else "Failed"
        server.put("pods", ended)
    await binder(client).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


async def test_the_last_look_counts_pod_slots(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    server.put("pods", pod("b", node="n1"))
    with pytest.raises(BindError, match="pods 1 used, 1 asked for, 1 in all"):
        await binder(client, {"n1": {**NODE, "pods": 1}}).bind("ns", "a", "uid-a", "n1")


async def test_the_last_look_ignores_resources_the_pod_does_not_ask_for(
    server: ApiServer, client: ApiClient
) -> None:
    server.put("pods", pod("a"))
    await binder(client, {"n1": {**NODE, "example.com/gadget": -1}}).bind("ns", "a", "uid-a", "n1")
    assert node_of(server) == "n1"


async def test_a_node_nobody_knows_takes_no_pod(server: ApiServer, client: ApiClient) -> None:
    server.put("pods", pod("a"))
    with pytest.raises(BindError, match="n9 is not known"):
        await binder(client).bind("ns", "a", "uid-a", "n9")


@pytest.mark.parametrize("operation", ["get", "list"])
async def test_a_last_look_that_fails_is_a_refusal(
    server: ApiServer, client: ApiClient, operation: str
) -> None:
    server.put("pods", pod("a"))
    server.faults[operation].append(answer(503))
    with pytest.raises(BindError, match="503"):
        await binder(client).bind("ns", "a", "uid-a", "n1")
    assert server.count("bind") == 0


async def test_of_binds_under_way_together_only_those_that_fit_go_through(
    server: ApiServer, client: ApiClient
) -> None:
    for name in "abcdef":
        server.put("pods", pod(name))
    made = binder(client)
    results = await asyncio.gather(
        *(made.bind("ns", name, f"uid-{name}", "n1") for name in "abcdef"), return_exceptions=True
    )
    assert [type(each) for each in results].count(BindError) == 2
    assert sum(node_of(server, name) == "n1" for name in "abcdef") == 4


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(sorted(FAULTS)), max_size=7),
    st.lists(st.sampled_from(["busy", "lost before", "500 before"]), max_size=4),
    st.booleans(),
)
def test_the_report_is_true_whatever_fails(binds: list[str], gets: list[str], last_look: bool) -> None:
    asyncio.run(check_report(binds, gets, last_look))


async def check_report(binds: list[str], gets: list[str], last_look: bool) -> None:
    async with ApiServer() as server, await server.client() as client:
        server.put("pods", pod("a"))
        server.faults["bind"].extend(FAULTS[each] for each in binds)
        server.faults["get"].extend(FAULTS[each] for each in gets)
        try:
            await binder(client, last_look=last_look).bind("ns", "a", "uid-a", "n1", {"k": "v"})
        except BindError:
            # A false failure is allowed only while the API server would not let us look.
            assert node_of(server) == "" or gets
        else:
            assert node_of(server) == "n1"
            assert server.objects["pods"]["ns", "a"]["metadata"]["annotations"] == {"k": "v"}
