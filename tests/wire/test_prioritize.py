"""prioritize: whole scores 0..10; there is no way to report an error."""

from __future__ import annotations

import pytest

from tests.wire import go
from tests.wire.world import World, args, driver, pod


async def scores(world: World, made: object, names: list[str]) -> list[tuple[str, int]]:
    return go.priorities(await world.post("/prioritize", args(made, names)))  # type: ignore[arg-type]


async def test_the_held_node_comes_first_and_the_others_get_nothing():
    world = World()
    (node,) = (await world.filter(driver("a"))).names or [""]
    assert dict(await scores(world, driver("a"), world.names)) == {
        name: 10 if name == node else 0 for name in world.names
    }


async def test_every_offered_node_gets_a_score_in_the_order_offered():
    world = World(nodes=30)
    names = [*reversed(world.names), "ghost"]
    answered = await scores(world, pod("p"), names)
    assert [host for host, _ in answered] == names
    assert dict(answered)["ghost"] == 0
    assert max(score for _, score in answered) == 10


async def test_pods_of_others_are_not_influenced():
    world = World()
    answered = await scores(world, pod("p", scheduler="other"), world.names)
    assert answered == [(name, 0) for name in world.names]


async def test_before_the_caches_are_synced_all_are_equal():
    world = World(synced=False)
    assert await scores(world, pod("p"), world.names) == [(name, 0) for name in world.names]


async def test_prioritizing_changes_nothing():
    world = World()
    await scores(world, driver("a"), world.names)
    assert world.held() == {}
    assert not world.store.state.pods


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"{}", b'{"Pod":{},"NodeNames":[1]}'])
async def test_what_cannot_be_read_gets_no_scores(body: bytes):
    world = World()
    assert go.priorities(await world.post("/prioritize", body)) == []
    assert world.seen == [("prioritize", "bad-request")]
