"""The webhooks as an ASGI application in front of another one.

The four routes are answered before any framework sees the request: the raw body goes to the calls,
and the reply is one start and one body message with Content-Length, which uvicorn on uvloop writes in
one segment. (Two segments cost kube-scheduler a delayed acknowledgement, 40 ms a call.)
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from extender.adapters.webhooks import wire
from extender.adapters.webhooks.calls import Calls, Reply
from extender.adapters.webhooks.ports import Observe
from extender.core.outcomes import Outcome
from extender.support.crash_points import crash_point_after_answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_TOO_LARGE: Final = object()


class WebhookApplication:
    """POST /filter, /prioritize, /bind, /preempt; everything else goes to `inner`.

    Every answer to a POST is HTTP 200: kube-scheduler throws the body of any other status away.
    """

    def __init__(
        self,
        calls: Calls,
        inner: Application,
        observe: Observe,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._routes = {
            "/filter": calls.filter,
            "/prioritize": calls.prioritize,
            "/bind": calls.bind,
            "/preempt": calls.preempt,
        }
        self._inner = inner
        self._observe = observe
        self._bounds = calls.bounds
        self._timer = timer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "") if scope["type"] == "http" else ""
        route = self._routes.get(path)
        if route is None:
            await self._inner(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _send(send, 405, b'{"detail":"use POST"}', (b"allow", b"POST"))
            return
        limit = self._bounds().body_bytes
        body = await _read(receive, limit)
        if body is None:
            return
        verb = path[1:]
        started_s = self._timer()
        reply = _too_large(verb, limit) if body is _TOO_LARGE else await route(body)
        await _send(send, 200, reply.body)
        self._observe(verb, str(reply.outcome), self._timer() - started_s)
        await crash_point_after_answer(f"{verb}-answered")


async def _read(receive: Receive, limit: int) -> Any:
    """The whole body; None if the client went away, `_TOO_LARGE` if it is longer than allowed.

    A body that is too long is read to its end and thrown away: a client that still sends does not
    read our answer.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            chunks.clear()
        elif chunk:
            chunks.append(chunk)
        if not message.get("more_body", False):
            break
    if size > limit:
        return _TOO_LARGE
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(verb: str, limit: int) -> Reply:
    most = f"longer than {limit} bytes, more than a cluster of this size sends"
    text = wire.bad_request(f"the body is {most}; use nodeCacheCapable: true")
    empty = {
        "filter": wire.failed(text),
        "prioritize": wire.priorities((), ()),
        "bind": wire.bound(text),
        "preempt": wire.useful_victims({}),
    }
    return Reply(empty[verb], Outcome.BAD_REQUEST)


async def _send(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
