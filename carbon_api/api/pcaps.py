"""The PCAPS simulator's interface (`umass-solar/carbon-aware-dag`), same shapes, for clients that exist.

Each registration starts a replay of its own. Unlike the original: the clock is monotonic, offsets of time
zones count, nothing wraps unless asked, bounds come from a forecast unless the client names the oracle,
identities cannot be guessed, and their number is bounded. Errors read as in the original.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel

from carbon_api import times
from carbon_api.api.shared import Parts, body, json
from carbon_api.clock import ReplayClock
from carbon_api.prediction import ORACLE
from carbon_api.readings import Missing
from carbon_api.series import Series
from carbon_api.store import Zone

_AHEAD_HOURS: Final = 48
_BAD_TIME: Final = "Invalid timestamp format. Use ISO format."
_NOT_AVAILABLE: Final = "Requested time not available in local carbon intensity data."
_UNKNOWN_USER: Final = "User ID not found. Register first."
_NO_VALUE: Final = "Carbon intensity data not available for the requested time."


class Registered(BaseModel):
    """The identity for later requests."""

    user_id: str


class Intensity(BaseModel):
    """The intensity of the replayed hour, and its bounds over the next 48 hours; all in gCO2e/kWh."""

    timestamp: str
    carbon_intensity: float
    upper_bound: float
    lower_bound: float


class Error(BaseModel):
    """An error, in the original's shape."""

    error: str


class Clients:
    """Registered clients, each with a clock. When there are too many, the longest unused ones go."""

    def __init__(self, most: int, new_id: Callable[[], str] = lambda: secrets.token_hex(32)) -> None:
        self._most = most
        self._new_id = new_id
        self._clocks: OrderedDict[str, ReplayClock] = OrderedDict()

    def add(self, clock: ReplayClock) -> str:
        """Register a clock; gives its identity."""
        user_id = self._new_id()
        self._clocks[user_id] = clock
        while len(self._clocks) > self._most:
            self._clocks.popitem(last=False)
        return user_id

    def get(self, user_id: str) -> ReplayClock | None:
        """The clock of an identity."""
        clock = self._clocks.get(user_id)
        if clock is not None:
            self._clocks.move_to_end(user_id)
        return clock


def add_pcaps(app: FastAPI, parts: Parts) -> None:
    """Add `/register` and `/get_carbon_intensity`."""
    options = parts.settings.pcaps
    clients = Clients(options.clients)

    @app.post(
        "/register",
        tags=["pcaps"],
        status_code=201,
        response_model=Registered,
        responses={400: {"model": Error}},
        openapi_extra=_REGISTRATION,
    )
    async def register(request: Request) -> Response:
        """Start a replay at a moment of the trace; a minute of real time is then an hour of it."""
        try:
            document = await body(request)
            start_s = times.parse(document.get("timestamp") if isinstance(document, dict) else None)
        except ValueError:
            return json({"error": _BAD_TIME}, 400)
        zone = _zone(parts)
        if zone is None or not isinstance(parts.clock, ReplayClock) or not _covered(zone, start_s):
            return json({"error": _NOT_AVAILABLE}, 400)
        return json({"user_id": clients.add(parts.clock.another(start_s, options.speed))}, 201)

    @app.get(
        "/get_carbon_intensity",
        tags=["pcaps"],
        response_model=Intensity,
        responses={404: {"model": Error}, 503: {"model": Error}},
    )
    async def get_carbon_intensity(
        user_id: Annotated[str, Query(description="As answered by /register.")] = "",
    ) -> Response:
        """The intensity now, in the caller's replay, with bounds."""
        clock, zone = clients.get(user_id), _zone(parts)
        if clock is None or zone is None:
            return json({"error": _UNKNOWN_USER}, 404)
        seen = zone.at_clock(clock)
        reading = seen.reading()
        if isinstance(reading, Missing):
            return json({"error": _NO_VALUE}, 404)
        bounds = await _bounds(parts, seen, reading.at_s)
        if isinstance(bounds, Missing):
            return json({"error": f"No bounds are known: {bounds}."}, 503)
        now = reading.g_per_kwh
        answer: dict[str, Any] = {
            "timestamp": times.iso(reading.at_s),
            "carbon_intensity": now,
            "upper_bound": max(now, bounds[1]),
            "lower_bound": min(now, bounds[0]),
        }
        return json(answer)


def _zone(parts: Parts) -> Zone | None:
    """The zone that this interface replays."""
    wanted = parts.settings.pcaps.zone
    recorded = [zone for zone in parts.store.zones() if zone.recorded]
    return next((zone for zone in recorded if not wanted or zone.id == wanted), None)


def _covered(zone: Zone, start_s: float) -> bool:
    return isinstance(zone.series, Series) and zone.series.start_s <= start_s < zone.series.end_s


async def _bounds(parts: Parts, zone: Zone, hour_s: float) -> tuple[float, float] | Missing:
    """(L, U) of this hour and the 48 after it: the original's window is closed at both ends."""
    if parts.settings.pcaps.bounds == ORACLE:
        future = zone.actual(hour_s, hour_s + _AHEAD_HOURS * 3600 + 1)
        if isinstance(future, Missing):
            return future
        known = future.values[future.present]
        return float(known.min()), float(known.max())
    made = await parts.predictions.get(zone, _AHEAD_HOURS + 1, issued_s=hour_s)
    return made if isinstance(made, Missing) else made.bounds()


_REGISTRATION: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["timestamp"],
                    "properties": {"timestamp": {"type": "string", "format": "date-time"}},
                }
            }
        },
    }
}
