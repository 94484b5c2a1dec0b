"""An API server over real HTTP: lists in pages, watches with bookmarks, Bindings, patches, deletions.

It serves `Registry` and knows just the fields and selectors that schedulers, kubelets and Spark use. Tests
make it fail on demand: see `faults`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from extender.lab.faults import Fault, cut, status
from extender.lab.registry import (
    CLUSTER_SCOPED,
    KINDS,
    POD,
    Change,
    Object,
    Refusal,
    Registry,
    encode,
    event_line,
    matching,
    node_of,
    phase_of,
    typed,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPERATIONS: Final = ("list", "watch", "get", "create", "patch", "delete", "bind", "review", "event")
ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

_EVENTS: Final = re.compile(r"/apis/events\.k8s\.io/v1/namespaces/([^/]+)/events")
_BOOKMARK_S: Final = 15.0
_LONGEST_WATCH_S: Final = 3600.0
_PAGES_KEPT: Final = 64
_REQUESTS_KEPT: Final = 10_000
_JSON: Final = "application/json"
_REQUIREMENT = re.compile(r"\s*(!?)([^=!\s]+)\s*(?:(==|=|!=)\s*(\S*))?\s*")

Requirement = tuple[str, str, str]


class Stream:
    """One open watch. `ask_to_end` ends it properly, `drop` cuts the connection."""

    def __init__(self, version: int, params: Mapping[str, str], view: WatchView) -> None:
        self.version = version
        self.params = params
        self.view = view
        self.out: asyncio.Queue[bytes | str | None] = asyncio.Queue()

    def show(self, change: Change) -> None:
        """Send a change, if this watch shows it."""
        if (line := self.view.line(change)) is not None:
            self.raw(line)

    def event(self, kind: str, obj: Mapping[str, Any]) -> None:
        """Send an event, whatever the watch selects."""
        self.raw(encode({"type": kind, "object": obj}) + b"\n")

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.out.put_nowait(data)

    def ask_to_end(self) -> None:
        """End the answer as the API server does when its time is over."""
        self.out.put_nowait(None)

    def drop(self) -> None:
        """Cut the connection."""
        self.out.put_nowait("drop")


class ApiServer:
    """Serves a registry on a port of its own; use as an asynchronous context manager.

    `requests` logs what came in: operation, path, query. `faults[operation]` are applied to coming requests,
    one each. `streams` are the open watches: one that is taken out stays open and shows nothing more.
    `opened` gets each that is opened. `events` are Kubernetes Events by namespace and name. With `tokens`,
    only these values of Authorization are served.
    `forbidden` are rights ("patch pods", "create pods/binding spark") that access reviews deny; nothing else
    looks at them. With `cache_ignores_limit` a list of any version comes in one page, as from a watch cache.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        bookmark_s: float = _BOOKMARK_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.registry = registry
        self.url = ""
        self.tls = tls
        self.requests: deque[tuple[str, str, dict[str, str]]] = deque(maxlen=_REQUESTS_KEPT)
        self.faults: dict[str, deque[Fault]] = {each: deque() for each in OPERATIONS}
        self.streams: list[Stream] = []
        self.opened: asyncio.Queue[Stream] = asyncio.Queue()
        self.tokens: set[str] | None = None
        self.forbidden: set[str] = set()
        self.events: dict[tuple[str, str], Object] = {}
        self.cache_ignores_limit = False
        self._host = host
        self._port = port
        self._bookmark_s = bookmark_s
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._page_numbers = count(1)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._unsubscribe = self.registry.subscribe(self._tell)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self.tls).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self.tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unsubscribe()
        for stream in self.streams:
            stream.drop()
        assert self._runner is not None
        await self._runner.cleanup()

    def forget_pages(self) -> None:
        """Lists that are half read cannot be continued any more, as after a compaction."""
        self._pages.clear()

    # -- routes ----------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            operation, handler = self._route(request)
            self.requests.append((operation, request.path, dict(request.query)))
            if self.tokens is not None and request.headers.get("Authorization") not in self.tokens:
                return status(401, "Unauthorized", "Unauthorized")
            if self.faults.get(operation):
                return await self.faults[operation].popleft()(request, partial(handler, request))
            return await handler(request)
        except Refusal as refusal:
            return status(refusal.status, refusal.reason, refusal.message)

    def _route(self, request: web.Request) -> tuple[str, Handler]:
        """The operation of a request and what carries it out. Raises `Refusal` for what is not served."""
        if request.path == ACCESS_REVIEWS:
            return "review", self._review_access
        if request.method == "POST" and (found := _EVENTS.fullmatch(request.path)):
            return "event", lambda request: self._event(request, found[1])
        kind, namespace, name, below = _parse(request.path)
        match request.method, bool(name), below:
            case "GET", False, "":
                if request.query.get("watch") in ("1", "true"):
                    return "watch", lambda request: self._watch(request, kind, namespace)
                return "list", lambda request: self._list(request, kind, namespace)
            case "GET", True, "":
                return "get", lambda _: self._get(kind, namespace, name)
            case "POST", False, "":
                return "create", lambda request: self._create(request, kind, namespace)
            case ("POST", True, "binding") if kind == POD:
                return "bind", lambda request: self._bind(request, namespace, name)
            case "PATCH", True, "" | "status":
                return "patch", lambda request: self._patch(request, kind, namespace, name, bool(below))
            case "DELETE", True, "":
                return "delete", lambda request: self._delete(request, kind, namespace, name)
            case _:
                raise Refusal(
                    405,
                    "MethodNotAllowed",
                    f"{request.method} {request.path} is not served by this API server",
                )

    async def _review_access(self, request: web.Request) -> web.Response:
        wanted = ((await _body(request)).get("spec") or {}).get("resourceAttributes") or {}
        resource = "/".join(filter(None, (wanted.get("resource"), wanted.get("subresource"))))
        right = " ".join(filter(None, (wanted.get("verb"), resource, wanted.get("namespace"))))
        return _json({"status": {"allowed": right not in self.forbidden}}, 201)

    async def _event(self, request: web.Request, namespace: str) -> web.Response:
        event = await _body(request)
        key = namespace, str(event["metadata"]["name"])
        if key in self.events:
            raise Refusal(409, "AlreadyExists", f"events {key[1]!r} already exists")
        self.events[key] = event
        return _json(event, 201)

    async def _get(self, kind: str, namespace: str, name: str) -> web.Response:
        return _json(typed(kind, self.registry.get(kind, namespace, name)))

    async def _create(self, request: web.Request, kind: str, namespace: str) -> web.Response:
        return _json(typed(kind, self.registry.create(kind, await _body(request), namespace)), 201)

    async def _patch(
        self, request: web.Request, kind: str, namespace: str, name: str, below: bool
    ) -> web.Response:
        patch = await _body(request)
        match request.content_type:
            case "application/merge-patch+json":
                pass
            case "application/strategic-merge-patch+json":
                patch = self.registry.without_directives(kind, namespace, name, patch)
            case other:
                raise Refusal(415, "UnsupportedMediaType", f"{other} is no patch that this API server knows")
        return _json(
            typed(kind, self.registry.merge_patch(kind, namespace, name, patch, status=below and kind == POD))
        )

    async def _delete(self, request: web.Request, kind: str, namespace: str, name: str) -> web.Response:
        options = await _body(request) if request.can_read_body else {}
        grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        uid = (options.get("preconditions") or {}).get("uid") or ""
        gone = self.registry.delete(kind, namespace, name, uid=uid, now=str(grace) == "0")
        return _json(typed(kind, gone))

    async def _bind(self, request: web.Request, namespace: str, name: str) -> web.Response:
        self.registry.bind(namespace, name, await _body(request))
        return status(201, "", "", "Success")

    # -- list ------------------------------------------------------------------------------------

    async def _list(self, request: web.Request, kind: str, namespace: str) -> web.Response:
        query = request.query
        start, token = 0, query.get("continue")
        if token:
            snapshot, _, offset = token.partition("-")
            if snapshot not in self._pages or not offset.isdecimal():
                raise Refusal(410, "Expired", "The provided continue parameter is too old")
            (version, items), start = self._pages[snapshot], int(offset)
        else:
            chosen = _chooser(query)
            version = self.registry.version
            items = [each for each in self.registry.all(kind, namespace) if chosen(each)]
            snapshot = str(next(self._page_numbers))
        limit = query.get("limit", "")
        end = start + int(limit) if limit.isdecimal() and int(limit) else len(items)
        if self.cache_ignores_limit and query.get("resourceVersion") == "0":
            end = len(items)
        metadata: Object = {"resourceVersion": str(version)}
        if end < len(items):
            self._pages[snapshot] = (version, items)
            while len(self._pages) > _PAGES_KEPT:
                self._pages.pop(next(iter(self._pages)))
            metadata |= {"continue": f"{snapshot}-{end}", "remainingItemCount": len(items) - end}
        page = {"kind": f"{KINDS[kind]}List", "apiVersion": "v1", "metadata": metadata}
        return _json({**page, "items": items[start:end]})

    # -- watch -----------------------------------------------------------------------------------

    async def _watch(self, request: web.Request, kind: str, namespace: str) -> web.StreamResponse:
        query = request.query
        try:
            wanted_s = float(query.get("timeoutSeconds", _LONGEST_WATCH_S))
            version = int(query.get("resourceVersion") or self.registry.version)
        except ValueError:
            raise Refusal(400, "BadRequest", "resourceVersion and timeoutSeconds must be numbers") from None
        stream = Stream(version, dict(query), WatchView(kind, namespace, _chooser(query)))
        try:
            for change in self.registry.since(kind, version):
                stream.show(change)
        except Refusal as refusal:
            gone = {"kind": "Status", "code": refusal.status, "reason": refusal.reason}
            stream.event("ERROR", {**gone, "message": refusal.message})
            stream.ask_to_end()
        self.streams.append(stream)
        self.opened.put_nowait(stream)
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        try:
            return await self._serve(request, kind, stream, bookmarks, wanted_s)
        finally:
            if stream in self.streams:
                self.streams.remove(stream)

    def _tell(self, change: Change) -> None:
        for stream in self.streams:
            stream.show(change)

    async def _serve(
        self, request: web.Request, kind: str, stream: Stream, bookmarks: bool, wanted_s: float
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        response.enable_chunked_encoding()
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + wanted_s
        with suppress(ConnectionError):
            while (left_s := ends_s - loop.time()) > 0:
                try:
                    async with asyncio.timeout(min(self._bookmark_s, left_s)):
                        line = await stream.out.get()
                except TimeoutError:
                    if not bookmarks:
                        continue
                    mark = {"metadata": {"resourceVersion": str(self.registry.version)}}
                    line = event_line("BOOKMARK", kind, mark)
                if isinstance(line, str):
                    cut(request)
                    return response
                if line is None:
                    break
                await response.write(line)
            await response.write_eof()
        return response


class WatchView:
    """The events of one watch: an object that no longer matches its selectors is DELETED for it."""

    def __init__(self, kind: str, namespace: str, chosen: Callable[[Object], bool]) -> None:
        self._kind = kind
        self._namespace = namespace
        self._chosen = chosen

    def line(self, change: Change) -> bytes | None:
        """The line for a change, or None if this watch does not show it."""
        if change.kind != self._kind:
            return None
        if self._namespace and change.object["metadata"].get("namespace") != self._namespace:
            return None
        if self._chosen(change.object):
            return change.line
        if change.before is None or not self._chosen(change.before):
            return None
        return change.line if change.type == "DELETED" else event_line("DELETED", self._kind, change.object)


# -- paths, bodies, selectors --------------------------------------------------------------------


def _parse(path: str) -> tuple[str, str, str, str]:
    """Kind, namespace, name and subresource of a path. Raises `Refusal` (404)."""
    parts = path.strip("/").split("/")
    if parts[:2] == ["api", "v1"]:
        rest, namespace = parts[2:], ""
        if len(rest) >= 3 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        if 1 <= len(rest) <= 3 and rest[0] in KINDS and bool(namespace) == _namespaced(rest):
            kind, name, below = (*rest, "", "")[:3]
            return kind, namespace, name, below
        if len(rest) == 1 and rest[0] in KINDS and not namespace:
            return rest[0], "", "", ""
    raise Refusal(404, "NotFound", f"{path} is not served: there are {', '.join(KINDS)} under /api/v1")


def _namespaced(rest: list[str]) -> bool:
    return rest[0] not in CLUSTER_SCOPED


def _chooser(query: Mapping[str, str]) -> Callable[[Object], bool]:
    """Whether an object meets the label and field selectors of a query."""
    labels = selector(query.get("labelSelector", ""))
    fields = selector(query.get("fieldSelector", ""))
    for field, operator, _ in fields:
        if field not in _FIELDS or operator not in ("=", "!="):
            raise Refusal(400, "BadRequest", f"field label not supported: {field}")
    if not labels and not fields:
        return lambda _: True
    return lambda obj: (
        matching(obj, labels)
        and all((_FIELDS[field](obj) == value) == (operator == "=") for field, operator, value in fields)
    )


_FIELDS: Final[Mapping[str, Callable[[Object], str]]] = {
    "metadata.name": lambda obj: obj["metadata"]["name"],
    "metadata.namespace": lambda obj: obj["metadata"].get("namespace", ""),
    "spec.nodeName": node_of,
    "spec.schedulerName": lambda obj: obj["spec"].get("schedulerName", ""),
    "status.phase": phase_of,
}


def selector(text: str) -> list[Requirement]:
    """A selector such as `a=b,c!=d,e,!f` as (key, operator, value). Raises `Refusal` (400)."""
    out: list[Requirement] = []
    for part in filter(None, text.split(",")):
        found = _REQUIREMENT.fullmatch(part)
        if found is None:
            raise Refusal(400, "BadRequest", f"unable to parse requirement: {part!r}")
        negated, key, operator, value = found.groups()
        if operator is None:
            out.append((key, "missing" if negated else "exists", ""))
        else:
            out.append((key, "!=" if operator == "!=" else "=", value or ""))
    return out


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.read())
    except msgspec.DecodeError as problem:
        raise Refusal(400, "BadRequest", f"the body is not JSON: {problem}") from None
    if not isinstance(body, dict):
        raise Refusal(400, "BadRequest", "the body must be a JSON object")
    return body


def _json(body: Mapping[str, Any], code: int = 200) -> web.Response:
    return web.Response(body=encode(body), status=code, content_type=_JSON)
