"""Server-sent events: one snapshot a round for all open pages, and only the sections that have changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Final

from extender.support.backoff import Sleep

ROUND_S: Final = 1.0
_IDLE_S: Final = 60.0
MOST_PAGES: Final = 160
"""Open pages at a time: the API port accepts 256 connections, and the kubelet's probes need some."""

_LONGEST_S: Final = 45.0
"""A stream ends after this time, and the page connects again: the port cuts requests that last a minute."""

_RETRY_MS: Final = 500
_SHARE: Final = 40
"""Rendering takes at most one part in so many of the time: it is the event loop of the webhooks."""

_log = logging.getLogger(__name__)


class LiveSnapshots:
    """Renders while somebody looks, and hands what is new to every page.

    `render` gives JSON by section. `run` renders once a round, for as many pages as there are.
    """

    def __init__(
        self,
        render: Callable[[float], dict[str, bytes]],
        look: Callable[[float], None],
        clock: Callable[[], float],
        *,
        sleep: Sleep = asyncio.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._render = render
        self._look = look
        self._clock = clock
        self._sleep = sleep
        self._timer = timer
        self._sections: dict[str, tuple[int, bytes]] = {}
        self._chunks: dict[int, bytes] = {}
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._closed = False
        self.version = 0
        self.rounds = 0
        self.pages = 0

    async def run(self) -> None:
        """Render for ever. Ends only by cancellation."""
        while True:
            if self.pages == 0:
                self._look(self._clock())
                self._wanted.clear()
                try:
                    async with asyncio.timeout(_IDLE_S):
                        await self._wanted.wait()
                except TimeoutError:
                    continue
            began_s = self._timer()
            try:
                self.refresh()
            except Exception:  # a page that cannot be drawn must not end the scheduler
                _log.exception("the dashboard was not rendered")
            await self._sleep(max(ROUND_S, _SHARE * (self._timer() - began_s)))

    def refresh(self) -> None:
        """Render now; wakes the pages if something has changed."""
        self.rounds += 1
        found = self._render(self._clock())
        fresh = {name: body for name, body in found.items() if self._sections.get(name, (0, b""))[1] != body}
        if not fresh:
            return
        self.version += 1
        self._chunks.clear()
        for name, body in fresh.items():
            self._sections[name] = (self.version, body)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """End all streams: the service stops."""
        self._closed = True
        self._news.set()

    async def stream(self, since: int = 0) -> AsyncGenerator[bytes]:
        """Events for one page, which has seen everything up to version `since`."""
        self.pages += 1
        try:
            self._wanted.set()  # what is known goes out at once, `run` renders the rest
            if since > self.version:
                since = 0  # of another run of the service
            yield b'retry: %d\nevent: hello\ndata: {"now_s":%.3f}\n\n' % (_RETRY_MS, self._clock())
            loop = asyncio.get_running_loop()
            ends_s = loop.time() + _LONGEST_S
            while not self._closed:
                news = self._news
                if since < self.version:
                    yield self._since(since)
                    since = self.version
                left_s = ends_s - loop.time()
                if left_s <= 0:
                    return
                try:
                    async with asyncio.timeout(left_s):
                        await news.wait()
                except TimeoutError:
                    return
        finally:
            self.pages -= 1

    def _since(self, version: int) -> bytes:
        """All sections that changed after a version, as events; the same bytes for every page."""
        chunk = self._chunks.get(version)
        if chunk is None:
            events = [
                b"event: %s\nid: %d\ndata: %s\n\n" % (name.encode(), self.version, body)
                for name, (at, body) in self._sections.items()
                if at > version
            ]
            chunk = self._chunks[version] = b"".join(events)
        return chunk
