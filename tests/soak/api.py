"""The lab's API server behind the product's own client, without sockets, with faults on every way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

from aiohttp import ClientConnectionError

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.credentials import Credentials
from extender.lab.apiserver import ApiServer, WatchView
from extender.lab.registry import NODE, Change, Object, Refusal, Registry, encode, event_line

NO_FAULT = ""


def status_body(code: int, reason: str, message: str) -> Object:
    """The API's `Status` object."""
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


class Server(ApiServer):
    """Requests become effects on a registry. `befall` are the faults (`plan.REQUEST_FAULTS`) of a `share`."""

    def __init__(self, registry: Registry, seed: int) -> None:
        super().__init__(registry)
        self.befall: tuple[str, ...] = ()
        self.share = 0.0
        self.answers_s = 0.0
        self.late_s = (2.0, 20.0)
        self.on_effect: Callable[[str, str], object] = lambda _who, _moment: None
        self.writer = ""
        self.late: set[asyncio.Task[None]] = set()
        self._seed = seed
        self._numbers: Counter[str] = Counter()
        self._old_nodes: deque[tuple[int, list[Object]]] = deque([(registry.version, [])], maxlen=5)
        registry.subscribe(self._keep)

    def _keep(self, change: Change) -> None:
        if change.kind == NODE:
            self._old_nodes.append((change.version, self.registry.all(NODE)))

    def draw(self, what: str) -> random.Random:
        """A source of chance of its own for each request, so that a step left out changes few others."""
        self._numbers[what] += 1
        return random.Random(f"{self._seed}/{what}/{self._numbers[what]}")

    async def answer(self, who: str, request: Any) -> tuple[int, dict[str, str], bytes]:
        """Carry a request out, or fail in one of the ways in which requests fail."""
        operation, _ = self._route(request)
        draw = self.draw(f"{who}/{operation}")
        fault = draw.choice(self.befall) if self.befall and draw.random() < self.share else NO_FAULT
        took_s = draw.uniform(0.5, 4.0) if fault == "slow" else draw.uniform(0.001, 0.02)
        await asyncio.sleep(self.answers_s + took_s)
        match fault:
            case "500":
                return 500, {}, encode(status_body(500, "InternalError", "a fault"))
            case "429":
                return 429, {"Retry-After": "1"}, encode(status_body(429, "TooManyRequests", "a fault"))
            case "conflict" if operation in ("bind", "patch"):
                return 409, {}, encode(status_body(409, "Conflict", "the object has been modified"))
            case "lost before":
                raise ClientConnectionError("lost before its effect")
            case "hang before":
                await asyncio.sleep(3600)
            case "late" if operation in ("bind", "patch"):
                task = asyncio.ensure_future(self._later(who, operation, request, draw.uniform(*self.late_s)))
                self.late.add(task)
                task.add_done_callback(self.late.discard)
                await asyncio.sleep(3600)
            case _:
                pass
        done = await self._carry_out(who, operation, request)
        if fault == "lost after":
            raise ClientConnectionError("lost after its effect")
        if fault == "hang after":
            await asyncio.sleep(3600)
        await asyncio.sleep(draw.uniform(0.0, 0.01))
        return done

    async def _later(self, who: str, operation: str, request: Any, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._carry_out(who, operation, request)

    async def _carry_out(self, who: str, operation: str, request: Any) -> tuple[int, dict[str, str], bytes]:
        self.on_effect(who, f"before {operation}")
        self.writer = who
        try:
            if operation == "list" and request.query.get("resourceVersion") == "0":
                version, nodes = self.draw("stale list").choice(self._old_nodes)
                if request.path.endswith("/nodes"):
                    listed = {"metadata": {"resourceVersion": str(version)}, "items": nodes}
                    return 200, {}, encode({"kind": "NodeList", "apiVersion": "v1", **listed})
            _, handler = self._route(request)
            response: Any = await handler(request)
            result = response.status, {}, bytes(response.body)
        except Refusal as refusal:
            result = (
                refusal.status,
                {},
                encode(status_body(refusal.status, refusal.reason, refusal.message)),
            )
        finally:
            self.writer = ""
        self.on_effect(who, f"after {operation}")
        return result


class Watch:
    """One open watch: what happened since its version, and what happens. `how` makes it misbehave."""

    def __init__(self, server: Server, kind: str, version: int, ends_s: float) -> None:
        self.how = NO_FAULT
        self._server = server
        self._kind = kind
        self._ends_s = ends_s
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._view = WatchView(kind, "", lambda _: True)
        try:
            for change in server.registry.since(kind, version):
                self._hear(change)
        except Refusal as refusal:
            gone = {"kind": "Status", "code": refusal.status, "reason": refusal.reason, "message": ""}
            self._lines.put_nowait(encode({"type": "ERROR", "object": gone}) + b"\n")
            self._lines.put_nowait(None)
        self.close = server.registry.subscribe(self._hear)

    def _hear(self, change: Change) -> None:
        if (line := self._view.line(change)) is not None:
            self._lines.put_nowait(line)

    def drop(self) -> None:
        """Cut the connection; what was not delivered yet is lost with it."""
        self.how = "drop"
        self._lines.put_nowait(b"")

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the server sends."""
        loop = asyncio.get_running_loop()
        try:
            while (left_s := self._ends_s - loop.time()) > 0 or self.how == "silent":
                try:
                    async with asyncio.timeout(min(60.0, max(left_s, 0.001))):
                        line = await self._lines.get()
                except TimeoutError:
                    mark = {"metadata": {"resourceVersion": str(self._server.registry.version)}}
                    line = event_line("BOOKMARK", self._kind, mark)
                if self.how == "silent":
                    await asyncio.sleep(3600)
                if self.how == "drop":
                    raise ClientConnectionError("cut")
                if line is None:
                    return
                await asyncio.sleep(5.0 if self.how == "delay" else 0.002)
                yield line
                if self.how == "twice":
                    yield line
        finally:
            self.close()


class Response:
    """The part of aiohttp's response that the client uses."""

    def __init__(
        self, status: int, headers: Mapping[str, str], body: bytes, chunks: AsyncIterator[bytes] | None = None
    ) -> None:
        self.status = status
        self.reason = str(status)
        self.headers = headers
        self._body = body
        self._chunks = chunks
        self.content = SimpleNamespace(iter_any=self._iterate)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()  # type: ignore[attr-defined]

    async def read(self) -> bytes:
        return self._body

    def release(self) -> None:
        """Nothing is kept."""

    async def _iterate(self) -> AsyncIterator[bytes]:
        if self._chunks is None:
            yield self._body
            return
        async for chunk in self._chunks:
            yield chunk


class Client(ApiClient):
    """The product's client over the model: time-outs, errors and lines are its own."""

    def __init__(self, server: Server, who: str, credentials: Credentials) -> None:
        super().__init__(credentials)
        self.who = who
        self.cut_off = False
        self.watches: list[Watch] = []
        self._server = server

    async def _send_once(
        self,
        method: str,
        path: str,
        params: Any,
        body: bytes | None,
        content_type: str | None,
        timeout: Any,  # noqa: ASYNC109
        authorization: str | None,
    ) -> Any:
        if self.cut_off:
            await asyncio.sleep(3600)
        query = {key: str(value) for key, value in (params or {}).items()}

        async def read() -> bytes:
            return body or b""

        request = SimpleNamespace(
            method=method,
            path=path,
            query=query,
            content_type=content_type,
            read=read,
            can_read_body=body is not None,
        )
        if query.get("watch"):
            return self._watch(path.rsplit("/", 1)[1], query)
        async with asyncio.timeout(timeout.total or timeout.sock_read):
            status, headers, answer = await self._server.answer(self.who, request)
        return Response(status, headers, answer)

    def _watch(self, kind: str, query: Mapping[str, str]) -> Response:
        ends_s = asyncio.get_running_loop().time() + float(query["timeoutSeconds"])
        watch = Watch(self._server, kind, int(query["resourceVersion"]), ends_s)
        self.watches = [*[each for each in self.watches if each.how != "drop"][-8:], watch]
        return Response(200, {}, b"", watch.chunks())
