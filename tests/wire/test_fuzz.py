"""Whatever is posted: HTTP 200, a reply Go understands, and the accounts are right."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.core.invariants import violations
from tests.wire import go
from tests.wire.world import World, args, bind_args, driver, executor, pod

JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)
VALID = [
    args(driver("a"), ["n0", "n1"]),
    args(executor("a"), ["n0", "n1"]),
    args(pod("p"), None, [{"metadata": {"name": "n0"}}]),
    bind_args(driver("a"), "n0"),
    json.dumps(
        {"Pod": pod("p"), "NodeNameToMetaVictims": {"n0": {"Pods": [{"UID": "u"}], "NumPDBViolations": 0}}}
    ).encode(),
]
PATHS = ("/filter", "/prioritize", "/bind", "/preempt")


def paths_in(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [here] if here else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += paths_in(inner, (*here, key))
    return found


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Raw bytes, any JSON, a valid call with one place replaced or removed, or one cut short."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=40))
    if kind == 1:
        return json.dumps(draw(JUNK)).encode()
    valid = draw(st.sampled_from(VALID))
    if kind == 2:
        return valid[: draw(st.integers(0, len(valid)))]
    document = json.loads(valid)
    *way, last = draw(st.sampled_from(paths_in(document)))
    place = document
    for key in way:
        place = place[key]
    if kind == 3:
        place[last] = draw(JUNK)
    else:
        del place[last]
    return json.dumps(document, separators=(",", ":")).encode()


def understood(path: str, reply: bytes, body: bytes) -> None:
    """The reply can be decoded, whatever the request was."""
    if path == "/filter":
        parsed = go.parse(reply, repeats=True)
        offered = {*parsed["FailedAndUnresolvableNodes"], *(parsed["NodeNames"] or ())}
        offered |= {node["metadata"]["name"] for node in (parsed["Nodes"] or {"items": ()})["items"]}
        go.filter_result(reply, offered, repeats=True)
    elif path == "/prioritize":
        go.priorities(reply)
    elif path == "/bind":
        go.bind_error(reply)
    else:
        go.preempt_result(reply)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(PATHS), bodies()), min_size=1, max_size=12))
def test_any_sequence_of_bodies(calls: list[tuple[str, bytes]]):
    async def play() -> None:
        world = World(nodes=2)
        for path, body in calls:
            understood(path, await world.post(path, body), body)
            assert ("internal-error") not in {outcome for _, outcome in world.seen}
        assert violations(world.store.state) == []

    asyncio.run(play())
