"""CarbonScaler's registration and its pushes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from carbon_api.api.carbonscaler import Subscribers, describe, push_once
from carbon_api.api.shared import Parts
from carbon_api.clock import ReplayClock
from carbon_api.prediction import Predictions
from carbon_api.readings import Kind, Missing, Reason
from carbon_api.settings import parse
from carbon_api.sources.base import Answer
from carbon_api.sources.traces import read_trace
from carbon_api.store import Store, Zone
from tests.carbon_api.support import HOUR_S, START_S, Hand, Provider, ask, daily, replay_app, write_trace

LATE = "2026-05-01T10:30:00+00:00"
VALUES = daily(70 * 24)
ROW = 60 * 24 + 10


def subscribing(tmp_path: Path, **more: Any) -> Any:
    return replay_app(tmp_path, Hand(), LATE, carbonscaler={"enabled": True, "prediction": "oracle", **more})


async def test_who_registers_is_told_at_once(tmp_path: Path):
    body = {"app_name": "train", "address": "http://127.0.0.1:9/"}
    before = VALUES[ROW - 24 : ROW]
    expected = {
        "carbon_intensity": VALUES[ROW],
        "carbon_percentile": pytest.approx(sum(each <= VALUES[ROW] for each in before) / 24),
        "prediction": VALUES[ROW : ROW + 24],
    }
    assert await ask(subscribing(tmp_path), "/", body=body) == (200, expected)


async def test_predictions_are_forecasts_unless_the_oracle_is_named(tmp_path: Path):
    app = subscribing(tmp_path, prediction="forecast")
    _, found = await ask(app, "/", body={"app_name": "train", "address": "worker:80"})
    assert found["prediction"][0] == VALUES[ROW]
    assert len(found["prediction"]) >= 23
    assert found["prediction"][1:] != VALUES[ROW + 1 : ROW + len(found["prediction"])]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"app_name": "train"},
        {"address": "http://x"},
        {"app_name": 5, "address": "http://x"},
        {"app_name": "train", "address": ""},
        {"app_name": "train", "address": "ftp://x"},
        {"app_name": "train", "address": "http://"},
        {"app_name": "train", "address": "http://u:p@x"},
        {"app_name": "train", "address": "http://x:99999999"},
        {"app_name": "train", "address": "http://["},
    ],
)
async def test_registrations_that_cannot_be(tmp_path: Path, body: Any):
    code, found = await ask(subscribing(tmp_path), "/", body=body)
    assert code == 400
    assert found["error"]


async def test_it_is_off_unless_wanted(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    assert (await ask(app, "/", body={"app_name": "train", "address": "http://x"}))[0] == 404


def test_only_allowed_hosts_and_a_bounded_number():
    subscribers = Subscribers(2, ["*.svc", "127.0.0.1"])
    assert subscribers.add("job.spark.svc:80") == "http://job.spark.svc:80"
    subscribers.add("http://127.0.0.1:8080/x")
    subscribers.add("http://127.0.0.1:8080/x")
    with pytest.raises(ValueError, match="not allowed"):
        subscribers.add("http://example.org/")
    with pytest.raises(ValueError, match="too many"):
        subscribers.add("http://other.svc/")


def parts(tmp_path: Path, values: list[Any], at_s: float) -> tuple[Parts, Hand]:
    path = write_trace(tmp_path / "trace.csv", values)
    hand = Hand()
    zone = Zone("XX", "XX", Kind.AVERAGE, "replay", ReplayClock(at_s, 1.0, hand), recorded=True)
    zone.put(Answer(read_trace([path], "XX")[0]))
    document: dict[str, Any] = {
        "zones": {"XX": {"source": "replay", "files": [str(path)]}},
        "carbonscaler": {"enabled": True, "prediction": "oracle"},
    }
    return Parts(parse(document), Store([zone]), Predictions(), zone.clock, True), hand


async def test_everyone_is_told_and_the_silent_are_forgotten(tmp_path: Path):
    known, _ = parts(tmp_path, daily(96), START_S + 30 * HOUR_S)
    told: list[Any] = []
    subscribers = Subscribers(10, ["*"])
    async with Provider() as client, Provider() as gone, aiohttp.ClientSession() as session:
        subscribers.add(client.url + "/update")
        silent = subscribers.add(gone.url)
        await gone.__aexit__()
        for push in range(20):
            client.answers({}, status=200 if push % 3 else 404)
            assert (silent in subscribers.urls()) is True
            await push_once(known, subscribers, session)
        assert subscribers.urls() == [client.url + "/update"]
        told = [request.path for request in client.asked]
        await gone.__aenter__()
    assert told == ["/update"] * 20


async def test_a_push_carries_what_a_registration_is_answered(tmp_path: Path):
    known, _ = parts(tmp_path, daily(96), START_S + 30 * HOUR_S)
    bodies: list[Any] = []
    server = Provider()

    async def keep(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response()

    server._answer = keep  # type: ignore[method-assign]
    subscribers = Subscribers(10, ["*"])
    async with server, aiohttp.ClientSession() as session:
        subscribers.add(server.url)
        await push_once(known, subscribers, session)
    assert bodies == [await describe(known)]


async def test_nothing_known_is_nothing_pushed(tmp_path: Path):
    values: list[Any] = daily(96)
    values[30] = None
    known, _ = parts(tmp_path, values, START_S + 30 * HOUR_S)
    assert await describe(known) == Missing(Reason.GAP)
    subscribers = Subscribers(10, ["*"])
    async with Provider() as client, aiohttp.ClientSession() as session:
        subscribers.add(client.url)
        await push_once(known, subscribers, session)
        assert client.asked == []
