"""The whole service with live sources: it starts, polls, survives its providers, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from fastapi import FastAPI

from carbon_api.service import create_app
from carbon_api.settings import parse
from tests.carbon_api.documents import electricity_maps, uk, watttime
from tests.carbon_api.support import HOUR_S, START_S, Hand, Provider, ask, key_file

SECRET = "s3cr3t-key-of-tests"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


def everyone(request: web.Request) -> web.Response:
    """All providers on one port."""
    if request.path == "/login":
        return web.json_response({"token": "t"})
    if request.path.startswith("/intensity"):
        return web.json_response(uk([143, 150]))
    if request.path.startswith("/v3/historical"):
        return web.json_response(watttime("CAISO_NORTH", [1000.0] * 12))
    return web.json_response(electricity_maps("FR", [50], isEstimated=True))


def live(provider: Provider, path: Path, hand: Hand, **sections: Any) -> FastAPI:
    key = str(key_file(path))
    common: dict[str, Any] = {"url": provider.url, "history_days": 0}
    zones = {
        "GB": {"source": "uk-carbon-intensity", **common},
        "FR": {"source": "electricity-maps", "key_file": key, **common},
        "CA": {
            "source": "watttime", "zone": "CAISO_NORTH", "username_file": key, "password_file": key, **common,
        },
    }  # fmt: skip
    return create_app(parse({"zones": zones, **sections}), hand, hand)


async def asked_everyone(app: FastAPI) -> None:
    """Wait until every source was asked."""
    while (await ask(app, "/readyz"))[0] != 200:  # noqa: ASYNC110 - as a probe does; there is no event
        await asyncio.sleep(0)


async def test_live_zones_are_polled(provider: Provider, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("DEBUG")
    hand = Hand(START_S + 0.9 * HOUR_S)
    provider.reply = everyone
    app = live(provider, tmp_path, hand, carbonscaler={"enabled": True})
    assert (await ask(app, "/readyz"))[0] == 503
    _, before = await ask(app, "/v1/now", {"zone": "GB"})
    assert (before["reading"]["status"], before["reading"]["reason"]) == ("missing", "not-yet")
    assert (await ask(app, "/v1/history", {"zone": "GB"}))[1]["missing"] == "not-yet"
    async with app.router.lifespan_context(app):
        await asked_everyone(app)
        found = {
            zone: (await ask(app, "/v1/now", {"zone": zone}))[1]["reading"] for zone in ("GB", "FR", "CA")
        }
        assert (found["GB"]["g_per_kwh"], found["GB"]["age_s"]) == (150, pytest.approx(0.4 * HOUR_S))
        assert (found["FR"]["g_per_kwh"], found["FR"]["estimated"]) == (50, True)
        limits = {zone: reading["stale_after_s"] for zone, reading in found.items()}
        assert limits == {"GB": 3 * HOUR_S, "FR": 3 * HOUR_S, "CA": HOUR_S / 2}
        assert (found["CA"]["g_per_kwh"], found["CA"]["kind"]) == (pytest.approx(453.59237), "marginal")
        assert (await ask(app, "/healthz"))[1]["status"] == "ok"
        code, refused = await ask(app, "/emissions/bylocations/best", {"location": ["FR", "CA"]})
        assert code == 400
        assert "cannot be compared" in refused["errors"]["location"][0]
        _, oracle = await ask(app, "/v1/forecast", {"zone": "GB", "method": "oracle"})
        assert (oracle["status"], oracle["reason"]) == ("missing", "no-forecast")
        assert (await ask(app, "/v1/clock"))[1]["replay"] is False
        shown = f"{await ask(app, '/healthz')} {await ask(app, '/metrics')} {caplog.text}"
        assert SECRET not in shown


async def test_providers_that_fail_leave_the_service_up(provider: Provider, tmp_path: Path):
    provider.answers("<html>down for maintenance</html>", status=503)
    app = live(provider, tmp_path, Hand(START_S + HOUR_S))
    async with app.router.lifespan_context(app):
        await asked_everyone(app)
        for zone in ("GB", "FR", "CA"):
            code, found = await ask(app, "/v1/now", {"zone": zone})
            assert (code, found["reading"]["status"]) == (200, "missing")
            assert found["reading"]["reason"] == "source-down"
            assert (await ask(app, "/v1/forecast", {"zone": zone}))[1]["status"] == "missing"
            assert await ask(app, "/emissions/bylocation", {"location": zone}) == (204, None)
            assert (await ask(app, "/emissions/forecasts/current", {"location": zone}))[0] == 501
        _, health = await ask(app, "/healthz")
        assert health["status"] == "degraded"
        assert not any(zone["up"] for zone in health["zones"])
        assert "grid_intensity_carbon_average{" not in (await ask(app, "/metrics"))[1]


async def test_pcaps_needs_a_zone_that_is_replayed(provider: Provider, tmp_path: Path):
    app = live(provider, tmp_path, Hand(START_S))
    code, found = await ask(app, "/register", body={"timestamp": "2026-03-02T00:00:00Z"})
    assert (code, found["error"]) == (
        400, "Requested time not available in local carbon intensity data.",
    )  # fmt: skip
