"""filter: one node, a reason for each node, or an error."""

from __future__ import annotations

import json

import pytest

from extender.core.events import Synced
from tests.wire import go
from tests.wire.world import World, args, driver, executor, pod


async def test_a_gang_that_fits_gets_one_node_and_its_room_is_held():
    world = World()
    result = await world.filter(driver("a", executors=3))
    assert result.names is not None
    assert len(result.names) == 1
    assert result.unresolvable == {}
    assert sum(world.held().values()) == 4000
    assert world.seen == [("filter", "admitted")]


async def test_a_gang_that_does_not_fit_is_refused_with_one_reason_for_every_node():
    world = World(nodes=3)
    await world.admit(driver("a", executors=8))
    result = await world.filter(driver("b", executors=5))
    assert result.names == []
    assert set(result.unresolvable) == set(world.names)
    assert result.reason == "carbon-scheduler: no-room: no room for the leader with all its minimum workers"


async def test_reasons_do_not_change_while_nothing_happens():
    world = World(nodes=1)
    waiting = driver("b", executors=5)
    replies = set()
    for _ in range(5):
        replies.add(await world.post("/filter", args(waiting, world.names)))
        world.now += 7.0
    assert len(replies) == 1


async def test_asking_twice_gives_the_same_node_and_holds_once():
    world = World()
    first, second = [await world.filter(driver("a")) for _ in range(2)]
    assert first.names == second.names
    assert sum(world.held().values()) == 3000


async def test_a_nominated_node_is_asked_for_alone_and_then_with_all_others():
    world = World()
    assert (await world.filter(driver("a"), ["n2"])).names == ["n2"]
    result = await world.filter(driver("a"), ["n0", "n1"])
    assert result.names in (["n0"], ["n1"])
    assert sum(world.held().values()) == 3000


async def test_executors_take_held_slots():
    world = World()
    await world.admit(driver("a", executors=2))
    for number in (1, 2):
        await world.admit(executor("a", number))
    assert world.held() == {}
    assert [outcome for verb, outcome in world.seen if verb == "filter"] == [
        "admitted",
        "slot-taken",
        "slot-taken",
    ]


async def test_an_executor_of_a_waiting_gang_waits():
    world = World(nodes=1)
    await world.filter(driver("a", executors=9))
    world.see(driver("a", executors=9))
    assert (await world.filter(executor("a"))).reason.startswith("carbon-scheduler: gang-not-admitted")


async def test_a_pod_of_another_scheduler_is_refused_and_leaves_no_trace():
    world = World()
    result = await world.filter(driver("a", scheduler="other"))
    assert result.reason.startswith("carbon-scheduler: other-scheduler")
    assert world.held() == {}
    assert not world.store.state.gangs
    assert not world.store.state.pods


async def test_before_the_caches_are_synced_the_answer_is_an_error():
    world = World(synced=False)
    result = await world.filter(driver("a"))
    assert result.error == "carbon-scheduler: not-ready: the caches are not synced yet"
    world.store.apply(Synced(), world.now)
    assert (await world.filter(driver("a"))).names


async def test_a_contradictory_request_is_refused_naming_key_value_and_fix():
    world = World()
    reason = (await world.filter(driver("a", annotations={"carbon-scheduler/executor-cpu": "fast"}))).reason
    assert reason.startswith("carbon-scheduler: invalid-request")
    assert "carbon-scheduler/executor-cpu" in reason
    assert "fast" in reason


async def test_nodes_that_are_not_known_are_refused():
    world = World()
    result = await world.filter(driver("a"), ["ghost", "spectre"])
    assert result.reason.startswith("carbon-scheduler: nodes-unknown")
    assert (await world.filter(driver("a"), ["ghost", "n1"])).names == ["n1"]


async def test_no_nodes_at_all_is_a_refusal_without_reasons():
    world = World()
    result = await world.filter(driver("a"), [])
    assert result.names == []
    assert result.unresolvable == {}


async def test_names_offered_twice_do_no_harm():
    world = World(nodes=1)
    body = args(driver("a", executors=9), ["n0", "n0", "ghost", "n0"])
    refused = go.filter_result(await world.post("/filter", body), ["n0", "ghost"], repeats=True)
    assert set(refused.unresolvable) == {"n0", "ghost"}
    passed = go.filter_result(await world.post("/filter", args(driver("b"), ["n0", "n0"])), ["n0"])
    assert passed.names == ["n0"]


async def test_names_that_the_watch_has_not_shown():
    world = World(nodes=5)
    names = world.names + [f"unknown-{number}" for number in range(900)]
    assert (await world.filter(driver("a"), names)).names
    result = await world.filter(driver("b", executors=90), names)
    assert len(result.unresolvable) == len(names)


# -- full nodes ----------------------------------------------------------------------------------


def node_object(name: str) -> dict[str, object]:
    return {
        "metadata": {"name": name, "labels": {"ü": "☃"}},
        "status": {"daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "capacity": {"cpu": "1.50"}},
    }


async def test_full_nodes_are_answered_with_the_very_node_that_came():
    world = World()
    offered = [node_object(name) for name in world.names]
    result = go.filter_result(await world.post("/filter", args(driver("a"), None, offered)), world.names)
    assert result.nodes is not None
    (chosen,) = result.nodes
    assert chosen in offered


async def test_full_nodes_are_refused_by_name():
    world = World(nodes=2)
    body = args(driver("a", executors=30), None, [node_object(name) for name in world.names])
    reply = await world.post("/filter", body)
    assert set(go.filter_result(reply, world.names).unresolvable) == set(world.names)


async def test_names_win_over_nodes():
    world = World()
    body = args(driver("a"), ["n1"], [node_object("n0")])
    assert go.filter_result(await world.post("/filter", body), ["n1"]).names == ["n1"]


async def test_a_body_of_twenty_megabytes():
    world = World(nodes=400)
    padding = {"annotations": {"x": "y" * (20 * 1024 * 1024 // len(world.names))}}
    offered = [{"metadata": {"name": name, **padding}} for name in world.names]
    body = args(driver("a"), None, offered)
    assert len(body) > 20 * 1024 * 1024
    reply = await world.post("/filter", body, chunk=256 * 1024)
    assert go.filter_result(reply, world.names).names


async def test_a_body_over_the_limit_is_an_error_that_says_what_to_do():
    world = World(max_body_bytes=4096)
    reply = await world.post("/filter", args(driver("a"), ["x" * 5000]), chunk=1000)
    result = go.filter_result(reply, [])
    assert "longer than 4096 bytes" in result.error
    assert "nodeCacheCapable" in result.error
    assert (await world.filter(driver("a"))).names


# -- what is broken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b"{", "not the expected JSON object"),
        (b"[]", "not the expected JSON object"),
        (b"null", "not the expected JSON object"),
        (b'"text"', "not the expected JSON object"),
        (b"<html>", "not the expected JSON object"),
        (b"{}", "NodeNames or Nodes must be given"),
        (b'{"Pod":null,"Nodes":null,"NodeNames":null}', "NodeNames or Nodes must be given"),
        (b'{"NodeNames":["n0"]}', "Pod must be a pod"),
        (b'{"Pod":null,"NodeNames":["n0"]}', "Pod must be a pod"),
        (b'{"Pod":[],"NodeNames":["n0"]}', "Pod must be a pod"),
        (b'{"Pod":{},"NodeNames":["n0"]}', "needs metadata.name and metadata.uid"),
        (b'{"Pod":{"metadata":null,"spec":null},"NodeNames":["n0"]}', "needs metadata.name"),
        (b'{"Pod":{"metadata":{"uid":7}},"NodeNames":["n0"]}', "Pod must be a pod"),
        (b'{"Pod":{},"NodeNames":"n0"}', "NodeNames must be a list of strings"),
        (b'{"Pod":{},"NodeNames":[1]}', "NodeNames must be a list of strings"),
        (b'{"Pod":{},"NodeNames":["n0",null]}', "NodeNames must be a list of strings"),
        (b'{"Pod":{},"NodeNames":["n0",["n1"],"n2"]}', "NodeNames must be a list of strings"),
        (b'{"Pod":{},"NodeNames":{"n0":1}}', "NodeNames must be a list of strings"),
        (b'{"Pod":{},"Nodes":[]}', "Nodes must be a list of nodes"),
        (b'{"Pod":{},"Nodes":{"items":[{}]}}', "every node needs metadata.name"),
        (b'{"Pod":{},"Nodes":{"items":[null]}}', "Nodes must be a list of nodes"),
        (b'{"pod":{},"node_names":["n0"]}', "NodeNames or Nodes must be given"),
        (b'{"Pod":{},"NodeNames":["\xff\xfe"]}', "NodeNames must be a list of strings"),
        (b'\xff\xfe{"Pod":{}}', "not the expected JSON object"),
        (b'{"Pod":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested too deeply"),
        (b'{"NodeNames":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
async def test_what_cannot_be_read_is_an_error_with_a_clear_text(body: bytes, words: str):
    world = World()
    result = go.filter_result(await world.post("/filter", body), [])
    assert result.error.startswith("carbon-scheduler: bad-request: ")
    assert words in result.error
    assert world.seen == [("filter", "bad-request")]
    assert world.held() == {}


async def test_an_unreadable_quantity_names_pod_and_value():
    world = World()
    result = await world.filter(pod("p", cpu="lots"))
    assert "ns/p" in result.error
    assert "lots" in result.error


async def test_unknown_and_missing_keys_and_nulls_everywhere_are_no_obstacle():
    world = World()
    bare = {
        "metadata": {"name": "p", "uid": "u", "namespace": "ns", "labels": None, "annotations": None},
        "spec": {"schedulerName": "carbon-scheduler", "containers": None, "tolerations": None, "new": [1]},
        "kind": "Pod",
    }
    body = json.dumps({"Pod": bare, "NodeNames": ["n0"], "Future": {"x": [None]}}).encode()
    assert go.filter_result(await world.post("/filter", body), ["n0"]).names == ["n0"]


async def test_a_bug_is_an_error_and_never_a_crash(caplog: pytest.LogCaptureFixture):
    world = World()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    world.store.filter = broken  # type: ignore[method-assign]
    result = await world.filter(driver("a"))
    assert result.error == "carbon-scheduler: internal error: see the extender's log"
    assert "a bug" in caplog.text


async def test_a_broken_call_does_not_cost_anybody_a_reservation():
    world = World()
    await world.filter(driver("a", executors=3))
    before = world.held()
    for body in (b"{", b'{"Pod":{},"NodeNames":[1]}', args(driver("a", executors=3), None)):
        await world.post("/filter", body)
    assert world.held() == before
    assert (await world.filter(driver("a", executors=3))).names
    assert world.held() == before
