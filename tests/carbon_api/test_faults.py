"""No fault of any source becomes a number: fuzzed statuses, headers and bodies, up to the metrics."""

from __future__ import annotations

import asyncio
import copy
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from carbon_api.api.prometheus import Intensities
from carbon_api.clock import WallClock
from carbon_api.readings import Kind, Missing, Value
from carbon_api.sources.base import Answer
from carbon_api.sources.http import Web
from carbon_api.sources.watttime import G_PER_KWH
from carbon_api.store import Store, Zone
from tests.carbon_api.documents import electricity_maps, generation, uk, watttime
from tests.carbon_api.sources import ZONES, source
from tests.carbon_api.support import START_S, Provider

END_S = START_S + 4 * 3600

GOOD: dict[str, Any] = {
    "electricity-maps": electricity_maps("XX", [298.5, 311.5, 305.5]),
    "watttime": watttime("CAISO_NORTH", [861.5, 858.5, 850.5]),
    "uk-carbon-intensity": uk([143.5, 150.5, 160.5]),
    "entso-e": generation({"B04": [1000, 500, 400], "B19": [1000, 500, 600]}),
}
TRUE: dict[str, list[float]] = {
    "electricity-maps": [298.5, 311.5, 305.5],
    "watttime": [value * G_PER_KWH for value in (861.5, 858.5, 850.5)],
    "uk-carbon-intensity": [143.5, 150.5, 160.5],
    "entso-e": [250.5, 250.5, 0.4 * 490 + 0.6 * 11],
}

# Nothing here is a believable intensity, time, zone or unit: a fault that looks like a value cannot be told.
junk = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "NaN", "311", "-", "\x00", "2026-13-45T99:99Z", "Infinity", "<b>"]),
    st.sampled_from([-1, -0.5, 10**6, 1e300, 10**400, {}, [], [[]], {"value": None}]),
).map(copy.deepcopy)


@dataclass
class Line:
    """A loop, a client and a provider that outlive the examples."""

    runner: asyncio.Runner
    web: Web
    provider: Provider
    path: Path

    def ask(self, name: str) -> Answer:
        asking = source(name, self.web, self.provider.url, self.path)
        return self.runner.run(asking.fetch(ZONES[name], START_S, END_S))


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as directory:
        client, provider = Web(timeout_s=0.5), Provider()
        runner.run(provider.__aenter__())
        yield Line(runner, client, provider, Path(directory))
        runner.run(client.close())
        runner.run(provider.__aexit__())


def places(part: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every node of a JSON document but the root."""
    if isinstance(part, dict | list):
        for key, inner in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*path, key)
            yield from places(inner, (*path, key))


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> bytes:
    """The good document with one to three faults in it."""
    document = copy.deepcopy(GOOD[name])
    if name == "entso-e":
        root = ElementTree.fromstring(document)
        for _ in range(draw(st.integers(1, 3))):
            leaves = [each for each in root.iter() if not len(each)]
            text = draw(junk.filter(lambda raw: raw != "311"))  # in XML every number is a text
            draw(st.sampled_from(leaves)).text = "" if text is None else str(text).replace("\x00", "?")[:100]
        body = ElementTree.tostring(root)
    else:
        for _ in range(draw(st.integers(1, 3))):
            if not (found := list(places(document))):
                break
            *parents, last = draw(st.sampled_from(found))
            part = document
            for key in parents:
                part = part[key]
            if isinstance(part, dict) and draw(st.booleans()):
                del part[last]
            else:
                part[last] = draw(junk)
        body = json.dumps(document).encode()
    if draw(st.integers(0, 9)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    return body


def check(name: str, answer: Answer) -> None:
    """Whatever is in the answer was in the good document, at that time."""
    for at_s, reading in answer.series.readings() if answer.series is not None else ():
        if isinstance(reading, Value):
            row = int(at_s - START_S) // answer.series.step_s  # type: ignore[union-attr]
            assert reading.g_per_kwh == pytest.approx(TRUE[name][row])
    assert answer.series is not None or isinstance(answer.problem, Missing)


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=60)
@given(data=st.data())
def test_no_fault_in_a_body_becomes_a_number(line: Line, name: str, data: st.DataObject):
    body = data.draw(spoiled(name))
    login = data.draw(st.sampled_from([b'{"token": "t"}'] * 4 + [body]))
    line.provider.reply = lambda asked: web.Response(body=login if asked.path == "/login" else body)
    check(name, line.ask(name))


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=40)
@given(
    body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    status=st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 402, 403, 404, 418, 429, 500, 502, 503]),
    retry_after=st.sampled_from(["", "5", "-5", "1e400", "Tue, 99 Nov 2026", "x"]),
)
def test_no_other_answer_becomes_a_number(line: Line, name: str, body: bytes, status: int, retry_after: str):
    line.provider.reply = lambda _: web.Response(
        body=body, status=status, headers={"Retry-After": retry_after}
    )
    answer = line.ask(name)
    assert answer.series is None
    assert isinstance(answer.problem, Missing)
    assert answer.retry_after_s is None or 0 <= answer.retry_after_s <= 86_400


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_unknown_has_no_sample(line: Line, name: str, data: st.DataObject):
    body = data.draw(st.one_of(spoiled(name), st.binary(max_size=50)))
    line.provider.reply = lambda asked: web.Response(
        body=b'{"token": "t"}' if asked.path == "/login" else body
    )
    kind = Kind.MARGINAL if name == "watttime" else Kind.AVERAGE
    zone = Zone("XX", "XX", kind, name, WallClock(lambda: END_S - 1.0), stale_after_s=86_400)
    zone.put(line.ask(name))
    samples = [each for metric in Intensities(Store([zone])).collect() for each in metric.samples]
    numbers = [each.value for each in samples if each.name.startswith("grid_intensity_carbon_")]
    reading = zone.reading()
    assert numbers == ([reading.g_per_kwh] if isinstance(reading, Value) else [])
    assert all(any(number == pytest.approx(true) for true in TRUE[name]) for number in numbers)
    missing = [each for each in samples if each.name == "grid_intensity_missing"]
    assert len(missing) == 1 - len(numbers)


@pytest.mark.parametrize("name", GOOD)
def test_a_connection_that_breaks_is_no_number(line: Line, name: str):
    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    line.provider.reply = cut
    answer = line.ask(name)
    assert answer.series is None
    assert answer.problem is not None
