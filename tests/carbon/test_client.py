"""The client of the carbon service, against the real one and against faults of every kind."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from carbon_api import times
from extender.adapters.carbon.answers import Ahead, Present, ahead, present
from extender.adapters.carbon.client import CarbonClient
from extender.core.carbon.signal import CarbonBook, Kind, Signal, believed
from extender.core.policy import CarbonPolicy
from extender.settings.cloud_regions import _REGIONS_BY_ZONE, ZONE_BY_REGION  # pyright: ignore[reportPrivateUsage]
from tests.carbon.serving import serving
from tests.carbon_api.support import HOUR_S, START_S, Hand, Provider, daily, replay_app

NOW_S = START_S + 40 * 24 * HOUR_S


def now_answer(**reading: Any) -> dict[str, Any]:
    good = {
        "status": "ok",
        "g_per_kwh": 210.5,
        "kind": "average",
        "estimated": False,
        "age_s": 60,
        "source": "t",
    }
    return {"zone": "XX", "at": times.iso(NOW_S), "reading": {**good, **reading}}


def forecast_answer(hours: int = 48, **changed: Any) -> dict[str, Any]:
    points = [
        {"at": times.iso(NOW_S + n * HOUR_S), "g_per_kwh": 200.0 + n, "low": 150.0, "high": 300.0}
        for n in range(hours)
    ]
    good = {"status": "ok", "zone": "XX", "issued_at": times.iso(NOW_S), "step_s": HOUR_S, "method": "m"}
    return {**good, "points": points, "lower": 180.0, "upper": 260.0, **changed}


REAL_TIME = {"now": times.iso(NOW_S), "speed": 1.0, "replay": False}


def service(request: web.Request) -> web.Response:
    """A service of the zone XX that has no faults."""
    answers = {"/v1/now": now_answer(), "/v1/forecast": forecast_answer(), "/v1/clock": REAL_TIME}
    return web.json_response(answers[request.path])


def except_of(path: str, reply: Callable[[], web.Response]) -> Callable[[web.Request], web.Response]:
    """The same, but for one path."""
    return lambda request: reply() if request.path == path else service(request)


def client(url: str, sink: Callable[[Signal], None], now_s: float = NOW_S, **options: Any) -> CarbonClient:
    return CarbonClient(url, lambda: ["", "XX"], sink, lambda: now_s, draw=lambda: 0.5, **options)


async def polled(made: CarbonClient) -> int:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        return await made.poll(session, ["XX"])


async def test_the_real_service_is_understood_and_replayed_time_is_ours(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), times.iso(NOW_S), replay={"speed": 3600.0})
    seen: list[Signal] = []
    async with serving(app) as url:
        assert await polled(client(url, seen.append, now_s=1e9)) == 1
    (signal,) = seen
    expected = daily(70 * 24)
    assert signal.g_per_kwh == expected[40 * 24]
    assert signal.kind == "average"
    assert signal.at_s == pytest.approx(1e9, abs=1.0)
    assert signal.step_s == pytest.approx(1.0)
    assert signal.forecast_start_s == pytest.approx(1e9, abs=1.0)
    assert len(signal.forecast) == 48
    assert all(believed(each) for each in signal.forecast)
    assert signal.lower is not None
    assert signal.upper is not None
    book = CarbonBook(stale_after_s=10.0)
    book.see(signal)
    assert book.outlook("XX", 1e9 + 0.5) is not None


async def test_a_zone_the_service_does_not_know_is_missing_with_its_reason(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), times.iso(NOW_S))
    seen: list[Signal] = []
    async with serving(app) as url, aiohttp.ClientSession() as session:
        made = client(url, seen.append)
        assert await made.poll(session, ["YY"]) == 0
    assert seen[0].g_per_kwh is None
    assert seen[0].reason
    assert made.health.problems == {"YY": seen[0].reason}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"NaN",
        b"[" * 5000,
        b'{"zone":"XX"}',
        b"\xff\xfe",
        json.dumps(now_answer(status="missing", reason="gap")).encode(),
        json.dumps(now_answer(g_per_kwh=None)).encode(),
        json.dumps(now_answer(g_per_kwh="210")).encode(),
        json.dumps(now_answer(g_per_kwh=-1)).encode(),
        json.dumps(now_answer(g_per_kwh=1e9)).encode(),
        json.dumps(now_answer(g_per_kwh=math.nan)).encode(),
        json.dumps(now_answer(kind="lbs/MWh")).encode(),
        json.dumps(now_answer(age_s=None)).encode(),
        json.dumps(now_answer(age_s=-5)).encode(),
        json.dumps(now_answer(stale_after_s=0)).encode(),
        json.dumps(now_answer(stale_after_s="late")).encode(),
        json.dumps({**now_answer(), "zone": "YY"}).encode(),
        json.dumps({**now_answer(), "at": "yesterday"}).encode(),
        json.dumps({**now_answer(), "at": "2026-03-01T00:00:00"}).encode(),
    ],
)
async def test_no_fault_becomes_a_number(body: bytes):
    seen: list[Signal] = []
    async with Provider(except_of("/v1/now", lambda: web.Response(body=body))) as faulty:
        made = client(faulty.url, seen.append)
        assert await polled(made) == 0
    assert [each.g_per_kwh for each in seen] == [None]
    assert seen[0].reason
    assert made.health.failures == 1


@pytest.mark.parametrize("status", [204, 301, 400, 401, 404, 429, 500, 503])
async def test_no_other_status_is_believed(status: int):
    body = json.dumps(now_answer()).encode() if status != 204 else b""
    seen: list[Signal] = []
    async with Provider(except_of("/v1/now", lambda: web.Response(status=status, body=body))) as faulty:
        assert await polled(client(faulty.url, seen.append)) == 0
    assert str(status) in seen[0].reason


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(now_answer()["reading"])), json_values)
def test_a_reading_with_any_field_replaced_is_plausible_or_unknown(key: str, value: Any):
    read = present(json.dumps(now_answer(**{key: value})).encode(), "XX")
    if isinstance(read, Present):
        assert believed(read.g_per_kwh)
        assert read.kind in ("average", "marginal")
        assert math.isfinite(read.at_s)


@given(st.sampled_from(sorted(forecast_answer())), json_values)
def test_a_forecast_with_any_field_replaced_is_plausible_or_unknown(key: str, value: Any):
    read = ahead(json.dumps(forecast_answer(**{key: value})).encode(), "XX")
    if isinstance(read, Ahead):
        assert read.values
        assert all(believed(each) for each in read.values)
        assert read.step_s > 0


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_unknown(body: bytes):
    assert not isinstance(present(body, "XX"), Present)
    assert not isinstance(ahead(body, "XX"), Ahead)


async def test_a_forecast_that_fails_once_ends_no_hold_and_is_not_kept_for_ever():
    broken = False
    hand = Hand(NOW_S)
    seen: list[Signal] = []

    def forecast() -> web.Response:
        return web.Response(status=500) if broken else web.json_response(forecast_answer())

    async with Provider(except_of("/v1/forecast", forecast)) as faulty:
        made = CarbonClient(faulty.url, lambda: ["XX"], seen.append, hand, stale_after_s=100)
        await polled(made)
        broken = True
        await polled(made)
        hand.at_s += 101
        await polled(made)
    assert [len(each.forecast) for each in seen] == [48, 48, 0]
    assert seen[0] == seen[1], "an answer that says the same is no news"
    assert seen[2].g_per_kwh == 210.5


async def test_a_killed_source_gets_stale_and_then_neutral():
    book = CarbonBook(stale_after_s=600)
    async with Provider(service) as source:
        made = client(source.url, book.see)  # type: ignore[arg-type]
        assert await polled(made) == 1
        url = source.url
    assert book.outlook("XX", NOW_S) is not None
    dead = client(url, book.see)  # type: ignore[arg-type]
    assert await polled(dead) == 0
    assert book.value("XX", NOW_S) == 210.5, "the last good value stays for a while"
    assert book.value("XX", NOW_S + 600) is None
    assert book.outlook("XX", NOW_S + 600) is None


async def test_a_value_counts_as_long_as_its_source_vouches_for_it():
    aging = except_of("/v1/now", lambda: web.json_response(now_answer(age_s=3600, stale_after_s=10_800)))
    book = CarbonBook(stale_after_s=CarbonPolicy().stale_after_s)
    async with Provider(aging) as source:
        assert await polled(client(source.url, book.see)) == 1  # type: ignore[arg-type]
    assert book.value("XX", NOW_S + 7200) == 210.5
    assert book.value("XX", NOW_S + 7201) is None
    assert book.stale_at("XX") == NOW_S + 7200


@pytest.mark.parametrize("late_s", [3 * HOUR_S, 6 * HOUR_S])
async def test_sources_that_publish_late_are_used_by_default(late_s: float):
    late = except_of("/v1/now", lambda: web.json_response(now_answer(age_s=late_s, stale_after_s=late_s)))
    book = CarbonBook(stale_after_s=CarbonPolicy().stale_after_s)
    async with Provider(late) as source:
        assert await polled(client(source.url, book.see)) == 1  # type: ignore[arg-type]
    assert book.value("XX", NOW_S) == 210.5


async def test_a_live_zone_beside_a_replay_stays_in_real_time():
    answers = {
        "/v1/now": now_answer(age_s=3600, stale_after_s=10_800),
        "/v1/forecast": forecast_answer(),
        "/v1/clock": {"now": times.iso(NOW_S), "speed": 3600.0, "replay": True},
    }
    seen: list[Signal] = []
    async with Provider(lambda request: web.json_response(answers[request.path])) as source:
        assert await polled(client(source.url, seen.append)) == 1
    assert seen[0].at_s == NOW_S - 3600
    assert seen[0].step_s == HOUR_S


async def test_a_replay_stays_one_while_its_clock_cannot_be_read():
    broken = False
    seen: list[Signal] = []
    replayed = {"now": times.iso(NOW_S), "speed": 3600.0, "replay": True}

    def clock() -> web.Response:
        return web.Response(status=503) if broken else web.json_response(replayed)

    async with Provider(except_of("/v1/clock", clock)) as faulty:
        made = client(faulty.url, seen.append, now_s=1e9)
        assert await polled(made) == 1
        broken = True
        assert await polled(made) == 1
    assert seen[1] == seen[0]
    assert seen[0].step_s == 1.0
    assert seen[0].at_s == pytest.approx(1e9 - 60 / 3600)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"speed": "fast", "replay": true}', b"[" * 5000])
async def test_nothing_is_known_before_the_clock_was_read_once(body: bytes):
    broken = True
    seen: list[Signal] = []

    def clock() -> web.Response:
        return web.Response(body=body) if broken else web.json_response(REAL_TIME)

    async with Provider(except_of("/v1/clock", clock)) as faulty:
        made = client(faulty.url, seen.append)
        assert await polled(made) == 0
        assert "clock" in made.health.problems["XX"]
        broken = False
        assert await polled(made) == 1
    assert [each.g_per_kwh for each in seen] == [None, 210.5]
    assert made.health.problems == {}


async def test_a_source_of_the_other_kind_is_a_problem_and_no_value():
    seen: list[Signal] = []
    marginal = except_of("/v1/now", lambda: web.json_response(now_answer(kind="marginal")))
    async with Provider(marginal) as source:
        averages = client(source.url, seen.append)
        assert await polled(averages) == 0
        assert "carbon_kind" in averages.health.problems["XX"]
        assert await polled(client(source.url, seen.append, kind=Kind.MARGINAL)) == 1
    assert [each.g_per_kwh for each in seen] == [None, 210.5]
    assert len(seen[1].forecast) == 48


def test_no_cloud_region_is_in_two_zones():
    listed = [region for regions in _REGIONS_BY_ZONE.values() for region in regions.split()]
    assert len(listed) == len(set(listed)) == len(ZONE_BY_REGION)
    assert ZONE_BY_REGION["eu-west-3"] == "FR"
