"""Our own interface, version 1: what the extender's client speaks."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, HTTPException, Query, Response
from pydantic import BaseModel, Field

from carbon_api import times
from carbon_api.api.shared import MOST_POINTS, Parts, Problem, TimeText, found, json, moment
from carbon_api.forecasts.base import Forecast
from carbon_api.prediction import LONGEST_HOURS
from carbon_api.readings import HIGHEST_G_PER_KWH, Kind, Missing, Reading, Reason
from carbon_api.store import JUST_AFTER_S, Zone

Intensity = Annotated[float, Field(ge=0, le=HIGHEST_G_PER_KWH, description="gCO2e/kWh")]
ZoneId = Annotated[str, Query(min_length=1, max_length=100, description="Id of a zone; see /v1/zones.")]

_DAY_S: Final = 86_400.0


class ZoneInfo(BaseModel):
    """A zone, and from when to when values of it are known by now."""

    zone: str
    name: str
    kind: Kind
    source: str
    first: str | None = Field(description="Start of the first known interval; null if there is none.")
    last: str | None = Field(description="Start of the last known interval; null if there is none.")
    refused: int = Field(ge=0, description="Entries of the newest answer, or rows of the trace, left out.")
    problem: str | None = Field(description="Why something was left out or is missing; null if nothing is.")


class Known(BaseModel):
    """A value."""

    status: Literal["ok"]
    g_per_kwh: Intensity
    kind: Kind
    estimated: bool
    age_s: float = Field(ge=0, description="Seconds since the start of the value's interval.")
    stale_after_s: float | None = Field(
        description="Age from which the value no longer counts; null for replayed zones."
    )
    source: str


class Unknown(BaseModel):
    """No value, and why."""

    status: Literal["missing"]
    reason: Reason
    detail: str


class Now(BaseModel):
    """The present reading of a zone. `at` is the present moment there: a replay has its own."""

    zone: str
    at: str
    reading: Annotated[Known | Unknown, Field(discriminator="status")]


class KnownPoint(BaseModel):
    """An interval with a value."""

    at: str
    g_per_kwh: Intensity


class UnknownPoint(BaseModel):
    """An interval without one."""

    at: str
    missing: Reason


class History(BaseModel):
    """Past intervals of a zone, oldest first; those without a value say why."""

    zone: str
    step_s: int
    points: list[KnownPoint | UnknownPoint]
    missing: Reason | None = Field(None, description="Why nothing at all is known, if so; `step_s` is 0.")


class ForecastPoint(BaseModel):
    """One interval ahead. The true value lies within low..high nine times in ten."""

    at: str
    g_per_kwh: Intensity
    low: Intensity
    high: Intensity


class ForecastMade(BaseModel):
    """A forecast; `lower` and `upper` are the least and greatest of its values."""

    status: Literal["ok"]
    zone: str
    issued_at: str
    step_s: int
    method: str
    points: list[ForecastPoint]
    lower: Intensity
    upper: Intensity


class ClockInfo(BaseModel):
    """The time of replayed zones; real time if there are none."""

    now: str
    speed: float
    replay: bool


def add_v1(app: FastAPI, parts: Parts) -> None:
    """Add `/v1`."""
    _add_present(app, parts)
    _add_series(app, parts)


def _add_present(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/zones", tags=["v1"], response_model=list[ZoneInfo])
    async def zones() -> Any:
        """Every zone."""
        return [_zone(zone) for zone in parts.store.zones()]

    @app.get("/v1/clock", tags=["v1"])
    async def clock() -> ClockInfo:
        """The time, and how fast it runs: for clients that must wait until a replayed moment."""
        return ClockInfo(now=times.iso(parts.clock.now_s()), speed=parts.clock.speed, replay=parts.replays)

    @app.get("/v1/now", tags=["v1"], response_model=Now)
    async def now(zone: ZoneId) -> Any:
        """The present reading of a zone: a value with its age, or the reason why there is none."""
        known = parts.store.get(zone)
        if isinstance(known, Missing):
            return {"zone": zone, "at": times.iso(parts.clock.now_s()), "reading": _missing(known)}
        reading = known.reading()
        return {"zone": zone, "at": times.iso(known.now_s()), "reading": _reading(known, reading)}


def _add_series(app: FastAPI, parts: Parts) -> None:
    @app.get(
        "/v1/history",
        tags=["v1"],
        response_model=History,
        responses={400: {"model": Problem}, 404: {"model": Problem}},
    )
    async def history(zone: ZoneId, start: TimeText = None, end: TimeText = None) -> Response:
        """Intervals that start within start <= t < end, never later than now; the last day by default."""
        known = found(parts.store, zone)
        now_s = known.now_s()
        end_s = min(moment(end, now_s + JUST_AFTER_S), now_s + JUST_AFTER_S)
        window = (moment(start, end_s - _DAY_S), end_s)
        if known.series is not None and (window[1] - window[0]) / known.series.step_s > MOST_POINTS:
            window = (max(window[0], float(known.series.start_s)), window[1])
            if (window[1] - window[0]) / known.series.step_s > MOST_POINTS:
                raise HTTPException(400, f"more than {MOST_POINTS} intervals; ask for a shorter time")
        series = known.history(*window)
        if isinstance(series, Missing):
            return json({"zone": zone, "step_s": 0, "points": [], "missing": series.reason})
        points = [_point(at_s, reading) for at_s, reading in series.readings()]
        return json({"zone": zone, "step_s": series.step_s, "points": points})

    @app.get("/v1/forecast", tags=["v1"], response_model=ForecastMade | Unknown)
    async def forecast(
        zone: ZoneId,
        hours: Annotated[int, Query(ge=1, le=LONGEST_HOURS)] = 48,
        method: Annotated[
            str, Query(max_length=40, description="Name of a forecaster; `oracle` only on replays.")
        ] = "",
    ) -> Response:
        """The hours ahead, seen from now, with 90 % intervals and bounds. It contains no actual value."""
        known = parts.store.get(zone)
        if isinstance(known, Missing):
            return json(_missing(known))
        made = await parts.predictions.get(known, hours, method)
        return json(_missing(made) if isinstance(made, Missing) else _forecast(made))


def _zone(zone: Zone) -> dict[str, Any]:
    first, last = zone.extent()
    return {
        "zone": zone.id,
        "name": zone.name,
        "kind": zone.kind,
        "source": zone.source,
        "first": None if first is None else times.iso(first),
        "last": None if last is None else times.iso(last),
        "refused": zone.refused,
        "problem": None if zone.problem is None else str(zone.problem),
    }


def _reading(zone: Zone, reading: Reading) -> dict[str, Any]:
    if isinstance(reading, Missing):
        return _missing(reading)
    return {
        "status": "ok",
        "g_per_kwh": reading.g_per_kwh,
        "kind": reading.kind,
        "estimated": reading.estimated,
        "age_s": round(zone.age_s(reading), 3),
        "stale_after_s": None if zone.recorded else zone.stale_after_s,
        "source": reading.source,
    }


def _missing(missing: Missing) -> dict[str, Any]:
    return {"status": "missing", "reason": missing.reason, "detail": str(missing)}


def _point(at_s: int, reading: Reading) -> dict[str, Any]:
    if isinstance(reading, Missing):
        return {"at": times.iso(at_s), "missing": reading.reason}
    return {"at": times.iso(at_s), "g_per_kwh": reading.g_per_kwh}


def _forecast(made: Forecast) -> dict[str, Any]:
    lower, upper = made.bounds()
    rows = zip(made.times.tolist(), made.mean.tolist(), made.low.tolist(), made.high.tolist(), strict=True)
    return {
        "status": "ok",
        "zone": made.zone,
        "issued_at": times.iso(made.issued_s),
        "step_s": made.step_s,
        "method": made.method,
        "points": [
            {"at": times.iso(at_s), "g_per_kwh": mean, "low": low, "high": high}
            for at_s, mean, low, high in rows
        ],
        "lower": lower,
        "upper": upper,
    }
