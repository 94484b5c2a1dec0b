"""The routes of the dashboard: its files, its live stream, the names of nodes, and `/docs`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from extender.adapters.api.dashboard.snapshot import Snapshots
from extender.adapters.api.dashboard.stream import MOST_PAGES, LiveSnapshots

_STATIC: Final = Path(__file__).with_name("static")
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/docs": ("docs.html", "text/html"),
    "/dashboard/dashboard.css": ("dashboard.css", "text/css"),
    "/dashboard/dashboard.js": ("dashboard.js", "text/javascript"),
    "/dashboard/charts.js": ("charts.js", "text/javascript"),
    "/dashboard/docs.js": ("docs.js", "text/javascript"),
    "/favicon.ico": ("icon.svg", "image/svg+xml"),
}
_SAFE: Final = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""Nothing of another origin is loaded, so the page works offline, and no text of a pod becomes a script."""


def add_dashboard(app: FastAPI, live: LiveSnapshots, snapshots: Snapshots) -> None:
    """Add the routes. They are plain ones: what they answer is written already."""

    async def events(request: Request) -> Response:
        if live.pages >= MOST_PAGES:
            return JSONResponse(
                {"detail": f"{MOST_PAGES} pages are open; close some"}, 503, {"retry-after": "30"}
            )
        since = request.headers.get("last-event-id", "0")
        stream = live.stream(int(since) if since.isascii() and since.isdigit() and len(since) < 16 else 0)
        return StreamingResponse(
            stream, media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def names(_: Request) -> Response:
        return Response(msgspec.json.encode(snapshots.names()), media_type="application/json")

    routes = [Route(path, _file(*each)) for path, each in _FILES.items()]
    routes += [Route("/dashboard/events", events), Route("/dashboard/nodes", names)]
    app.router.routes.extend(routes)


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    body = (_STATIC / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(body, media_type=media_type, headers=_SAFE)

    return answer
