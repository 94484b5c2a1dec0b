"""Placeholder of the routes for people."""
from __future__ import annotations
from collections.abc import Callable
from fastapi import FastAPI, Response
from extender.api.metrics import Metrics
from extender.api.ports import ServiceHealth
from extender.core.store import Store

def create_app(store: Store, health: ServiceHealth, metrics: Metrics, clock: Callable[[], float]) -> FastAPI:
    app = FastAPI(title="carbon-scheduler")
    @app.get("/livez")
    async def livez() -> str:
        return "ok"
    @app.get("/readyz")
    async def readyz(response: Response) -> str:
        if not store.state.synced:
            response.status_code = 503
            return "caches are not synced yet"
        return "ok"
    return app
