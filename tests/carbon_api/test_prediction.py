"""Forecasts on demand: any step, kept while nothing changed, and never from a broken forecaster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from carbon_api import forecasts
from carbon_api.clock import WallClock
from carbon_api.forecasts.base import Forecast
from carbon_api.prediction import Predictions
from carbon_api.readings import Kind, Missing, Reason
from carbon_api.series import Series
from carbon_api.sources.base import Answer
from carbon_api.store import Zone
from tests.carbon_api.support import HOUR_S, START_S, Hand, daily

DAYS = 12


@pytest.fixture
def predictions() -> Iterator[Predictions]:
    made = Predictions("blend")
    yield made
    made.close()


def zone(hand: Hand, step_s: int = HOUR_S, recorded: bool = True) -> Zone:
    found = Zone("XX", "XX", Kind.AVERAGE, "test", WallClock(hand), recorded)
    found.put(Answer(series(step_s)))
    return found


def series(step_s: int, level: float = 0.0) -> Series:
    count = DAYS * 86_400 // step_s
    values = np.interp(np.arange(count) * step_s / HOUR_S, np.arange(DAYS * 24), daily(DAYS * 24))
    return Series("XX", Kind.AVERAGE, "test", step_s, int(START_S), values + level)


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
@pytest.mark.parametrize("hours", [1, 5, 24, 25, 96])
async def test_as_many_intervals_as_the_hours_hold(predictions: Predictions, step_s: int, hours: int):
    made = await predictions.get(zone(Hand(START_S + 9.3 * 86_400), step_s), hours)
    assert isinstance(made, Forecast)
    assert (len(made), made.step_s) == (hours * HOUR_S // step_s, step_s)


@pytest.mark.parametrize("step_s", [2 * HOUR_S, 6 * HOUR_S, 24 * HOUR_S])
async def test_coarser_steps_give_a_forecast_or_a_reason(predictions: Predictions, step_s: int):
    made = await predictions.get(zone(Hand(START_S + 9.3 * 86_400), step_s), 1)
    assert isinstance(made, Missing) or len(made) == 1


async def test_a_forecast_is_made_once_an_interval(predictions: Predictions, monkeypatch: pytest.MonkeyPatch):
    hand, made = Hand(START_S + 9 * 86_400), 0
    original = forecasts.Blend.forecast

    def counted(self: Any, *arguments: Any) -> Any:
        nonlocal made
        made += 1
        return original(self, *arguments)

    monkeypatch.setattr(forecasts.Blend, "forecast", counted)
    live = zone(hand, recorded=False)
    for hours in (3, 24, 3, 20):
        await predictions.get(live, hours)
    assert made == 1
    hand.at_s += HOUR_S
    await predictions.get(live, 3)
    assert made == 2
    live.put(Answer(series(HOUR_S, level=50)))  # values were revised
    await predictions.get(live, 3)
    assert made == 3


async def test_a_forecaster_that_breaks_is_a_reason(
    predictions: Predictions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(self: Any, *arguments: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(forecasts.Blend, "forecast", broken)
    made = await predictions.get(zone(Hand(START_S + 9 * 86_400)), 24)
    assert isinstance(made, Missing)
    assert made.reason is Reason.NO_FORECAST
    assert "oops" in caplog.text
    assert "oops" not in made.detail


async def test_no_forecast_is_issued_in_the_future(predictions: Predictions):
    hand = Hand(START_S + 9 * 86_400)
    made = await predictions.get(zone(hand), 24, issued_s=hand.at_s + 1)
    assert isinstance(made, Missing)


async def test_a_zone_of_which_nothing_is_known(predictions: Predictions):
    empty = Zone("XX", "XX", Kind.AVERAGE, "test", WallClock(Hand(START_S)))
    assert await predictions.get(empty, 24) == Missing(Reason.NOT_YET)
    early = zone(Hand(START_S - 1))
    made = await predictions.get(early, 24)
    assert isinstance(made, Missing)
    assert made.reason is Reason.TOO_LITTLE_HISTORY
