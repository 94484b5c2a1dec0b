"""Prometheus: grid-intensity-go's names, and no sample for what is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from carbon_api.api.prometheus import Intensities
from carbon_api.clock import WallClock
from carbon_api.readings import Kind, Missing, Reason
from carbon_api.series import Series
from carbon_api.sources.base import Answer
from carbon_api.store import Store, Zone
from tests.carbon_api.support import HOUR_S, START_S, Hand, ask, replay_app


async def samples(app: Any) -> dict[tuple[str, str], float]:
    code, text = await ask(app, "/metrics")
    assert code == 200
    return {
        (each.name, each.labels.get("reason", each.labels.get("units", ""))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


async def test_a_value_has_samples_and_a_gap_has_none(tmp_path: Path):
    app = replay_app(tmp_path, hand := Hand(), "2026-03-02T00:15:00Z", [250.5, None, 260, 270])
    assert await samples(app) == {
        ("grid_intensity_carbon_average", "gCO2e per kWh"): 250.5,
        ("grid_intensity_data_age_seconds", ""): 900,
        ("grid_intensity_estimated", ""): 0,
        ("grid_intensity_source_up", ""): 1,
        ("grid_intensity_source_failures_total", ""): 0,
        ("grid_intensity_refused_entries", ""): 0,
    }
    hand.at_s += HOUR_S
    assert await samples(app) == {
        ("grid_intensity_missing", "gap"): 1,
        ("grid_intensity_source_up", ""): 1,
        ("grid_intensity_source_failures_total", ""): 0,
        ("grid_intensity_refused_entries", ""): 0,
    }


def collected(zone: Zone) -> dict[str, float]:
    return {
        each.name: each.value for family in Intensities(Store([zone])).collect() for each in family.samples
    }


def test_a_source_that_fails_is_down_while_its_last_value_is_still_good():
    hand = Hand(START_S + HOUR_S)
    zone = Zone("XX", "XX", Kind.MARGINAL, "test", WallClock(hand), stale_after_s=2 * HOUR_S)
    assert "grid_intensity_carbon_marginal" not in collected(zone)
    flags = np.array([True])
    zone.put(Answer(Series("XX", Kind.MARGINAL, "test", 300, int(START_S), np.array([100.0]), flags)))
    found = collected(zone)
    assert (found["grid_intensity_carbon_marginal"], found["grid_intensity_estimated"]) == (100, 1)
    assert "grid_intensity_carbon_average" not in found
    zone.put(Answer(None, Missing(Reason.SOURCE_DOWN)))
    found = collected(zone)
    assert (found["grid_intensity_carbon_marginal"], found["grid_intensity_source_up"]) == (100, 0)
    assert found["grid_intensity_source_failures_total"] == 1
    hand.at_s += 1.01 * HOUR_S
    found = collected(zone)
    assert "grid_intensity_carbon_marginal" not in found
    assert found["grid_intensity_missing"] == 1
