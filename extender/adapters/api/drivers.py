"""The port for Spark drivers: the agents' reports and lookups, each driver at its own application only.

A driver shows the token of its pod. Whose pod that is says the API server, which application it leads says
the store. Nothing is read of a body before both are known.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

import extender
from extender.adapters.api import models
from extender.adapters.api.app import explained
from extender.adapters.api.pace import Pace
from extender.adapters.api.ports import BadReport, Caller, Identify, Reports
from extender.adapters.api.stages import StagePriorities
from extender.core import queries
from extender.core.facts import GangKey, Role
from extender.core.store import Store

_JSON: Final = "application/json"
_BODY_S: Final = 10.0
_LEAST_BURST_BYTES: Final = 1 << 20
_REFILL_S: Final = 20.0
_WASTE: Final = 4  # of a body that is too long this many times the limit is read before the line is cut
_PROBLEM: Final[dict[str, Any]] = {"model": models.Problem}
_DENIED: Final[dict[int | str, dict[str, Any]]] = dict.fromkeys((401, 403, 429, 503), _PROBLEM)


def create_driver_app(
    store: Store,
    identify: Identify,
    reports: Reports,
    clock: Callable[[], float],
    *,
    max_body_bytes: int,
) -> FastAPI:
    """The application behind `driver_port`. `clock` gives seconds since the epoch."""
    app = FastAPI(
        title="carbon-scheduler for drivers",
        version=extender.__version__,
        summary="What the agent in a Spark driver posts, and what a driver may look up",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would name the host that the client named
    )
    burst_bytes = 2 * max(max_body_bytes, _LEAST_BURST_BYTES)
    pace: Pace[GangKey] = Pace(time.monotonic, burst_bytes=burst_bytes, refill_s=_REFILL_S)
    door, priorities = _Door(store, identify, pace), StagePriorities(store)
    under_way: set[GangKey] = set()

    @app.post(
        "/v1/applications/{namespace}/{app_id}/events",
        responses={**_DENIED, **dict.fromkeys((400, 408, 413, 415), _PROBLEM)},
        openapi_extra={"requestBody": {"required": True, "content": {_JSON: {"schema": {"type": "object"}}}}},
    )
    async def report(namespace: str, app_id: str, request: Request) -> Response:
        """Take a batch of updates; the answer steers the agent (docs/agent.md)."""
        key, caller = await door.enter(request, namespace, app_id)
        _require_json(request)
        if key in under_way:
            raise _denied(429, "another report of this application is being read; send one at a time", 1.0)
        under_way.add(key)
        try:
            try:
                body = await _read(request, max_body_bytes)
            except HTTPException:
                pace.said(key, max_body_bytes)
                raise
            pace.said(key, len(body))
            door.check(key, caller)  # the pod may have ended while its report came in
            return Response(await reports.take(key, body), media_type=_JSON)
        except BadReport as problem:
            raise HTTPException(400, str(problem)) from None
        except ClientDisconnect:
            return Response(status_code=400)  # no client reads it
        finally:
            under_way.discard(key)

    @app.get(
        "/v1/applications/{namespace}/{app_id}",
        response_model=models.Application,
        responses={**_DENIED, 404: _PROBLEM},
    )
    async def application(namespace: str, app_id: str, request: Request) -> Response:
        """The driver's own application explained."""
        key, _ = await door.enter(request, namespace, app_id)
        body = explained(store, key, clock())
        pace.said(key, len(body))
        return Response(body, media_type=_JSON)

    @app.get("/v1/applications/{namespace}/{app_id}/stages/priority", responses={**_DENIED, 404: _PROBLEM})
    async def priority(namespace: str, app_id: str, request: Request) -> Response:
        """Importance of its stages."""
        key, _ = await door.enter(request, namespace, app_id)
        body = priorities.answer(key)
        assert body is not None  # `enter` found its gang
        pace.said(key, len(body))
        return Response(body, media_type=_JSON)

    return app


class _Door:
    """Lets a driver in to the application that its pod leads."""

    def __init__(self, store: Store, identify: Identify, pace: Pace[GangKey]) -> None:
        self._store = store
        self._identify = identify
        self._pace = pace

    async def enter(self, request: Request, namespace: str, app_id: str) -> tuple[GangKey, Caller]:
        """The application's key, and the pod that leads it. Raises `HTTPException`."""
        if not queries.synced(self._store):
            raise _denied(503, "not synced yet", 2.0)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise _denied(401, "send the token of your pod as `Authorization: Bearer ...`")
        source = "" if request.client is None else request.client.host
        caller = await self._identify(token.strip(), source)
        if not isinstance(caller, Caller):
            raise _denied(caller.status, caller.detail, caller.retry_after_s)
        key = GangKey(namespace, app_id)
        self.check(key, caller)  # after the await: the pod may have ended meanwhile
        if (wait_s := self._pace.wait_s(key)) > 0:
            raise _denied(429, f"{key} reports or asks too much; do it less often", wait_s)
        return key, caller

    def check(self, key: GangKey, caller: Caller) -> None:
        """Let pass who leads the application now.

        Labels are not enough, anybody who may create a pod can copy them: the application belongs to the one
        pod whose reservation it is. Raises `HTTPException`.
        """
        pod = queries.pod(self._store, caller.uid)
        who = f"pod {caller.namespace}/{caller.pod}"
        if caller.namespace != key.namespace or pod is None or pod.role is not Role.LEADER or pod.gang != key:
            raise _denied(
                403,
                f"{who} does not lead {key}, or has ended: a driver may see and report its own application "
                "only (label spark-app-selector), and only if it was submitted to this scheduler",
            )
        owner_uid = queries.owner_uid(self._store, key)
        if owner_uid == caller.uid:
            return
        if not owner_uid:
            raise _denied(
                403,
                f"{who} was not admitted as the driver of {key}, or is being deleted: let this scheduler "
                "place it, and look for its problem in /v1/applications",
            )
        raise _denied(
            403,
            f"{who} carries the labels of {key}, but another pod is its driver: give each driver an "
            "application id of its own (label spark-app-selector), and delete the pod that is too many",
        )


def _denied(status: int, detail: str, retry_after_s: float = 0.0) -> HTTPException:
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s > 0:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    return HTTPException(status, detail, headers=headers)


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _JSON:
        raise HTTPException(415, f"send {_JSON}, not {kind[:100] or 'a body without Content-Type'}")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise HTTPException(415, f"send the body as it is, not with Content-Encoding {coding[:100]}")


async def _read(request: Request, limit: int) -> bytes:
    """The body. One that is too long is read on for a while: who still sends does not read our answer."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                elif size > limit * _WASTE:
                    break
    except TimeoutError:
        raise HTTPException(408, f"the body did not arrive within {_BODY_S:.0f} s") from None
    if size > limit:
        raise HTTPException(
            413, f"the body is longer than drivers.max_report_bytes = {limit}; send less at once"
        )
    return b"".join(chunks)
