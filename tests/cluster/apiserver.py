"""An API server for tests: real HTTP, the real rules of list, watch, Binding and patch, faults on demand."""

from __future__ import annotations

import asyncio
import copy
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

from extender.adapters.kubernetes.client import ApiClient

Object = dict[str, Any]
Proceed = Callable[[], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, Proceed], Awaitable[web.StreamResponse]]
PATHS = {"pods": "/api/v1/pods", "nodes": "/api/v1/nodes"}
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def pod(name: str, uid: str = "", *, namespace: str = "ns", node: str = "", **spec: Any) -> Object:
    """A pod of one container that asks for one core, unless `containers` says otherwise."""
    containers = [{"name": "main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]
    made: Object = {
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"},
        "spec": {"containers": containers, **spec},
        "status": {"phase": "Pending"},
    }
    if node:
        made["spec"]["nodeName"] = node
    return made


def node(name: str, uid: str = "", **allocatable: str) -> Object:
    """A ready node."""
    return {
        "metadata": {"name": name, "uid": uid or f"uid-{name}"},
        "spec": {},
        "status": {
            "allocatable": allocatable or {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


class Stream:
    """One open watch. `ask_to_end` ends it properly, `drop` cuts the connection."""

    def __init__(self, version: int, params: dict[str, str]) -> None:
        self.version = version
        self.params = params
        self.out: asyncio.Queue[bytes | str | None] = asyncio.Queue()

    def event(self, kind: str, obj: Object) -> None:
        self.out.put_nowait(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        self.out.put_nowait(data)

    def ask_to_end(self) -> None:
        self.out.put_nowait(None)

    def drop(self) -> None:
        self.out.put_nowait("drop")


class ApiServer:
    """Pods and nodes in memory, every change with a version of its own.

    `faults[operation]` are applied to coming requests, one each: list, watch, get, bind, patch.
    `requests` logs what came in. `forbidden` are rights ("patch pods", "create pods/binding spark") that
    reviews deny; nothing else looks at them.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.version = 1000
        self.oldest = 0
        self.objects: dict[str, dict[tuple[str, str], Object]] = {"pods": {}, "nodes": {}}
        self.log: dict[str, list[tuple[int, str, Object]]] = {"pods": [], "nodes": []}
        self.streams: list[Stream] = []
        self.opened: asyncio.Queue[Stream] = asyncio.Queue()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: dict[str, deque[Fault]] = {
            each: deque() for each in ("list", "watch", "get", "bind", "patch", "review")
        }
        self.cache_ignores_limit = False
        self.tokens: set[str] | None = None
        self.forbidden: set[str] = set()
        self._snapshots: dict[str, tuple[int, list[Object]]] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"{'https' if self.tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self.streams:
            stream.drop()
        assert self._runner is not None
        await self._runner.cleanup()

    async def client(self, **options: Any) -> ApiClient:
        from extender.adapters.kubernetes.credentials import anonymous

        return ApiClient(await anonymous(self.url), **options)

    # -- what tests do ---------------------------------------------------------------------------

    def put(self, kind: str, obj: Object) -> Object:
        """Create or replace an object; watchers are told."""
        key = _key(obj)
        self.version += 1
        obj = copy.deepcopy(obj)
        obj["metadata"]["resourceVersion"] = str(self.version)
        change = "MODIFIED" if key in self.objects[kind] else "ADDED"
        self.objects[kind][key] = obj
        self._tell(kind, change, obj)
        return obj

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object; watchers are told."""
        obj = copy.deepcopy(self.objects[kind].pop((namespace, name)))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, "DELETED", obj)

    def compact(self) -> None:
        """Forget history: every older version is answered 410 from now on."""
        self.oldest = self.version
        self._snapshots.clear()

    def bookmark(self) -> None:
        """Send a bookmark of the present version to every watch."""
        for stream in self.streams:
            stream.event("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def count(self, operation: str) -> int:
        """How many requests of an operation came in."""
        return sum(1 for each, _, _ in self.requests if each == operation)

    # -- requests --------------------------------------------------------------------------------

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        operation, handler = self._route(request)
        self.requests.append((operation, request.path, dict(request.query)))
        if self.tokens is not None and request.headers.get("Authorization") not in self.tokens:
            return status(401, "Unauthorized", "Unauthorized")
        if self.faults.get(operation):
            return await self.faults[operation].popleft()(request, lambda: handler(request))
        return await handler(request)

    def _route(
        self, request: web.Request
    ) -> tuple[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]:
        if request.path in PATHS.values():
            return ("watch", self._watch) if request.query.get("watch") else ("list", self._list)
        if request.path == REVIEWS:
            return "review", self._review
        if request.method == "POST":
            return "bind", self._bind
        return ("patch", self._patch) if request.method == "PATCH" else ("get", self._get)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        if token := query.get("continue"):
            snapshot, _, offset = token.partition("/")
            if snapshot not in self._snapshots:
                return status(410, "Expired", "The provided continue parameter is too old")
            version, items = self._snapshots[snapshot]
            start = int(offset)
        else:
            kind = request.path.rsplit("/", 1)[1]
            version, items, start = self.version, list(self.objects[kind].values()), 0
            if selector := query.get("fieldSelector"):
                items = [each for each in items if _selected(each, selector)]
            snapshot = str(len(self._snapshots))
            self._snapshots[snapshot] = (version, items)
        limit = int(query.get("limit", 0)) or len(items)
        if self.cache_ignores_limit and query.get("resourceVersion") == "0":
            limit = len(items)
        page = items[start : start + limit]
        metadata: Object = {"resourceVersion": str(version)}
        if start + limit < len(items):
            metadata["continue"] = f"{snapshot}/{start + limit}"
        body = {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": page}
        return web.Response(
            body=json.dumps(body, separators=(",", ":")).encode(), content_type="application/json"
        )

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        kind, version = request.path.rsplit("/", 1)[1], int(request.query["resourceVersion"])
        stream = Stream(version, dict(request.query))
        if version < self.oldest:
            expired = {
                "kind": "Status",
                "code": 410,
                "reason": "Expired",
                "message": "too old resource version",
            }
            stream.event("ERROR", expired)
            stream.ask_to_end()
        for changed, change, obj in self.log[kind]:
            if changed > version:
                stream.event(change, obj)
        self.streams.append(stream)
        self.opened.put_nowait(stream)
        try:
            return await self._serve(request, stream)
        finally:
            self.streams.remove(stream)

    async def _serve(self, request: web.Request, stream: Stream) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        while (data := await stream.out.get()) is not None:
            if isinstance(data, str):
                cut(request)
                return response
            await response.write(data)
        await response.write_eof()
        return response

    async def _get(self, request: web.Request) -> web.StreamResponse:
        found = self._pod(request)
        return web.json_response(found) if found is not None else status(404, "NotFound", "pod not found")

    async def _review(self, request: web.Request) -> web.StreamResponse:
        wanted = (await request.json())["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (wanted["resource"], wanted.get("subresource"))))
        right = " ".join(filter(None, (wanted["verb"], resource, wanted.get("namespace"))))
        return web.json_response({"status": {"allowed": right not in self.forbidden}}, status=201)

    async def _bind(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wanted, target = body["metadata"], body["target"]
        found = self._pod(request)
        if found is None:
            return status(404, "NotFound", "pod not found")
        if wanted.get("uid") and wanted["uid"] != found["metadata"]["uid"]:
            return status(409, "Conflict", "Precondition failed: UID in precondition differs")
        if found["metadata"].get("deletionTimestamp"):
            return status(409, "Conflict", "pod is being deleted, cannot be assigned to a host")
        if found["spec"].get("nodeName"):
            return status(409, "Conflict", "pod is already assigned to node")
        if found["spec"].get("schedulingGates"):
            return status(409, "Conflict", "pod has non-empty .spec.schedulingGates")
        bound = copy.deepcopy(found)
        bound["spec"]["nodeName"] = target["name"]
        bound["metadata"].setdefault("annotations", {}).update(wanted.get("annotations") or {})
        self.put("pods", bound)
        return status(201, "", "", "Success")

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        strategic = request.content_type == "application/strategic-merge-patch+json"
        assert strategic or request.content_type == "application/merge-patch+json"
        found = self._pod(request)
        if found is None:
            return status(404, "NotFound", "pod not found")
        if body["metadata"]["uid"] != found["metadata"]["uid"]:
            return status(409, "Conflict", "Precondition failed: UID in precondition differs")
        patched = copy.deepcopy(found)
        annotations = body["metadata"].get("annotations", {})
        if annotations:
            patched["metadata"].setdefault("annotations", {}).update(annotations)
        for gate in body.get("spec", {}).get("schedulingGates", ()):
            assert strategic, "a merge patch would replace the whole list"
            assert gate["$patch"] == "delete"
            gates = patched["spec"].get("schedulingGates", [])
            patched["spec"]["schedulingGates"] = [each for each in gates if each["name"] != gate["name"]]
        return web.json_response(self.put("pods", patched))

    def _pod(self, request: web.Request) -> Object | None:
        parts = request.path.split("/")
        return self.objects["pods"].get((parts[4], parts[6]))

    def _tell(self, kind: str, change: str, obj: Object) -> None:
        self.log[kind].append((self.version, change, obj))
        for stream in self.streams:
            stream.event(change, obj)


def status(code: int, reason: str, message: str, outcome: str = "Failure") -> web.Response:
    """The API's `Status` object."""
    body = {"kind": "Status", "status": outcome, "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


def cut(request: web.Request) -> None:
    """Cut the connection without a word, unless the client already did."""
    if request.transport is not None:
        request.transport.abort()


# -- faults --------------------------------------------------------------------------------------


def answer(code: int, reason: str = "", *, after: bool = False) -> Fault:
    """Answer a status instead of, or with `after` behind the back of, what was asked."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        if after:
            await proceed()
        return status(code, reason, "injected")

    return fault


def lose(*, after: bool = False) -> Fault:
    """Cut the connection before, or with `after` once, the request took effect."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        if after:
            await proceed()
        cut(request)
        return web.Response()

    return fault


def text(body: bytes) -> Fault:
    """Answer 200 with these bytes."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        return web.Response(body=body)

    return fault


def first_do(action: Callable[[], object]) -> Fault:
    """Do something just before the request is served."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        action()
        return await proceed()

    return fault


def never() -> Fault:
    """Never answer."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    return fault


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _selected(obj: Object, selector: str) -> bool:
    name, _, value = selector.partition("=")
    assert name == "spec.nodeName", "the only field this server selects by"
    return obj["spec"].get("nodeName", "") == value
