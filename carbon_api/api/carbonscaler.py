"""CarbonScaler's registration: clients post an address and get intensity, percentile and prediction.

Unlike the original, predictions are forecasts unless the oracle is named, a push has a timeout, addresses
that never answer are dropped, and without a known value nothing is pushed. There is no `/set_index`:
one client must not move the time of all.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import numpy as np
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from carbon_api.api.pcaps import Error
from carbon_api.api.shared import Parts, body, json
from carbon_api.prediction import ORACLE
from carbon_api.readings import Missing, Reason
from carbon_api.store import Zone

_TIMEOUT_S: Final = 5.0
_AT_ONCE: Final = 5
_PATIENCE: Final = 20
"""Pushes in a row that may fail before an address is forgotten."""

_log = logging.getLogger(__name__)


class Registration(BaseModel):
    """The answer to a client, at once and then on every update."""

    carbon_intensity: float
    carbon_percentile: float
    prediction: list[float]


class Subscribers:
    """Addresses, each with the number of pushes in a row that it did not answer."""

    def __init__(self, most: int, allowed_hosts: list[str]) -> None:
        self._most = most
        self._allowed = allowed_hosts
        self._failures: dict[str, int] = {}

    def add(self, address: str) -> str:
        """Register an address; gives the URL. Raises `ValueError` if it may not be."""
        url = address if "://" in address else f"http://{address}"
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise ValueError("address must be http://host:port/path")
        _ = parts.port  # raises for nonsense
        if not any(fnmatch.fnmatchcase(parts.hostname, pattern) for pattern in self._allowed):
            raise ValueError("the host of the address is not allowed here")
        if url not in self._failures and len(self._failures) >= self._most:
            raise ValueError("too many addresses are registered")
        self._failures[url] = 0
        return url

    def urls(self) -> list[str]:
        """Every address."""
        return list(self._failures)

    def told(self, url: str, answered: bool) -> None:
        """Note how a push went."""
        if url in self._failures:
            self._failures[url] = 0 if answered else self._failures[url] + 1
            if self._failures[url] >= _PATIENCE:
                del self._failures[url]
                _log.warning("forgot %s: %d pushes in a row failed", url, _PATIENCE)


def add_carbonscaler(app: FastAPI, parts: Parts, subscribers: Subscribers) -> None:
    """Add `POST /`."""

    @app.post(
        "/",
        tags=["carbonscaler"],
        response_model=Registration,
        responses={400: {"model": Error}, 503: {"model": Error}},
        openapi_extra=_REGISTRATION,
    )
    async def subscribe(request: Request) -> Response:
        """Register an address. 503 means: registered, but no value is known yet."""
        try:
            document = await body(request)
            if not isinstance(document, dict):
                raise ValueError("the body must be an object with app_name and address")
            name, address = document.get("app_name"), document.get("address")
            if not (isinstance(name, str) and name and isinstance(address, str) and address):
                raise ValueError("app_name and address are needed, both texts")
            url = subscribers.add(address)
        except ValueError as problem:
            return json({"error": str(problem)}, 400)
        _log.info("pushing to %s for %s", url, name[:100])
        update = await describe(parts)
        return json({"error": str(update)}, 503) if isinstance(update, Missing) else json(update)


async def describe(parts: Parts) -> dict[str, Any] | Missing:
    """The message to clients now."""
    options = parts.settings.carbonscaler
    zones = parts.store.zones()
    zone = next((each for each in zones if not options.zone or each.id == options.zone), None)
    if zone is None:
        return Missing(Reason.UNKNOWN_ZONE)
    reading = zone.reading()
    if isinstance(reading, Missing):
        return reading
    percentile = _percentile(zone, reading.g_per_kwh, reading.at_s, options.window)
    if isinstance(percentile, Missing):
        return percentile
    oracle = options.prediction == ORACLE
    made = await parts.predictions.get(zone, options.window, ORACLE if oracle else "")
    if isinstance(made, Missing):
        return made
    ahead = made.mean[made.times > reading.at_s].tolist()
    return {
        "carbon_intensity": reading.g_per_kwh,
        "carbon_percentile": percentile,
        "prediction": [reading.g_per_kwh, *ahead][: options.window],
    }


def _percentile(zone: Zone, now: float, at_s: float, window: int) -> float | Missing:
    """Share, 0..1, of the known values of the intervals before that are not above the present one."""
    if zone.series is None:
        return Missing(Reason.NOT_YET)
    before = zone.history(at_s - window * zone.series.step_s, at_s)
    if isinstance(before, Missing):
        return before
    known = before.values[before.present]
    if not len(known):
        return Missing(Reason.TOO_LITTLE_HISTORY)
    return float(np.mean(known <= now))


async def push(
    parts: Parts, subscribers: Subscribers, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Push to every address, every interval, until cancelled."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        while True:
            await push_once(parts, subscribers, session)
            await sleep(parts.settings.carbonscaler.interval_s)


async def push_once(parts: Parts, subscribers: Subscribers, session: aiohttp.ClientSession) -> None:
    """Push once to every address; do nothing while no value is known."""
    if not subscribers.urls():
        return
    update = await describe(parts)
    if isinstance(update, Missing):
        _log.info("nothing to push: %s", update)
        return
    gate = asyncio.Semaphore(_AT_ONCE)

    async def tell(url: str) -> None:
        async with gate:
            try:
                async with session.post(url, json=update, allow_redirects=False) as reply:
                    answered = reply.status < 500
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                answered = False
        subscribers.told(url, answered)

    await asyncio.gather(*(tell(url) for url in subscribers.urls()))


_REGISTRATION: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["app_name", "address"],
                    "properties": {
                        "app_name": {"type": "string", "minLength": 1},
                        "address": {"type": "string", "minLength": 1},
                    },
                }
            }
        },
    }
}
