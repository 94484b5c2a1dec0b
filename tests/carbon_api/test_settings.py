"""The settings file, what is refused in it, and the zones and clock that come of it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from carbon_api import synthetic, times
from carbon_api.clock import ReplayClock
from carbon_api.readings import Kind, Value
from carbon_api.service import create_app
from carbon_api.settings import SettingsError, load, parse
from carbon_api.sources.base import SourceError
from carbon_api.sources.http import Web
from carbon_api.zones import Wiring, wire
from tests.carbon_api.support import HOUR_S, START_S, Hand, ask, daily, write_trace

FILE = """
listen_port: 9000
replay: {start: 2026-03-02T12:00:00Z, speed: 3600, wrap: true}
pcaps: {zone: XX}
zones:
  XX: {source: replay, files: [trace.csv], name: Nowhere}
  solar: {source: synthetic, grid: synthetic-solar, seed: 7}
  FR: {source: electricity-maps, key_file: keys/maps}
  CA: {source: watttime, zone: CAISO_NORTH, username_file: keys/user, password_file: keys/password}
  GB: {source: uk-carbon-intensity, poll_interval_s: 600}
  DE: {source: entso-e, zone: 10Y1001A1001A82H, key_file: /etc/keys/entsoe, factors: {B02: 1050}}
"""


def wired(document: dict[str, Any], directory: Path, hand: Hand | None = None) -> Wiring:
    settings = parse(document, directory=directory)
    return wire(settings, Web(), lambda: START_S, hand or Hand(), Random(1))


def replayed(*names: str, **sections: Any) -> dict[str, Any]:
    return {"zones": {name: {"source": "replay", "files": [f"{name}.csv"]} for name in names}, **sections}


def test_a_file_with_every_source(tmp_path: Path):
    (tmp_path / "carbon.yaml").write_text(FILE)
    write_trace(tmp_path / "trace.csv", daily(48))
    settings = load(tmp_path / "carbon.yaml", {"replay.speed": 60, "listen_port": 9001})
    assert (settings.listen_port, settings.replay.speed, settings.replay.wrap) == (9001, 60, True)
    assert settings.replay.start_s() == times.parse("2026-03-02T12:00:00Z")
    wiring = wire(settings, Web(), lambda: START_S, Hand(), Random(1))
    assert [(zone.id, zone.source, zone.kind) for zone in wiring.store.zones()] == [
        ("XX", "replay", Kind.AVERAGE),
        ("solar", "synthetic", Kind.AVERAGE),
        ("FR", "electricity-maps", Kind.AVERAGE),
        ("CA", "watttime", Kind.MARGINAL),
        ("GB", "uk-carbon-intensity", Kind.AVERAGE),
        ("DE", "entso-e", Kind.AVERAGE),
    ]
    assert [(each.source_zone, each.interval_s) for each in wiring.pollers] == [
        ("FR", 300), ("CAISO_NORTH", 300), ("GB", 600), ("10Y1001A1001A82H", 900),
    ]  # fmt: skip
    assert str(tmp_path / "keys/maps") in repr(vars(wiring.pollers[0].source))


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "must be a mapping"),
        ("[]", "must be a mapping"),
        ("zones: {", "is not YAML"),
        ("zones: {}", "zones"),
        ("zones: {XX: {source: crystal-ball}}", "zones.XX"),
        ("zones: {XX: {source: replay}}", "files"),
        ("zones: {XX: {source: replay, files: []}}", "files"),
        ("zones: {XX: {source: synthetic, grid: g, sead: 1}}", "sead"),
        ("zones: {XX: {source: electricity-maps}}", "key_file"),
        ("zones: {XX: {source: electricity-maps, key: abc}}", "key"),
        ("zones: {XX: {source: entso-e, zone: DE, key_file: k}}", "zone"),
        ("zones: {XX: {source: synthetic, grid: g}}\nreplay: {start: soon}", "replay.start"),
        ("zones: {XX: {source: synthetic, grid: g}}\nreplay: {speed: -1}", "replay.speed"),
        ("zones: {XX: {source: synthetic, grid: g}}\npcaps: {zone: YY}", "no zone 'YY'"),
        ("zones: {XX: {source: synthetic, grid: g}}\npcaps: {bounds: maybe}", "pcaps.bounds"),
        ("zones: {'': {source: synthetic, grid: g}}", "is no id"),
    ],
)
def test_files_that_cannot_be_used_say_where(tmp_path: Path, text: str, message: str):
    (tmp_path / "carbon.yaml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load(tmp_path / "carbon.yaml")


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "carbon.yaml")


@pytest.mark.parametrize(
    "zone, message",
    [
        ({"source": "synthetic", "grid": "atlantis"}, "zone XX: grid: .*atlantis"),
        ({"source": "replay", "files": ["nowhere.csv"]}, "zone XX: .*nowhere.csv: No such file"),
        (
            {"source": "electricity-maps", "key_file": "k", "url": "http://example.org"},
            "must begin with https",
        ),
    ],
)
def test_sources_that_cannot_be_set_up_name_their_zone(tmp_path: Path, zone: dict[str, Any], message: str):
    with pytest.raises(SourceError, match=message):
        wired({"zones": {"XX": zone}}, tmp_path)


@pytest.mark.parametrize("method", ["oracle", "crystal-ball"])
def test_the_oracle_is_no_default(method: str):
    document = {"forecast_method": method, "zones": {"s": {"source": "synthetic", "grid": "synthetic-solar"}}}
    with pytest.raises(SourceError, match="cannot be the default"):
        create_app(parse(document))


def test_a_replay_starts_now_if_every_trace_covers_it_else_at_their_first_common_moment(tmp_path: Path):
    write_trace(tmp_path / "A.csv", daily(48), "A", START_S - 24 * HOUR_S)
    write_trace(tmp_path / "B.csv", daily(48), "B", START_S - 5 * HOUR_S)
    write_trace(tmp_path / "C.csv", daily(48), "C", START_S + 5 * HOUR_S)
    write_trace(tmp_path / "D.csv", daily(48), "D", START_S + 500 * HOUR_S)
    assert wired(replayed("A", "B"), tmp_path).clock.now_s() == START_S
    assert wired(replayed("A", "C"), tmp_path).clock.now_s() == START_S + 5 * HOUR_S
    with pytest.raises(SourceError, match=r"no common time; set replay\.start"):
        wired(replayed("A", "D"), tmp_path)


def test_a_start_outside_a_trace_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    write_trace(tmp_path / "A.csv", daily(48), "A")
    wired(replayed("A", replay={"start": "2030-01-01"}), tmp_path)
    assert "outside its trace" in caplog.text


def test_zones_share_one_clock_and_may_have_other_names_in_the_file(tmp_path: Path):
    write_trace(tmp_path / "trace.csv", daily(48), "THEIRS")
    zone = {"source": "replay", "files": ["trace.csv"], "zone": "THEIRS"}
    hand = Hand()
    wiring = wired({"zones": {"a": zone, "b": zone}, "replay": {"speed": 60}}, tmp_path, hand)
    first, second = wiring.store.zones()
    hand.at_s += 90
    assert first.now_s() == second.now_s() == START_S + 90 * 60
    assert isinstance(wiring.clock, ReplayClock)
    assert first.series is not None
    assert first.series.zone == "a"


@pytest.mark.parametrize("grid", synthetic.GRIDS)
async def test_synthetic_grids_need_no_data_and_no_network(grid: str):
    app = create_app(parse({"zones": {"s": {"source": "synthetic", "grid": grid}}}), lambda: START_S, Hand())
    _, found = await ask(app, "/v1/now", {"zone": "s"})
    assert found["reading"]["status"] == "ok"
    assert found["reading"]["source"] == "synthetic"


def test_a_synthetic_grid_has_the_same_value_whatever_the_start(tmp_path: Path):
    readings: list[Any] = []
    for start in ("2026-03-01T05:00:00Z", "2026-02-10T00:00:00Z"):
        document = {
            "zones": {"s": {"source": "synthetic", "grid": "synthetic-wind", "step_s": 1800}},
            "replay": {"start": start},
        }
        zone = wired(document, tmp_path).store.zones()[0]
        assert zone.series is not None
        readings.append(zone.series.at(START_S + 1800))
    assert isinstance(readings[0], Value)
    assert readings[0] == readings[1]
