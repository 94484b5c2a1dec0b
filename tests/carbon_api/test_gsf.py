"""The Carbon Aware SDK's Web API: its shapes, 204 where nothing is known, 501 where nothing is forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from carbon_api.service import create_app
from carbon_api.settings import parse
from tests.carbon_api.support import START_S, Hand, ask, daily, replay_app, write_trace

LATE = "2026-05-01T10:30:00+00:00"
VALUES = daily(70 * 24)
ROW = 60 * 24 + 10  # of the hour of LATE


async def test_by_location_gives_the_present_interval(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    entry = {
        "location": "XX",
        "time": "2026-05-01T10:00:00+00:00",
        "rating": VALUES[ROW],
        "duration": "01:00:00",
    }
    assert await ask(app, "/emissions/bylocation", {"location": "XX"}) == (200, [entry])
    _, found = await ask(app, "/emissions/bylocation", {"location": "XX", "time": "2026-05-01T08:15:00Z"})
    assert [(each["time"][11:16], each["rating"]) for each in found] == [("08:00", VALUES[ROW - 2])]


async def test_by_location_gives_a_stretch_that_ends_now(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    query = {"location": "XX", "time": "2026-05-01T08:00:00Z", "toTime": "2026-05-09T00:00:00Z"}
    _, found = await ask(app, "/emissions/bylocation", query)
    assert [each["rating"] for each in found] == VALUES[ROW - 2 : ROW + 1]
    _, several = await ask(app, "/emissions/bylocations", {**query, "location": ["XX", "XX"]})
    assert several == found + found


async def test_nothing_known_is_204(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), "2026-03-02T01:30:00Z", [100, None, 100, 100])
    early = {"time": "2020-01-01", "toTime": "2020-01-02"}
    for path in ("bylocation", "bylocations", "bylocations/best"):
        for query in ({}, early, {"time": "2036-01-01"}, {"time": "2026-03-02T01:00:00Z"}):
            assert await ask(app, f"/emissions/{path}", {"location": "XX", **query}) == (204, None)
    average = {"location": "XX", "startTime": "2026-03-02T01:00:00Z", "endTime": "2026-03-02T02:00:00Z"}
    assert await ask(app, "/emissions/average-carbon-intensity", average) == (204, None)


async def test_the_best_of_several_locations(tmp_path: Path):
    write_trace(tmp_path / "a.csv", [300, 200, 250, 100], "A")
    write_trace(tmp_path / "b.csv", [400, 200, 210, 100], "B")
    zones = {name: {"source": "replay", "files": [f"{name.lower()}.csv"]} for name in ("A", "B")}
    document: dict[str, Any] = {"zones": zones, "replay": {"start": "2026-03-02T02:00:00Z"}}
    app = create_app(parse(document, directory=tmp_path), wall=lambda: START_S, monotonic=Hand())
    query: dict[str, Any] = {"location": ["A", "B"]}
    _, found = await ask(app, "/emissions/bylocations/best", query)
    assert [(each["location"], each["rating"]) for each in found] == [("B", 210)]
    query |= {"time": "2026-03-02T00:00:00Z", "toTime": "2026-03-03T00:00:00Z"}
    _, found = await ask(app, "/emissions/bylocations/best", query)
    assert [(each["location"], each["rating"]) for each in found] == [("A", 200), ("B", 200)]
    assert set((await ask(app, "/locations"))[1]) == {"A", "B"}


async def test_averages_weigh_by_overlap(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), "2026-03-02T05:00:00Z", [100, 200, None, 400, 500, 600])
    for start, end, mean in (
        ("00:00", "02:00", 150.0),
        ("00:45", "02:00", (15 * 100 + 60 * 200) / 75),
        ("00:30", "00:40", 100.0),
        ("01:00", "04:00", 300.0),  # the gap has no weight
    ):
        query = {"location": "XX", "startTime": f"2026-03-02T{start}:00Z", "endTime": f"2026-03-02T{end}:00Z"}
        code, found = await ask(app, "/emissions/average-carbon-intensity", query)
        assert (code, found["location"]) == (200, "XX")
        assert found["carbonIntensity"] == pytest.approx(mean)


async def test_a_forecast_and_its_best_window(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    query = {
        "location": "XX",
        "dataStartAt": "2026-05-01T12:00:00Z",
        "dataEndAt": "2026-05-02T12:00:00Z",
        "windowSize": 120,
    }
    code, (found,) = await ask(app, "/emissions/forecasts/current", query)
    _, ours = await ask(app, "/v1/forecast", {"zone": "XX", "hours": 48})
    hours = {each["at"]: each["g_per_kwh"] for each in ours["points"]}
    assert code == 200
    assert (found["location"], found["windowSize"], found["requestedAt"]) == ("XX", 120, LATE)
    data = found["forecastData"]
    assert len(data) == 23
    assert (data[0]["timestamp"], data[-1]["timestamp"]) == (
        "2026-05-01T12:00:00+00:00",
        "2026-05-02T10:00:00+00:00",
    )
    expected = (hours["2026-05-01T12:00:00+00:00"] + hours["2026-05-01T13:00:00+00:00"]) / 2
    assert data[0] == {
        "location": "XX",
        "timestamp": "2026-05-01T12:00:00+00:00",
        "duration": 120,
        "value": pytest.approx(expected, abs=1e-4),
    }
    assert [each["value"] for each in found["optimalDataPoints"]] == [min(each["value"] for each in data)]


async def test_a_window_that_starts_within_an_interval(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    query = {"location": "XX", "dataStartAt": "2026-05-01T12:45:00Z", "windowSize": 30}
    _, (found,) = await ask(app, "/emissions/forecasts/current", query)
    _, ours = await ask(app, "/v1/forecast", {"zone": "XX", "hours": 6})
    mean = (ours["points"][2]["g_per_kwh"] + ours["points"][3]["g_per_kwh"]) / 2
    assert found["forecastData"][0]["timestamp"] == "2026-05-01T12:45:00+00:00"
    assert found["forecastData"][0]["value"] == pytest.approx(mean, abs=1e-4)


async def test_forecasts_as_they_would_have_been_made(tmp_path: Path):
    asked = {"requestedAt": "2026-04-30T10:30:00Z", "location": "XX", "windowSize": 60}
    app = replay_app(tmp_path, Hand(), LATE)
    code, (found,) = await ask(app, "/emissions/forecasts/batch", body=[asked])
    then = replay_app(tmp_path, Hand(), "2026-04-30T10:30:00Z")
    _, (live,) = await ask(then, "/emissions/forecasts/current", {"location": "XX", "windowSize": 60})
    assert (code, found) == (200, live)


async def test_no_forecast_is_501(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), "2026-03-02T02:00:00Z")
    code, found = await ask(app, "/emissions/forecasts/current", {"location": "XX"})
    assert code == 501
    assert "too-little-history" in found["detail"]
    asked = {"requestedAt": "2036-01-01T00:00:00Z", "location": "XX"}
    assert (await ask(app, "/emissions/forecasts/batch", body=[asked]))[0] == 501


@pytest.mark.parametrize(
    "path, query, parameter",
    [
        ("bylocation", {"location": "YY"}, "location"),
        ("bylocation", {}, "location"),
        ("bylocation", {"location": "XX", "time": "soon"}, "time"),
        ("bylocation", {"location": "XX", "toTime": "soon"}, "toTime"),
        ("bylocations/best", {"location": ["XX", "YY"]}, "location"),
        ("forecasts/current", {"location": "YY"}, "location"),
        ("forecasts/current", {"location": "XX", "windowSize": 0}, "windowSize"),
        ("forecasts/current", {"location": "XX", "dataStartAt": "2020-01-01"}, "dataStartAt"),
        ("average-carbon-intensity", {"location": "XX", "startTime": "x", "endTime": "y"}, "startTime"),
        ("average-carbon-intensity", {"location": "XX", "startTime": LATE, "endTime": LATE}, "endTime"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(
    tmp_path: Path, path: str, query: dict[str, Any], parameter: str
):
    code, problem = await ask(replay_app(tmp_path, Hand(), LATE), f"/emissions/{path}", query)
    assert (code, problem["status"]) == (400, 400)
    assert problem["title"] == "One or more validation errors occurred."
    assert list(problem["errors"]) == [parameter]
    assert all(text for text in problem["errors"][parameter])


async def test_averages_of_several_stretches(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), "2026-03-02T05:00:00Z", [100, 200, None, 400, 500, 600])
    wanted = [
        {"location": "XX", "startTime": f"2026-03-02T{start}:00Z", "endTime": f"2026-03-02T{end}:00Z"}
        for start, end in (("00:00", "02:00"), ("02:00", "03:00"), ("03:00", "05:00"))
    ]
    code, found = await ask(app, "/emissions/average-carbon-intensity/batch", body=wanted)
    assert code == 200
    assert [each["carbonIntensity"] for each in found] == [150, 450], "nothing is known of the second"
    assert (await ask(app, "/emissions/average-carbon-intensity/batch", body=wanted[1:2]))[0] == 204
    wanted[1]["location"] = "YY"
    code, problem = await ask(app, "/emissions/average-carbon-intensity/batch", body=wanted)
    assert (code, list(problem["errors"])) == (400, ["location"])
    code, problem = await ask(app, "/emissions/average-carbon-intensity/batch", body=[{"location": "XX"}])
    assert (code, sorted(problem["errors"])) == (400, ["0.endTime", "0.startTime"])


async def test_health_and_description(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    assert await ask(app, "/health") == (200, "Healthy")
    code, text = await ask(app, "/api/v1/swagger.yaml")
    assert code == 200
    described = yaml.safe_load(text)
    assert "/emissions/average-carbon-intensity/batch" in described["paths"]
    assert described == app.openapi()
