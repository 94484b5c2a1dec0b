"""The PCAPS simulator's interface: the shapes that its clients know, without its defects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carbon_api.service import create_app
from carbon_api.settings import parse
from tests.carbon_api.support import START_S, Hand, ask, daily, published_trace, replay_app

LATE = "2026-05-01T10:00:00"
VALUES = daily(70 * 24)
ROW = 60 * 24 + 10  # of LATE


async def register(app: Any, timestamp: Any) -> str:
    code, found = await ask(app, "/register", body={"timestamp": timestamp})
    assert code == 201
    assert len(found["user_id"]) == 64
    return found["user_id"]


async def test_a_minute_is_an_hour(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), LATE, pcaps={"bounds": "oracle"})
    user = await register(app, LATE)
    for hour in range(4):
        code, found = await ask(app, "/get_carbon_intensity", {"user_id": user})
        ahead = VALUES[ROW + hour : ROW + hour + 49]
        assert (code, found) == (
            200,
            {
                "timestamp": f"2026-05-01T{10 + hour}:00:00+00:00",
                "carbon_intensity": VALUES[ROW + hour],
                "upper_bound": max(ahead),
                "lower_bound": min(ahead),
            },
        )
        hand.at_s += 60


async def test_bounds_come_from_a_forecast_unless_the_oracle_is_named(tmp_path: Path):
    future = [*VALUES[: ROW + 1], *[5.0] * 200]
    found: list[Any] = []
    for values in (VALUES, future):
        app = replay_app(tmp_path, Hand(), LATE, values)
        user = await register(app, LATE)
        found.append(await ask(app, "/get_carbon_intensity", {"user_id": user}))
    assert found[0] == found[1]
    answer = found[0][1]
    assert answer["lower_bound"] <= answer["carbon_intensity"] <= answer["upper_bound"]


async def test_every_client_has_a_time_of_its_own(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), LATE, pcaps={"bounds": "oracle"})
    first = await register(app, LATE)
    hand.at_s += 90
    second = await register(app, "2026-03-02")
    hand.at_s += 60
    stamps = [(await ask(app, "/get_carbon_intensity", {"user_id": each}))[1] for each in (first, second)]
    assert [each["timestamp"][:13] for each in stamps] == ["2026-05-01T12", "2026-03-02T01"]


@pytest.mark.parametrize(
    "timestamp, hour",
    [("2026-05-01T20:00:00+02:00", 18), ("2026-05-01T18:00:00Z", 18), ("2026-05-01T18:30:00", 18)],
)
async def test_offsets_count_and_half_hours_are_taken(tmp_path: Path, timestamp: str, hour: int):
    app = replay_app(tmp_path, Hand(), LATE, pcaps={"bounds": "oracle"})
    user = await register(app, timestamp)
    _, found = await ask(app, "/get_carbon_intensity", {"user_id": user})
    assert found["timestamp"] == f"2026-05-01T{hour}:00:00+00:00"


@pytest.mark.parametrize(
    "body, error",
    [
        ({"timestamp": "yesterday"}, "Invalid timestamp format. Use ISO format."),
        ({"timestamp": None}, "Invalid timestamp format. Use ISO format."),
        ({"timestamp": 5}, "Invalid timestamp format. Use ISO format."),
        ({}, "Invalid timestamp format. Use ISO format."),
        ([], "Invalid timestamp format. Use ISO format."),
        ({"timestamp": "2020-01-01"}, "Requested time not available in local carbon intensity data."),
        ({"timestamp": "2036-01-01"}, "Requested time not available in local carbon intensity data."),
    ],
)
async def test_registrations_that_cannot_be(tmp_path: Path, body: Any, error: str):
    app = replay_app(tmp_path, Hand(), LATE)
    assert await ask(app, "/register", body=body) == (400, {"error": error})


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, b"x" * 2_000_000])
async def test_bodies_that_are_none(tmp_path: Path, raw: bytes):
    app = replay_app(tmp_path, Hand(), LATE)
    assert (await ask(app, "/register", raw=raw))[0] == 400


async def test_who_is_not_registered_is_told_so(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    unknown = (404, {"error": "User ID not found. Register first."})
    assert await ask(app, "/get_carbon_intensity", {"user_id": "0" * 64}) == unknown
    assert await ask(app, "/get_carbon_intensity") == unknown


async def test_gaps_and_the_end_have_no_value(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), LATE, [*VALUES[:48], None, 5, 6], pcaps={"bounds": "oracle"})
    user = await register(app, "2026-03-03T23:00")
    codes: list[int] = []
    for _ in range(6):
        codes.append((await ask(app, "/get_carbon_intensity", {"user_id": user}))[0])
        hand.at_s += 60
    assert codes == [200, 404, 200, 200, 404, 404]


async def test_a_trace_wraps_on_request_only(tmp_path: Path):
    options = {"replay": {"wrap": True}, "pcaps": {"bounds": "oracle"}}
    app = replay_app(tmp_path, hand := Hand(), LATE, VALUES[:48], **options)
    user = await register(app, "2026-03-03T23:00")
    hand.at_s += 60
    _, found = await ask(app, "/get_carbon_intensity", {"user_id": user})
    assert (found["timestamp"][:13], found["carbon_intensity"]) == ("2026-03-04T00", VALUES[0])
    assert found["upper_bound"] == max(VALUES[:48])


async def test_without_history_there_are_no_bounds_and_no_guess(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE)
    user = await register(app, "2026-03-02T01:00")
    code, found = await ask(app, "/get_carbon_intensity", {"user_id": user})
    assert code == 503
    assert "too-little-history" in found["error"]


async def test_registrations_are_bounded(tmp_path: Path):
    app = replay_app(tmp_path, Hand(), LATE, pcaps={"clients": 2, "bounds": "oracle"})
    users = [await register(app, LATE) for _ in range(2)]
    await ask(app, "/get_carbon_intensity", {"user_id": users[0]})
    users.append(await register(app, LATE))
    codes = [(await ask(app, "/get_carbon_intensity", {"user_id": user}))[0] for user in users]
    assert codes == [200, 404, 200]  # the longest unused went
    assert len(set(users)) == 3


async def test_the_golden_hour_of_the_published_trace():
    path = published_trace("DE_2021H1.csv")
    document: dict[str, Any] = {
        "zones": {"DE": {"source": "replay", "files": [str(path)]}},
        "pcaps": {"bounds": "oracle"},
    }
    app = create_app(parse(document), wall=lambda: START_S, monotonic=Hand())
    user = await register(app, "2021-01-31T18:00:00")
    _, found = await ask(app, "/get_carbon_intensity", {"user_id": user})
    assert (found["carbon_intensity"], found["lower_bound"], found["upper_bound"]) == (546.97, 448.66, 633.18)
