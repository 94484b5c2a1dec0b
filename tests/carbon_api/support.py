"""Helpers of the carbon service's tests: a clock to turn, traces to replay, a provider to misbehave."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI

from carbon_api import times
from carbon_api.service import create_app
from carbon_api.settings import parse

START_S = times.parse("2026-03-02T00:00:00Z")
HOUR_S = 3600


@dataclass
class Hand:
    """A clock that stands where it was put."""

    at_s: float = 0.0

    def __call__(self) -> float:
        return self.at_s


def daily(hours: int) -> list[float]:
    """An invented grid: cleanest in the afternoon, dirtiest at night, 200..400 g/kWh, no two days alike."""
    return [
        round(300 + 90 * math.cos(2 * math.pi * (hour - 2) / 24) + 10 * math.sin(hour / 37), 2)
        for hour in range(hours)
    ]


def write_trace(
    path: Path, values: Iterable[object], zone: str = "XX", start_s: float = START_S, step_s: int = HOUR_S
) -> Path:
    """A CSV file in the current portal's layout. None leaves the row out."""
    header = (
        "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (direct),"
        "Carbon intensity gCO₂eq/kWh (Life cycle),Carbon-free energy percentage (CFE%),"
        "Renewable energy percentage (RE%),Data source,Data estimated,Data estimation method"
    )
    lines = [header]
    for row, value in enumerate(values):
        if value is not None:
            moment = times.iso(start_s + row * step_s).replace("T", " ").removesuffix("+00:00")
            lines.append(f"{moment},Nowhere,Nowhere,{zone},1,{value},50,40,invented,false,")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def published_trace(name: str) -> Path:
    """A published trace that lies beside the checkout; skips the calling test where it does not.

    A directory that was named on purpose must have it, else nobody would notice the skipping.
    """
    named = os.environ.get("CARBON_SCHEDULER_DATA")
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(named or default) / "carbon" / name
    if not path.exists():
        if named:
            raise pytest.UsageError(f"CARBON_SCHEDULER_DATA={named} has no carbon/{name}")
        pytest.skip(f"needs {name}: set CARBON_SCHEDULER_DATA to the directory that has carbon/{name}")
    return path


def replay_app(
    path: Path, hand: Hand, start: str, values: Sequence[object] | None = None, **sections: Any
) -> FastAPI:
    """A service that replays one trace of zone XX from `start`; an hour of it is an hour of `hand`."""
    write_trace(path / "trace.csv", daily(70 * 24) if values is None else values)
    document: dict[str, Any] = {
        "zones": {"XX": {"source": "replay", "files": ["trace.csv"]}},
        "replay": {"start": start, **sections.pop("replay", {})},
        **sections,
    }
    return create_app(parse(document, directory=path), wall=lambda: START_S, monotonic=hand)


async def ask(
    app: FastAPI, path: str, query: Any = (), body: Any = None, method: str = "", raw: bytes | None = None
) -> tuple[int, Any]:
    """Call an application in the process; gives the status and the decoded JSON, or the text, or None."""
    sent = b"" if body is None else json.dumps(body).encode()
    sent = sent if raw is None else raw
    verb = method or ("GET" if body is None and raw is None else "POST")
    got: dict[str, Any] = {"body": b""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent, "more_body": False}

    async def send(message: Any) -> None:
        got.update(status=message.get("status", got.get("status")))
        got["body"] += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": verb,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(query, doseq=True).encode(),
        "headers": [(b"host", b"test"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }
    await app(scope, receive, send)
    text = got["body"].decode()
    try:
        return got["status"], json.loads(text)
    except ValueError:
        return got["status"], text or None


@dataclass
class Provider:
    """A provider on this machine. `reply` makes its answers, `hold` keeps them back."""

    reply: Callable[[web.Request], web.Response] = field(default=lambda _: web.Response(status=404))
    asked: list[web.Request] = field(default_factory=list)
    hold: asyncio.Event | None = None

    async def __aenter__(self) -> Provider:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(application)
        await self._server.start_server(access_log=None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("")).rstrip("/")

    def answers(self, document: object, status: int = 200, **headers: str) -> None:
        """Answer everything with this: text or bytes as they are, anything else as JSON."""
        content = document if isinstance(document, str | bytes) else json.dumps(document)
        sent = content if isinstance(content, bytes) else content.encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.reply = lambda _: web.Response(body=sent, status=status, headers=names)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if self.hold is not None:
            await self.hold.wait()
        return self.reply(request)


def key_file(path: Path, name: str = "key", text: str = "s3cr3t-key-of-tests") -> Path:
    """A file with a key in it."""
    file = path / name
    file.write_text(text + "\n")
    return file
