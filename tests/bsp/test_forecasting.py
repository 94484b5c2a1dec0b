"""Forecasts see the past only, and scenarios only the errors that were known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.bsp.core.forecasting import (
    Forecaster,
    ForecastUnusable,
    Persistence,
    Ridge,
    Seasonal,
    outlook,
)

DAY = 12
FORECASTERS: list[Forecaster] = [Persistence(), Seasonal(DAY), Ridge((DAY,))]


def series(length: int = 260, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, length)
    return 30 + 10 * np.sin(2 * np.pi * np.arange(length) / DAY) + noise


@pytest.mark.parametrize("forecaster", FORECASTERS, ids=lambda each: type(each).__name__)
@given(origin=st.integers(150, 250), seed=st.integers(0, 99))
def test_another_future_gives_the_same_forecast(forecaster: Forecaster, origin: int, seed: int) -> None:
    values, other = series(), series()
    other[origin:] = series(seed=seed + 2)[origin:] * 7
    origins = np.arange(140, origin + 1)
    assert (forecaster.paths(values, origins, 5) == forecaster.paths(other, origins, 5)).all()


def test_knowing_the_season_beats_persistence() -> None:
    values, origins = series(), np.arange(150, 250)
    errors = {
        type(each).__name__: np.abs(each.paths(values, origins, 1)[:, 0] - values[origins]).mean()
        for each in FORECASTERS
    }
    assert errors["Ridge"] < errors["Seasonal"] < errors["Persistence"]


def test_too_little_past_is_refused() -> None:
    with pytest.raises(ForecastUnusable, match="more are needed"):
        Ridge().paths(series(), np.arange(40, 50), 3)


@given(row=st.integers(0, 19))
def test_scenarios_see_no_error_that_was_not_known_yet(row: int) -> None:
    values, other = series(), series()
    other[200 + row :] += 50
    one, two = (outlook([each], [Ridge((DAY,))], [200], 20, 4, 60) for each in (values, other))
    assert (one.scenarios(row, 8, 4) == two.scenarios(row, 8, 4)).all()
    assert one.scenarios(row, 8, 4).shape == (8, 4, 1)


def test_scenarios_spread_as_earlier_errors_did() -> None:
    found = outlook([series()], [Ridge((DAY,))], [200], 20, 4, 60)
    spread = found.scenarios(0, 40, 4)[:, 0, 0].std()
    assert spread == pytest.approx(found.errors[:57, 0, 0].std(), rel=0.1)
    with pytest.raises(ForecastUnusable, match="as many past forecasts"):
        found.scenarios(0, 80, 4)
