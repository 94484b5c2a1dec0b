"""The service: zones, forecasts and interfaces in one FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from typing import Literal

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from carbon_api import forecasts, times
from carbon_api.api.carbonscaler import Subscribers, add_carbonscaler, push
from carbon_api.api.gsf import add_gsf
from carbon_api.api.pcaps import add_pcaps
from carbon_api.api.prometheus import add_prometheus
from carbon_api.api.shared import Parts, Problem
from carbon_api.api.v1 import add_v1
from carbon_api.prediction import ORACLE, Predictions
from carbon_api.readings import Missing, Reason
from carbon_api.settings import Settings
from carbon_api.sources.base import SourceError
from carbon_api.sources.http import Web
from carbon_api.store import Zone
from carbon_api.zones import wire

VERSION = "1"


class ZoneHealth(BaseModel):
    """How a zone is."""

    zone: str
    source: str
    up: bool = Field(description="Whether the last question to the source was answered.")
    age_s: float | None = Field(description="Age of the present value; null if there is none.")
    problem: str | None
    failures: int


class Health(BaseModel):
    """The service in detail."""

    status: Literal["ok", "degraded"]
    now: str
    zones: list[ZoneHealth]


def create_app(
    settings: Settings,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The application: reads traces at once, and polls live sources while it runs.

    Raises `SourceError` if a zone cannot be set up as configured.
    """
    method = settings.forecast_method or forecasts.DEFAULT
    if method not in forecasts.NAMES or method == ORACLE:
        usable = ", ".join(name for name in forecasts.NAMES if name != ORACLE)
        raise SourceError(f"forecast_method: {method!r} cannot be the default; use one of {usable}")
    web = Web(wall=wall)
    wiring = wire(settings, web, wall, monotonic)
    predictions = Predictions(method)
    recorded = any(zone.recorded for zone in wiring.store.zones())
    parts = Parts(settings, wiring.store, predictions, wiring.clock, recorded)
    scaler = settings.carbonscaler
    subscribers = Subscribers(scaler.clients, scaler.allowed_hosts)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        tasks = [asyncio.create_task(poller.run()) for poller in wiring.pollers]
        if scaler.enabled:
            tasks.append(asyncio.create_task(push(parts, subscribers)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await web.close()
            predictions.close()

    app = FastAPI(
        title="carbon-api",
        version=VERSION,
        summary="Carbon intensity of electricity grids: now, past and ahead",
        docs_url=None,  # the page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    add_v1(app, parts)
    add_gsf(app, parts)
    if settings.pcaps.enabled:
        add_pcaps(app, parts)
    if scaler.enabled:
        add_carbonscaler(app, parts, subscribers)
    add_prometheus(app, parts)
    _add_probes(app, parts)
    return app


def _add_probes(app: FastAPI, parts: Parts) -> None:
    @app.get("/livez", tags=["operation"])
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operation"], responses={503: {"model": Problem}})
    async def ready() -> dict[str, str]:
        """Every source was asked at least once, whatever it answered."""
        unasked = [zone.id for zone in parts.store.zones() if _unasked(zone)]
        if unasked:
            raise HTTPException(503, f"not asked yet: {', '.join(unasked)}")
        return {"status": "ok"}

    @app.get("/healthz", tags=["operation"])
    async def detail() -> Health:
        """The service in detail. Always 200; look at `status`."""
        zones = [_health(zone) for zone in parts.store.zones()]
        good = all(zone.up and zone.age_s is not None for zone in zones)
        return Health(status="ok" if good else "degraded", now=times.iso(parts.clock.now_s()), zones=zones)


def _unasked(zone: Zone) -> bool:
    return zone.problem is not None and zone.problem.reason is Reason.NOT_YET


def _health(zone: Zone) -> ZoneHealth:
    reading = zone.reading()
    missing = reading if isinstance(reading, Missing) else None
    problem = missing if zone.up else zone.problem or missing
    return ZoneHealth(
        zone=zone.id,
        source=zone.source,
        up=zone.up,
        age_s=None if isinstance(reading, Missing) else zone.age_s(reading),
        problem=None if problem is None else str(problem),
        failures=zone.failures,
    )
