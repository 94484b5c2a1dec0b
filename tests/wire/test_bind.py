"""bind: idempotent, concurrent, and never said to have happened when it did not."""

from __future__ import annotations

import asyncio
import json

import pytest

from extender.adapters.webhooks.ports import BindFailure
from extender.core.events import Tick
from extender.core.gangs.reservation import RESERVATION
from tests.wire import go
from tests.wire.world import World, bind_args, driver, executor, pod


async def filtered(world: World, made: dict[str, object]) -> str:
    (node,) = (await world.filter(made)).names or [""]
    return node


async def test_a_leaders_binding_carries_the_reservation():
    world = World()
    node = await filtered(world, driver("a", executors=2))
    assert await world.bind(driver("a", executors=2), node) == ""
    ((uid, bound_to, annotations),) = world.writer.written
    assert (uid, bound_to) == ("uid-a-driver", node)
    reservation = json.loads(annotations[RESERVATION])
    assert sum(number for _, number in reservation["slots"]) == 2


async def test_a_workers_binding_carries_nothing():
    world = World()
    await world.admit(driver("a"))
    await world.admit(executor("a"))
    assert world.writer.written[1][2] == {}


async def test_a_repeated_bind_is_a_success_and_no_second_binding():
    world = World()
    node = await filtered(world, driver("a"))
    assert [await world.bind(driver("a"), node) for _ in range(3)] == ["", "", ""]
    assert len(world.writer.written) == 1
    assert [outcome for verb, outcome in world.seen if verb == "bind"] == [
        "bound",
        "already-bound",
        "already-bound",
    ]


async def test_binds_of_one_pod_at_the_same_time_make_one_binding():
    world = World()
    node = await filtered(world, driver("a"))
    world.writer.gate.clear()
    waiting = [asyncio.create_task(world.bind(driver("a"), node)) for _ in range(4)]
    await world.writer.started.wait()
    other = next(name for name in world.names if name != node)
    assert await world.bind(driver("a"), other) == f"the pod is being bound to {node}"
    world.writer.gate.set()
    assert await asyncio.gather(*waiting) == [""] * 4
    assert len(world.writer.written) == 1


async def test_binds_of_several_pods_overlap():
    world = World(nodes=8)
    made = [driver(f"app-{number}", executors=1) for number in range(8)]
    nodes = [await filtered(world, each) for each in made]
    world.writer.gate.clear()
    waiting = [asyncio.create_task(world.bind(each, node)) for each, node in zip(made, nodes, strict=True)]
    await world.writer.started.wait()
    assert (await world.filter(driver("late", executors=1))).names
    world.writer.gate.set()
    assert await asyncio.gather(*waiting) == [""] * 8
    assert len(world.writer.written) == 8


async def test_a_caller_that_gives_up_does_not_tear_the_binding_apart():
    world = World()
    node = await filtered(world, driver("a"))
    world.writer.gate.clear()
    call = asyncio.create_task(world.bind(driver("a"), node))
    await world.writer.started.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    world.writer.gate.set()
    await world.calls.binds.settled()
    assert len(world.writer.written) == 1
    assert world.store.state.pods["uid-a-driver"].node == node
    assert await world.bind(driver("a"), node) == ""
    assert len(world.writer.written) == 1


async def test_a_refused_binding_is_an_error_and_gives_the_room_back():
    world = World()
    node = await filtered(world, driver("a"))
    world.writer.failures.append(BindFailure("no room any more: 100% used"))
    assert await world.bind(driver("a"), node) == "no room any more: 100 percent used"
    assert world.held() == {}
    assert await filtered(world, driver("a"))


@pytest.mark.parametrize(
    "failure", [BindFailure("no answer", outcome_unknown=True), RuntimeError("a bug in the binder")]
)
async def test_while_it_is_not_known_whether_a_pod_is_bound_its_room_is_kept(
    failure: BindFailure | Exception,
):
    world = World()
    node = await filtered(world, driver("a"))
    held = world.held()
    world.writer.failures.append(failure)
    assert await world.bind(driver("a"), node) != ""
    assert world.held() == held
    world.see(driver("a"), node, "Running")  # it was bound after all
    assert sum(world.held().values()) == 2000
    assert await world.bind(driver("a"), node) == ""
    assert world.writer.written == []


async def test_room_kept_for_an_unknown_outcome_is_given_back_when_nothing_follows():
    world = World(hold_ttl_s=60.0)
    node = await filtered(world, driver("a"))
    world.writer.failures.append(BindFailure("no answer", outcome_unknown=True))
    await world.bind(driver("a"), node)
    world.now += 61.0
    world.store.apply(Tick(), world.now)
    assert world.held() == {}


async def test_bind_of_a_pod_whose_hold_expired_is_decided_anew():
    world = World(nodes=1, hold_ttl_s=10.0)
    node = await filtered(world, driver("a"))
    world.see(driver("a"))
    world.now += 11.0
    world.store.apply(Tick(), world.now)
    assert world.held() == {}
    assert await world.bind(driver("a"), node) == ""
    assert sum(world.held().values()) == 2000


async def test_bind_to_another_node_than_held_is_checked():
    world = World()
    await filtered(world, driver("a"))
    error = await world.bind(driver("a"), "ghost")
    assert error.startswith("no room is reserved for the pod on ghost")
    assert world.writer.written == []


async def test_a_bound_pod_is_not_bound_elsewhere():
    world = World()
    node = await world.admit(driver("a"))
    other = next(name for name in world.names if name != node)
    assert await world.bind(driver("a"), other) == f"the pod is bound to {node} already"


async def test_bind_of_an_unknown_uid_is_an_error():
    world = World()
    assert await world.bind(pod("p"), "n0") == "the pod is not known; it may be gone"


async def test_bind_of_a_uid_under_another_name_is_an_error():
    world = World()
    node = await filtered(world, pod("p"))
    call = json.loads(bind_args(pod("p"), node)) | {"PodName": "q"}
    error = go.bind_error(await world.post("/bind", json.dumps(call).encode()))
    assert error == "uid uid-p is not that of pod ns/q"
    assert world.writer.written == []


async def test_bind_of_a_pod_that_is_gone_is_an_error():
    world = World()
    node = await filtered(world, pod("p"))
    world.lose(pod("p"))
    assert await world.bind(pod("p"), node) == "the pod is not known; it may be gone"


async def test_before_the_caches_are_synced_nothing_is_bound():
    world = World(synced=False)
    assert await world.bind(pod("p"), "n0") == "the caches are not synced yet"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"[]", "not the expected JSON object"),
        (b"{}", "PodName, PodNamespace, PodUID, Node must be given"),
        (b'{"PodName":"p","PodNamespace":"ns","PodUid":"u","Node":"n0"}', "PodUID must be given"),
        (b'{"PodName":"p","PodNamespace":"ns","PodUID":"","Node":null}', "PodUID, Node must be given"),
        (b'{"PodName":1,"PodNamespace":"ns","PodUID":"u","Node":"n0"}', "not the expected JSON object"),
    ],
)
async def test_what_cannot_be_read_is_an_error(body: bytes, words: str):
    world = World()
    assert words in go.bind_error(await world.post("/bind", body))
    assert world.writer.written == []
