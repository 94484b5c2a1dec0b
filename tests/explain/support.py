"""Applications explained."""

from __future__ import annotations

from extender.core.explain.explanation import Explanation, explain
from extender.core.explain.names import Found, find
from tests.gang.world import World

WATTS = 3.5


def explained(world: World, name: str) -> Explanation:
    found = find(world.store.state, name)
    assert isinstance(found, Found), found
    return explain(world.store, found, world.now, WATTS)
