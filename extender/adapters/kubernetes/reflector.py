"""List and watch: a sink that follows one kind of object of the API server.

Only keys are kept here. The objects themselves are decoded, handed on and forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from extender.adapters.kubernetes.client import UNREADABLE, ApiClient, ApiError, error_of
from extender.adapters.kubernetes.pages import Item, ListSplitter
from extender.objects.structs import (
    DECODE_ERRORS,
    ListMetadata,
    ObjectKey,
    decode_key,
    decode_watch_event,
)
from extender.support.backoff import Backoff, Draw, Sleep

PAGE_SIZE: Final = 500
_BREATH: Final = 32
"""Objects handled between two chances for other tasks: a few milliseconds, so that webhooks answer."""
_SHORT_WATCH_S: Final = 1.0
SILENCE_S: Final = 70.0
"""The API server sends a bookmark a minute; a watch that says nothing for longer is looked into."""
_PROBE_S: Final = 5.0
_PROBE_SILENCE_S: Final = 15.0
_LIST_SILENCE_S: Final = 60.0
_LONGEST_LIST_S: Final = 600.0
_MOST_REPORTED: Final = 10_000

SILENT: Final = "Silent"
"""Reason of the `ApiError` of a watch without events and bookmarks."""

_VERSION = re.compile(r"[0-9]{1,20}")
_log = logging.getLogger(__name__)

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Sink(Protocol[T_contra]):
    """Where objects go. Called on the event loop, one call at a time, in the API server's order."""

    def seen(self, item: T_contra) -> None:
        """An object exists, in this state. The same state may come more than once."""
        ...

    def gone(self, key: str) -> None:
        """The object with this key exists no more."""
        ...

    def listed(self) -> None:
        """A complete list was handed over: everything that exists was seen, the rest is gone."""
        ...


def uid_of(key: ObjectKey) -> str:
    """Key of kinds whose recreated objects are other objects: pods."""
    return key.uid or ""


def name_of(key: ObjectKey) -> str:
    """Key of cluster-scoped kinds that are known by name: nodes."""
    return key.name or ""


def namespaced_name_of(key: ObjectKey) -> str:
    """Key of namespaced kinds that are known by name: config maps."""
    return f"{key.namespace or ''}/{key.name or ''}"


@dataclass(slots=True)
class ReflectorHealth:
    """State for the readiness probe and metrics. Times are of the injected clock.

    `last_event_s` is when an event, a bookmark or a list came last; `fresh_s` is when it was last certain
    that nothing is missing: then, or when a watch without events ended in order.
    """

    connected: bool = False
    last_event_s: float | None = None
    fresh_s: float | None = None
    restarts: int = 0
    lists: int = 0
    skipped: int = 0
    last_problem: str = ""


class Reflector(Generic[T]):
    """Follows one collection for as long as `run` runs.

    The first list may come from the API server's cache (`resourceVersion=0`: cheap, but a moment
    behind, and never in pages), unless `first_list_from_cache` is false; later ones are consistent
    reads, so that the state never goes back in time. A 410 leads to a new list whose
    difference is reported: objects that are not in it are `gone`. An object that `decode` or the
    sink cannot take is logged and skipped; what was known of it stays.

    `watch_s` is how long the API server is asked to serve one watch. One without events and bookmarks for
    `silence_s` is cut, and a short one takes its place: it delivers at once what the other one missed, or
    ends in order, so that nothing was. `params` are query parameters of both list and watch, such as
    `fieldSelector`.
    """

    def __init__(
        self,
        client: ApiClient,
        path: str,
        decode: Callable[[bytes], T],
        sink: Sink[T],
        *,
        name: str,
        key: Callable[[ObjectKey], str] = uid_of,
        params: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        draw: Draw = random.random,
        sleep: Sleep = asyncio.sleep,
        page_size: int = PAGE_SIZE,
        first_list_from_cache: bool = True,
        watch_s: float = 300.0,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.name = name
        self.synced = asyncio.Event()
        self.health = ReflectorHealth()
        self._client = client
        self._path = path
        self._decode = decode
        self._sink = sink
        self._key = key
        self._params = dict(params or {})
        self._clock = clock
        self._draw = draw
        self._page_size = page_size
        self._from_cache = first_list_from_cache
        self._watch_s = watch_s
        self._silence_s = silence_s
        self._backoff = Backoff(sleep=sleep, draw=draw)
        self._known: set[str] = set()
        self._reported: set[str] = set()
        self._version = ""
        self._paged = True
        self._expired_again = False
        self._doubted = False

    @property
    def resource_version(self) -> str:
        """The version the sink has caught up with; empty before the first list and when it expired."""
        return self._version

    async def run(self) -> None:
        """List, then watch, for ever. Ends only by cancellation."""
        try:
            while True:
                try:
                    if not self._version:
                        await self._list()
                    await self._watch()
                except ApiError as problem:
                    await self._recover(problem)
        finally:
            self.health.connected = False

    async def _recover(self, problem: ApiError) -> None:
        health = self.health
        health.connected = False
        health.restarts += 1
        health.last_problem = str(problem)
        # A version can expire, be unknown to a restored or lagging server, or lead to what cannot be
        # followed; in all these cases only a new list gives a sound state.
        if problem.expired or problem.status in (400, 504) or problem.reason == UNREADABLE:
            self._version = ""
        if problem.reason in (SILENT, "Timeout") and self._version and not self._doubted:
            self._doubted = True
            _log.info("%s: %s, looking whether something was missed", self.name, problem)
            return
        if problem.expired and not self._expired_again:
            self._expired_again = True
            _log.info("%s: %s, listing again", self.name, problem)
            return
        _log.warning("%s: %s, trying again", self.name, problem)
        await self._backoff.wait(problem.retry_after_s or 0.0)

    # -- list ------------------------------------------------------------------------------------

    async def _list(self) -> None:
        """Hand over everything that exists, page by page; then report what is gone."""
        params: dict[str, str] = dict(self._params)
        if self._paged:
            params["limit"] = str(self._page_size)
        if self._from_cache and not self.synced.is_set():
            params["resourceVersion"] = "0"
        listed: set[str] = set()
        while True:
            try:
                async with _at_most(_LONGEST_LIST_S):
                    metadata = await self._list_page(params, listed)
            except ApiError as problem:
                if problem.expired and "continue" in params:
                    # We were too slow for the pages of one version: ask for all in one answer.
                    self._paged = False
                raise
            if not metadata.continue_:
                break
            params = {**self._params, "limit": str(self._page_size), "continue": metadata.continue_}
        if not metadata.resource_version:
            raise ApiError(0, UNREADABLE, "the list has no metadata.resourceVersion")
        for key in self._known - listed:
            self._hand_over(key, partial(self._sink.gone, key))
        self._known = listed
        self._version = metadata.resource_version
        self._paged = True
        self.health.lists += 1
        self.health.last_event_s = self.health.fresh_s = self._clock()
        self._hand_over("", self._sink.listed)
        self.synced.set()

    async def _list_page(self, params: Mapping[str, str], listed: set[str]) -> ListMetadata:
        splitter = ListSplitter()
        async with self._client.stream_chunks(self._path, params, silence_s=_LIST_SILENCE_S) as chunks:
            async for chunk in chunks:
                await self._take_items(splitter.feed(chunk), listed)
        try:
            page, items = splitter.finish()
        except DECODE_ERRORS as problem:
            raise ApiError(0, UNREADABLE, f"the list is not a Kubernetes list: {problem}") from None
        await self._take_items(items, listed)
        return page.metadata or ListMetadata()

    async def _take_items(self, items: Iterable[Item], listed: set[str]) -> None:
        for count, item in enumerate(items):
            if count % _BREATH == 0:
                await asyncio.sleep(0)
            key = self._key(item.key) if item.key is not None else ""
            if key:
                listed.add(key)
                self._known.add(key)
            self._see(key, item.body)

    # -- watch -----------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Follow events from the version reached until the server ends the watch."""
        asked_s = _PROBE_S if self._doubted else self._watch_s * (1 + self._draw() / 2)
        silence_s = min(self._silence_s, _PROBE_SILENCE_S) if self._doubted else self._silence_s
        params = {
            **self._params,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, round(asked_s))),
        }
        started_s = self._clock()
        try:
            async with self._client.stream_lines(self._path, params, silence_s=silence_s) as lines:
                self.health.connected = True
                events = await self._follow(lines, silence_s)
        finally:
            lasted_s = self._clock() - started_s
            if lasted_s >= _SHORT_WATCH_S:
                self._progressed()
        if not events and lasted_s < _SHORT_WATCH_S:
            raise ApiError(0, "ShortWatch", "the watch ended at once and without an event")
        self._doubted = False
        self.health.fresh_s = self._clock()

    async def _follow(self, lines: AsyncIterator[bytes], silence_s: float) -> int:
        count = 0
        async with aclosing(_within(lines, silence_s)) as spoken:
            async for line in spoken:
                self._take_event(line)
                self._progressed()
                count += 1
                if count % _BREATH == 0:
                    await asyncio.sleep(0)
        return count

    def _progressed(self) -> None:
        self._backoff.reset()
        self._expired_again = False

    def _take_event(self, line: bytes) -> None:
        try:
            event = decode_watch_event(line)
        except DECODE_ERRORS as problem:
            raise ApiError(0, UNREADABLE, f"the watch sent a line that is not an event: {problem}") from None
        body = bytes(event.object)
        if event.type == "ERROR":
            raise error_of(body)
        try:
            metadata = decode_key(body).metadata or ObjectKey()
        except DECODE_ERRORS as problem:
            self._skip("", f"an event without readable metadata: {problem}")
            return
        version = metadata.resource_version or ""
        if _is_older(version, self._version):
            return
        self._take_change(event.type, self._key(metadata), body)
        self._version = version or self._version
        self._doubted = False
        self.health.last_event_s = self.health.fresh_s = self._clock()

    def _take_change(self, change: str, key: str, body: bytes) -> None:
        match change:
            case "ADDED" | "MODIFIED":
                if key:
                    self._known.add(key)
                self._see(key, body)
            case "DELETED":
                self._known.discard(key)
                self._reported.discard(key)
                if key:
                    self._hand_over(key, partial(self._sink.gone, key))
            case _:
                # BOOKMARK, or a type that future servers may add: only its version matters.
                pass

    # -- sink ------------------------------------------------------------------------------------

    def _see(self, key: str, body: bytes) -> None:
        if key:
            self._hand_over(key, lambda: self._sink.seen(self._decode(body)))
        else:
            self._skip(key, "an object without name or uid")

    def _hand_over(self, key: str, deliver: Callable[[], None]) -> None:
        """One object must not stop the others, whatever is wrong with it or with who takes it."""
        try:
            deliver()
        except (*DECODE_ERRORS, ValueError) as problem:
            self._skip(key, str(problem))
        except Exception:
            self.health.skipped += 1
            _log.exception("%s: %s could not be taken over", self.name, key or "the list")

    def _skip(self, key: str, problem: str) -> None:
        self.health.skipped += 1
        if key in self._reported:
            return
        if key and len(self._reported) < _MOST_REPORTED:
            self._reported.add(key)
        _log.warning("%s: skipped %s: %s", self.name, key or "an object", problem)


async def _within(lines: AsyncIterator[bytes], silence_s: float) -> AsyncGenerator[bytes, None]:
    """The lines that say something. Raises `ApiError` when none comes for `silence_s`."""
    while True:
        try:
            async with asyncio.timeout(silence_s):
                line = await anext(lines, None)
                while line is not None and not line.strip():
                    line = await anext(lines, None)
        except TimeoutError:
            raise ApiError(0, SILENT, f"the watch said nothing for {silence_s:.0f} s") from None
        if line is None:
            return
        yield line


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """A time-out in the words of the API. Raises `ApiError`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise ApiError(0, "Timeout", f"no complete list came within {seconds:.0f} s") from None


def _is_older(version: str, than: str) -> bool:
    """Compare resource versions where they are numbers, as those of the API server are."""
    if not (_VERSION.fullmatch(version) and _VERSION.fullmatch(than)):
        return False
    return int(version) < int(than)
