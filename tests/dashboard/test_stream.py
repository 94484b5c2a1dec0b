"""The live snapshot: one rendering for all pages, only what has changed, an end when the service stops."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from extender.adapters.api.dashboard.stream import MOST_PAGES, LiveSnapshots
from tests.cluster.apiserver import node
from tests.service.cluster import Cluster, ready


class Source:
    """Sections that a test changes; counts how often they are rendered."""

    def __init__(self) -> None:
        self.sections = {"a": b"1", "b": b"1"}
        self.rendered = 0
        self.looked = asyncio.Event()
        self.asked = asyncio.Event()

    def render(self, _now: float) -> dict[str, bytes]:
        self.rendered += 1
        self.asked.set()
        return dict(self.sections)

    def look(self, _now: float) -> None:
        self.looked.set()


def live_of(source: Source) -> LiveSnapshots:
    return LiveSnapshots(source.render, source.look, lambda: 100.0)


def events(chunk: bytes) -> list[str]:
    return [
        line.removeprefix("event: ") for line in chunk.decode().splitlines() if line.startswith("event: ")
    ]


async def test_many_pages_share_one_rendering_and_its_bytes():
    source = Source()
    live = live_of(source)
    live.refresh()
    streams = [live.stream() for _ in range(100)]
    for stream in streams:
        assert events(await anext(stream)) == ["hello"]
    first = [await anext(stream) for stream in streams]
    assert events(first[0]) == ["a", "b"]
    source.sections["b"] = b"2"
    waiting = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.sleep(0)
    live.refresh()
    second = await asyncio.gather(*waiting)
    assert [events(each) for each in second] == [["b"]] * 100
    assert all(each is second[0] for each in second)
    assert source.rendered == 2
    live.close()
    for stream in streams:
        await stream.aclose()
    assert live.pages == 0


async def test_a_page_that_comes_back_gets_what_it_missed():
    source = Source()
    live = live_of(source)
    live.refresh()
    source.sections["a"] = b"2"
    live.refresh()
    stream = live.stream(since=1)
    await anext(stream)
    assert events(await anext(stream)) == ["a"]
    stranger = live.stream(since=99)  # of another run of the service
    await anext(stranger)
    assert events(await anext(stranger)) == ["a", "b"]
    live.close()
    await stream.aclose()
    await stranger.aclose()


async def test_without_pages_nothing_is_rendered_but_the_past_is_kept():
    source = Source()
    live = live_of(source)
    running = asyncio.create_task(live.run())
    await source.looked.wait()
    assert source.rendered == 0
    stream = live.stream()
    await anext(stream)
    assert events(await anext(stream)) == ["a", "b"]
    running.cancel()
    live.close()
    await stream.aclose()


async def test_a_rendering_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture):
    source = Source()
    live = live_of(source)
    del source.sections
    running = asyncio.create_task(live.run())
    stream = live.stream()
    await anext(stream)
    pending = asyncio.ensure_future(anext(stream))
    await source.asked.wait()
    await asyncio.sleep(0)
    assert "the dashboard was not rendered" in caplog.text
    assert not running.done()
    running.cancel()
    live.close()
    with pytest.raises(StopAsyncIteration):
        await pending


async def read_sections(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    async with session.get(f"{url}/dashboard/events") as answer:
        assert answer.content_type == "text/event-stream"
        name = ""
        async for raw in answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found[name] = json.loads(line.removeprefix("data: "))
                if len(found) == 7:
                    return found
    return found


async def test_the_service_streams_and_stops_with_pages_open():
    async with Cluster() as cluster:
        cluster.put("nodes", node("n0"))
        async with ready(cluster) as (service, client), aiohttp.ClientSession() as session:
            found = await read_sections(session, client.url)
            assert found["totals"]["nodes"] == 1
            assert found["nodes"]["flags"] == "Aw=="
            assert (await client.get("/dashboard/nodes"))[1]["names"] == ["n0"]
            service.live.pages = MOST_PAGES
            assert (await client.get("/dashboard/events"))[0] == 503
            service.live.pages = 0
            open_page = await session.get(f"{client.url}/dashboard/events")
            await open_page.content.readline()
            service.stop()
            async for _ in open_page.content:
                pass  # the stream ends by itself


async def test_files_forbid_what_is_not_theirs():
    async with (
        Cluster() as cluster,
        ready(cluster) as (_, client),
        aiohttp.ClientSession() as session,
        session.get(client.url) as answer,
    ):
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "http" not in (await answer.text()).replace("http-equiv", "")
