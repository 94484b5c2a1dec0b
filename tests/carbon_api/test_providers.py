"""Clients of the live providers, against a provider on this machine: right answers, and every known trap.

Shapes are those of the providers; all numbers are invented.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from carbon_api import times
from carbon_api.readings import Kind, Missing, Reason, Value
from carbon_api.sources.base import Answer, SourceError
from carbon_api.sources.http import Web, base_url
from carbon_api.sources.uk import UkCarbonIntensity
from carbon_api.sources.watttime import G_PER_KWH
from tests.carbon_api.documents import (
    electricity_maps,
    generation,
    uk,
    watttime,
)
from tests.carbon_api.sources import NOW_S, ZONES, source
from tests.carbon_api.support import START_S, Provider

END_S = START_S + 4 * 3600


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[Web]:
    opened = Web(timeout_s=5, wall=lambda: NOW_S)
    yield opened
    await opened.close()


@pytest.fixture(params=["electricity-maps", "watttime", "uk-carbon-intensity", "entso-e"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


GOOD: Mapping[str, tuple[Any, list[float]]] = {
    "electricity-maps": (electricity_maps("XX", [298, 311]), [298, 311]),
    "watttime": (watttime("CAISO_NORTH", [861.5, 858.0]), [861.5 * G_PER_KWH, 858.0 * G_PER_KWH]),
    "uk-carbon-intensity": (uk([143, 150]), [143, 150]),
    # half gas at 490, half wind at 11
    "entso-e": (generation({"B04": [1000, 500], "B19": [1000, 500]}), [250.5, 250.5]),
}


def logged_in(provider: Provider, document: Any, **more: Any) -> None:
    """Answer WattTime's login, and everything else with a document."""
    provider.answers(document, **more)
    other = provider.reply

    def reply(request: web.Request) -> web.Response:
        if request.path == "/login":
            return web.json_response({"token": "t0ken"})
        return other(request)

    provider.reply = reply


async def asked(name: str, provider: Provider, client: Web, path: Path) -> Answer:
    return await source(name, client, provider.url, path).fetch(ZONES[name], START_S, END_S)


def values(answer: Answer) -> list[float]:
    if answer.series is None:
        return []
    return [each.g_per_kwh for _, each in answer.series.readings() if isinstance(each, Value)]


async def test_a_good_answer_becomes_a_series(name: str, provider: Provider, client: Web, tmp_path: Path):
    document, expected = GOOD[name]
    logged_in(provider, document)
    answer = await asked(name, provider, client, tmp_path)
    assert answer.problem is None
    assert values(answer) == pytest.approx(expected)
    assert answer.series is not None
    assert (answer.series.start_s, answer.series.source) == (START_S, name)
    assert answer.series.kind is (Kind.MARGINAL if name == "watttime" else Kind.AVERAGE)


@pytest.mark.parametrize(
    "status, reason",
    [
        (400, Reason.SOURCE_REFUSED),
        (401, Reason.NO_CREDENTIALS),
        (403, Reason.SOURCE_REFUSED),
        (404, Reason.SOURCE_REFUSED),
        (429, Reason.RATE_LIMITED),
        (500, Reason.SOURCE_DOWN),
        (503, Reason.SOURCE_DOWN),
        (302, Reason.SOURCE_REFUSED),
        (204, Reason.SOURCE_REFUSED),
        (206, Reason.SOURCE_REFUSED),
    ],
)
async def test_a_status_that_is_not_200_is_no_value(
    name: str, provider: Provider, client: Web, tmp_path: Path, status: int, reason: Reason
):
    logged_in(provider, GOOD[name][0], status=status, Location=provider.url + "/elsewhere")
    answer = await asked(name, provider, client, tmp_path)
    assert answer.series is None
    assert answer.problem is not None
    assert answer.problem.reason is reason
    assert not any(request.path == "/elsewhere" for request in provider.asked)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        "null",
        "",
        "{",
        "<html><body>Please log in</body></html>",
        b"\xff\xfe\x00",
        {"error": "no"},
        {"data": None, "history": None},
        {"data": {}, "history": {}},
        {"data": [], "history": []},
        {"data": [None, 5, "x", []], "history": [None, 5]},
        '{"data": [' * 5000,
        "9" * 5000,
        "NaN",
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><GL_MarketDocument>&a;</GL_MarketDocument>',
        "<GL_MarketDocument/>",
    ],
)
async def test_a_body_that_says_nothing_is_no_value(
    name: str, provider: Provider, client: Web, tmp_path: Path, body: Any
):
    logged_in(provider, body)
    answer = await asked(name, provider, client, tmp_path)
    assert answer.series is None
    assert isinstance(answer.problem, Missing)


@pytest.mark.parametrize(
    "raw, reason",
    [
        (None, Reason.NOT_A_NUMBER),
        ("311", Reason.NOT_A_NUMBER),
        (True, Reason.NOT_A_NUMBER),
        (-1, Reason.ABSURD),
        (1e9, Reason.ABSURD),
        ({}, Reason.NOT_A_NUMBER),
    ],
)
async def test_a_null_or_absurd_value_is_left_out(
    name: str, provider: Provider, client: Web, tmp_path: Path, raw: Any, reason: Reason
):
    documents: dict[str, Any] = {
        "electricity-maps": electricity_maps("XX", [298, raw]),
        "watttime": watttime("CAISO_NORTH", [100, raw]),
        "uk-carbon-intensity": uk([143, raw]),
        "entso-e": generation({"B04": [1000, 1000], "B19": [1000, raw if raw is not None else ""]}),
    }
    if raw == "311":  # in XML every number is a text
        documents["entso-e"] = generation({"B04": [1000, "three hundred"]})
    logged_in(provider, documents[name])
    answer = await asked(name, provider, client, tmp_path)
    assert answer.problem is not None
    assert answer.problem.reason is reason
    assert len(values(answer)) == 1
    assert answer.refused == 1


async def test_values_outside_the_window_are_not_believed(
    name: str, provider: Provider, client: Web, tmp_path: Path
):
    logged_in(provider, GOOD[name][0])
    window = (START_S + 365 * 86_400, END_S + 365 * 86_400)
    answer = await source(name, client, provider.url, tmp_path).fetch(ZONES[name], *window)
    assert answer.series is None
    assert answer.problem is not None
    assert answer.problem.reason is Reason.UNREADABLE


async def test_an_answer_for_another_zone_is_no_value(
    name: str, provider: Provider, client: Web, tmp_path: Path
):
    if name == "uk-carbon-intensity":
        answer = await source(name, client, provider.url, tmp_path).fetch("FR", START_S, END_S)
        reason = Reason.UNKNOWN_ZONE
    else:
        other: dict[str, Any] = {
            "electricity-maps": electricity_maps("YY", [298, 311]),
            "watttime": watttime("ERCOT", [861.5]),
            "entso-e": generation({"B04": [1000]}, zone="10YXX-OTHER----9"),
        }
        logged_in(provider, other[name])
        answer = await asked(name, provider, client, tmp_path)
        reason = Reason.WRONG_ZONE
    assert answer.series is None
    assert answer.problem is not None
    assert answer.problem.reason is reason


async def test_retry_after_is_respected(name: str, provider: Provider, client: Web, tmp_path: Path):
    for header, wait_s in (
        ("120", 120),
        (formatdate(NOW_S + 90, usegmt=True), 90),
        ("soon", None),
        ("nan", None),
    ):
        logged_in(provider, {}, status=429, Retry_After=header)
        answer = await asked(name, provider, client, tmp_path)
        assert answer.retry_after_s == wait_s


async def test_a_provider_that_is_down(name: str, client: Web, tmp_path: Path):
    async with Provider() as provider:
        asking = source(name, client, provider.url, tmp_path)
    answer = await asking.fetch(ZONES[name], START_S, END_S)
    assert answer.problem is not None
    assert answer.problem.reason is Reason.SOURCE_DOWN


async def test_a_provider_that_does_not_answer_in_time(name: str, provider: Provider, tmp_path: Path):
    hasty = Web(timeout_s=0.05)
    provider.hold = asyncio.Event()
    answer = await source(name, hasty, provider.url, tmp_path).fetch(ZONES[name], START_S, END_S)
    assert answer == Answer(None, Missing(Reason.SOURCE_DOWN, "no answer in time"))
    provider.hold.set()
    await hasty.close()


async def test_keys_are_sent_where_they_belong_and_shown_nowhere(
    name: str, provider: Provider, client: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    secret = "s3cr3t-key-of-tests"
    caplog.set_level("DEBUG")
    logged_in(provider, {"error": f"bad key {secret}"}, status=401)
    asking = source(name, client, provider.url, tmp_path)
    answer = await asking.fetch(ZONES[name], START_S, END_S)
    shown = f"{answer!r} {asking!r} {vars(asking)!r} {caplog.text}"
    assert secret not in shown
    assert base64.b64encode(f"{secret}:{secret}".encode()).decode() not in shown
    sent = provider.asked[0]
    carried = f"{sent.headers.get('auth-token')} {sent.headers.get('Authorization')} {sent.query_string}"
    if name == "watttime":
        assert base64.b64encode(f"{secret}:{secret}".encode()).decode() in carried
    elif name != "uk-carbon-intensity":
        assert secret in carried


@pytest.mark.parametrize("name", ["electricity-maps", "watttime", "entso-e"])
async def test_without_a_key_nothing_is_asked(name: str, provider: Provider, client: Web, tmp_path: Path):
    asking = source(name, client, provider.url, tmp_path)
    for text in (None, "", "two words", "two\nlines", "nøt-ascii", "x" * 20_000):
        if text is None:
            (tmp_path / "key").unlink()
        else:
            (tmp_path / "key").write_text(text)
        answer = await asking.fetch(ZONES[name], START_S, END_S)
        assert answer.problem is not None
        assert answer.problem.reason is Reason.NO_CREDENTIALS
        assert str(tmp_path / "key") in answer.problem.detail
    assert provider.asked == []


async def test_a_replaced_key_counts_at_once(provider: Provider, client: Web, tmp_path: Path):
    provider.answers(GOOD["electricity-maps"][0])
    asking = source("electricity-maps", client, provider.url, tmp_path)
    for key in ("first", "second"):
        (tmp_path / "key").write_text(key + "\n")
        await asking.fetch("XX", START_S, END_S)
    assert [request.headers["auth-token"] for request in provider.asked] == ["first", "second"]


@pytest.mark.parametrize(
    "url",
    ["ftp://x", "nonsense", "https://user:key@host", "https://host/?key=1", "http://[", "http://example.org"],
)
def test_urls_that_would_leak_or_lead_nowhere_are_refused(url: str):
    with pytest.raises(SourceError):
        base_url(url, with_key=True)


def test_plain_http_is_for_this_machine_or_without_a_key():
    assert base_url("http://127.0.0.1:8000/v3/", with_key=True) == "http://127.0.0.1:8000/v3"
    assert base_url("http://example.org", with_key=False) == "http://example.org"


async def test_answers_beyond_measure_are_not_read(
    provider: Provider, client: Web, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("carbon_api.sources.http._LARGEST_BYTES", 1000)
    provider.answers("[" + "1," * 2000 + "1]")
    answer = await UkCarbonIntensity(client, provider.url).fetch("GB", START_S, END_S)
    assert answer.problem == Missing(Reason.UNREADABLE, "the answer is far too large")


def test_times_of_documents_are_those_of_the_tests():
    assert times.iso(START_S) == "2026-03-02T00:00:00+00:00"
