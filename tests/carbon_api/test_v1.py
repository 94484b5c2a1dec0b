"""Our own interface: what the extender's client relies on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carbon_api import times
from carbon_api.readings import Reason
from tests.carbon_api.support import HOUR_S, Hand, ask, daily, replay_app

LATE = "2026-05-01T10:30:00+00:00"  # sixty days into the trace


def row(text: str) -> float:
    """The trace's value at a moment."""
    return daily(70 * 24)[int((times.parse(text) - times.parse("2026-03-02T00:00:00Z")) // HOUR_S)]


async def test_now_is_a_value_with_its_age(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), LATE)
    assert await ask(app, "/v1/now", {"zone": "XX"}) == (
        200,
        {
            "zone": "XX",
            "at": LATE,
            "reading": {
                "status": "ok",
                "g_per_kwh": row(LATE),
                "kind": "average",
                "estimated": False,
                "age_s": 1800,
                "stale_after_s": None,
                "source": "replay",
            },
        },
    )
    hand.at_s += HOUR_S
    _, later = await ask(app, "/v1/now", {"zone": "XX"})
    assert later["at"] == "2026-05-01T11:30:00+00:00"
    assert later["reading"]["g_per_kwh"] == row(later["at"])


async def test_a_zone_that_is_not_there_is_missing(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    for path in ("/v1/now", "/v1/forecast"):
        code, found = await ask(app, path, {"zone": "YY"})
        reading = found.get("reading", found)
        assert (code, reading["status"], reading["reason"]) == (200, "missing", "unknown-zone")
        assert "XX" in reading["detail"]
    code, found = await ask(app, "/v1/history", {"zone": "YY"})
    assert code == 404
    assert "XX" in found["detail"]


@pytest.mark.parametrize(
    "value, reason",
    [
        (None, Reason.GAP),
        ("", Reason.GAP),
        ("n/a", Reason.GAP),
        ("nan", Reason.GAP),
        ("-3", Reason.GAP),
        ("99999", Reason.GAP),
    ],
)
async def test_a_gap_is_a_gap_and_not_the_value_before(tmp_path: Path, value: Any, reason: Reason):
    app = replay_app(tmp_path, hand := Hand(), "2026-03-02T00:59:00Z", [250, value, 260, 270])
    assert (await ask(app, "/v1/now", {"zone": "XX"}))[1]["reading"]["g_per_kwh"] == 250
    hand.at_s += 60
    _, found = await ask(app, "/v1/now", {"zone": "XX"})
    assert found["reading"] == {"status": "missing", "reason": reason, "detail": found["reading"]["detail"]}
    hand.at_s += HOUR_S
    _, found = await ask(app, "/v1/history", {"zone": "XX", "start": "2026-03-01T00:00:00Z"})
    assert found["points"] == [
        {"at": "2026-03-02T00:00:00+00:00", "g_per_kwh": 250},
        {"at": "2026-03-02T01:00:00+00:00", "missing": "gap"},
        {"at": "2026-03-02T02:00:00+00:00", "g_per_kwh": 260},
    ]


async def test_the_end_of_a_trace_is_an_end_unless_it_shall_wrap(tmp_path: Path):
    hand = Hand()
    for wrap in (False, True):
        app = replay_app(tmp_path, hand, "2026-03-03T00:00:00Z", daily(48), replay={"wrap": wrap})
        _, before = await ask(app, "/v1/now", {"zone": "XX"})
        hand.at_s += 24 * HOUR_S
        _, after = await ask(app, "/v1/now", {"zone": "XX"})
        assert after["at"] == "2026-03-04T00:00:00+00:00"
        if wrap:
            assert after["reading"]["g_per_kwh"] == daily(1)[0]
            assert before["reading"]["g_per_kwh"] == daily(48)[24]
        else:
            assert after["reading"]["reason"] == "not-covered"


async def test_history_never_tells_the_future(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    query = {"zone": "XX", "start": "2026-05-01T08:00:00Z", "end": "2026-05-09T00:00:00Z"}
    code, found = await ask(app, "/v1/history", query)
    assert (code, found["step_s"]) == (200, 3600)
    assert [each["at"][11:16] for each in found["points"]] == ["08:00", "09:00", "10:00"]
    assert all(each["g_per_kwh"] == row(each["at"]) for each in found["points"])
    _, found = await ask(app, "/v1/history", {"zone": "XX"})
    assert len(found["points"]) == 24
    query = {"zone": "XX", "start": "2026-05-01T08:00:00Z", "end": "2026-05-01T07:00:00Z"}
    assert (await ask(app, "/v1/history", query))[1]["points"] == []


async def test_times_that_cannot_be_read_are_refused(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    code, found = await ask(app, "/v1/history", {"zone": "XX", "start": "yesterday"})
    assert code == 400
    assert "ISO 8601" in found["detail"]


async def test_a_forecast_is_kept_apart_from_what_was(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    code, found = await ask(app, "/v1/forecast", {"zone": "XX", "hours": 48})
    assert (code, found["status"], found["zone"], found["step_s"]) == (200, "ok", "XX", 3600)
    assert found["method"] != "oracle"
    assert found["issued_at"] == LATE
    points = found["points"]
    assert len(points) == 48
    assert points[0]["at"] == "2026-05-01T10:00:00+00:00"
    assert all(0 <= each["low"] <= each["g_per_kwh"] <= each["high"] for each in points)
    assert found["lower"] == min(each["g_per_kwh"] for each in points)
    assert found["upper"] == max(each["g_per_kwh"] for each in points)
    assert [each["g_per_kwh"] for each in points] != [row(each["at"]) for each in points]


async def test_the_future_changes_no_forecast(tmp_path: Path):
    known = int((times.parse(LATE) - times.parse("2026-03-02T00:00:00Z")) // HOUR_S)
    other = [*daily(known), *[5.0] * (70 * 24 - known)]
    query = {"zone": "XX", "hours": 48}
    first = await ask(replay_app(tmp_path, Hand(), LATE), "/v1/forecast", query)
    second = await ask(replay_app(tmp_path, Hand(), LATE, other), "/v1/forecast", query)
    assert first == second


async def test_the_oracle_answers_by_its_name(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    _, found = await ask(app, "/v1/forecast", {"zone": "XX", "hours": 24, "method": "oracle"})
    assert found["method"] == "oracle"
    assert [each["g_per_kwh"] for each in found["points"]] == [row(each["at"]) for each in found["points"]]
    _, found = await ask(app, "/v1/forecast", {"zone": "XX", "method": "crystal-ball"})
    assert (found["status"], found["reason"]) == ("missing", "no-forecast")
    assert "oracle" in found["detail"]


async def test_too_little_history_is_said(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), "2026-03-02T03:00:00Z")
    _, found = await ask(app, "/v1/forecast", {"zone": "XX"})
    assert (found["status"], found["reason"]) == ("missing", "too-little-history")


async def test_forecasts_follow_the_clock(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), LATE)
    issued: list[str] = []
    for _ in range(3):
        issued.append(
            (await ask(app, "/v1/forecast", {"zone": "XX", "hours": 6}))[1]["points"][0]["at"][11:16]
        )
        hand.at_s += HOUR_S
    assert issued == ["10:00", "11:00", "12:00"]


async def test_zones_and_clock(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE, replay={"speed": 60})
    zone = {
        "zone": "XX",
        "name": "XX",
        "kind": "average",
        "source": "replay",
        "first": "2026-03-02T00:00:00+00:00",
        "last": "2026-05-01T10:00:00+00:00",
        "refused": 0,
        "problem": None,
    }
    assert await ask(app, "/v1/zones") == (200, [zone])
    assert await ask(app, "/v1/clock") == (200, {"now": LATE, "speed": 60, "replay": True})


async def test_probes(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), "2026-03-02T00:00:00Z", [250])
    assert (await ask(app, "/livez"))[0] == (await ask(app, "/readyz"))[0] == 200
    assert (await ask(app, "/healthz"))[1]["status"] == "ok"
    hand.at_s += HOUR_S
    code, found = await ask(app, "/healthz")
    assert (code, found["status"]) == (200, "degraded")
    assert found["zones"][0]["problem"].startswith("not-covered")


@pytest.mark.parametrize("query", [{}, {"zone": "XX", "hours": 0}, {"zone": "XX", "hours": 97}, {"zone": ""}])
async def test_queries_out_of_range_are_refused(tmp_path: Path, query: dict[str, Any]):
    code, _ = await ask(replay_app(tmp_path, Hand(), LATE), "/v1/forecast", query)
    assert code == 422
