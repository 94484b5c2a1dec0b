"""Faults between an API server and its clients: answers that fail, get lost, come late, or never."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from extender.lab.registry import encode

Proceed = Callable[[], Awaitable[web.StreamResponse]]
Fault = Callable[[web.Request, Proceed], Awaitable[web.StreamResponse]]
"""Answers one request in its own way; `proceed` serves it as without the fault."""


def status(code: int, reason: str, message: str, outcome: str = "Failure") -> web.Response:
    """The API's `Status` object."""
    body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "code": code}
    text = encode({**body, "reason": reason, "message": message})
    return web.Response(body=text, status=code, content_type="application/json")


def cut(request: web.Request) -> None:
    """Cut the connection without a word, unless the client already did."""
    if request.transport is not None:
        request.transport.abort()


def answer(code: int, reason: str = "", *, after: bool = False) -> Fault:
    """Answer a status instead of, or with `after` behind the back of, what was requested."""

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
