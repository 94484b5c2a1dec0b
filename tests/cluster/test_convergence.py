"""Whatever happens to server and connection, the sink ends up with the server's state."""

from __future__ import annotations

import asyncio
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.apiserver import ApiServer, Object, answer, lose, pod, text
from tests.cluster.follower import Mirror, reflector, running

NAMES = st.sampled_from("abcde")
OBJECT_STEPS = ("put", "put unseen", "delete", "delete unseen")
SERVER_STEPS = ("compact", "end", "drop", "bookmark", "half a line", "garbage", "replay")
FAULT_STEPS = ("expire", "busy", "list lost", "list garbage")
TURNS = st.integers(0, 40)
"""Turns of the event loop after a step: reflector and server run that far."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(OBJECT_STEPS), NAMES, TURNS),
        st.tuples(st.sampled_from(SERVER_STEPS + FAULT_STEPS), st.just(""), TURNS),
    ),
    max_size=25,
)


class Story:
    """Carries out one step after the other on a server."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.made = 0

    def step(self, kind: str, name: str) -> None:
        server = self.server
        match kind:
            case "put":
                self.put(name)
            case "delete" if ("ns", name) in server.objects["pods"]:
                server.delete("pods", name, "ns")
            case "put unseen" | "delete unseen":
                # The change reaches no open watch: they are cut, as when packets are lost.
                streams, server.streams[:] = server.streams[:], []
                self.step(kind.removesuffix(" unseen"), name)
                server.streams[:] = streams
                self.all_streams("drop")
            case "compact":
                server.compact()
            case "bookmark":
                server.bookmark()
            case "end" | "drop" | "garbage" | "half a line" | "replay":
                self.all_streams(kind)
            case "expire":
                server.faults["watch"].append(answer(410, "Expired"))
            case "busy":
                server.faults["watch"].append(answer(503))
            case "list lost":
                server.faults["list"].append(lose())
            case "list garbage":
                server.faults["list"].append(text(b'{"items":[{"metadata":{"uid":"x"}},{"meta'))
            case _:
                pass

    def put(self, name: str) -> None:
        known = self.server.objects["pods"].get(("ns", name))
        self.made += 1
        uid = known["metadata"]["uid"] if known else f"{name}-{self.made}"
        self.server.put("pods", pod(name, uid, node=f"n{self.made}"))

    def all_streams(self, kind: str) -> None:
        for stream in self.server.streams:
            match kind:
                case "end":
                    stream.ask_to_end()
                case "drop":
                    stream.drop()
                case "garbage":
                    stream.raw(b"Internal error\n")
                case "half a line":
                    stream.raw(json.dumps({"type": "ADDED", "object": self.latest()}).encode()[:40])
                    stream.drop()
                case _:
                    for change in self.server.registry.history("pods")[-3:]:
                        stream.event(change.type, change.object)

    def latest(self) -> Object:
        history = self.server.registry.history("pods")
        return history[-1].object if history else pod("nobody")


@settings(max_examples=80)
@given(st.lists(NAMES, max_size=5), STEPS, st.integers(1, 3), st.booleans())
def test_any_story_ends_in_the_servers_state(
    first: list[str], steps: list[tuple[str, str, int]], page_size: int, synced_first: bool
) -> None:
    asyncio.run(tell(first, steps, page_size, synced_first))


async def tell(
    first: list[str], steps: list[tuple[str, str, int]], page_size: int, synced_first: bool
) -> None:
    async with ApiServer() as server, await server.client() as client:
        story, mirror = Story(server), Mirror()
        for name in first:
            story.put(name)
        made = reflector(client, mirror, page_size=page_size)
        async with running(made):
            if synced_first:
                await made.synced.wait()
            for kind, name, turns in steps:
                story.step(kind, name)
                for _ in range(turns):
                    await asyncio.sleep(0)
            for faults in server.faults.values():
                faults.clear()
            story.put("last")
            await mirror.until_same_as(server)
