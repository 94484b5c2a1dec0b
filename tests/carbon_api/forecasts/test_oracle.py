"""The oracle tells the truth, only on replays, only when asked for by name."""

from __future__ import annotations

import numpy as np
import pytest

from carbon_api.forecasts import UnknownForecaster, forecaster
from carbon_api.readings import Missing, Reason
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, made, series, with_values


def test_oracle_answers_the_future_of_the_trace() -> None:
    truth = grid(5)
    found = made(forecaster("oracle", truth), truth.window(0, START_S + DAY_S), START_S + DAY_S + 60)
    np.testing.assert_array_equal(found.mean, truth.values[24:72])
    assert found.method == "oracle"
    assert found.bounds() == (truth.values[24:72].min(), truth.values[24:72].max())


def test_oracle_needs_a_trace() -> None:
    with pytest.raises(UnknownForecaster, match="replayed trace"):
        forecaster("oracle")


def test_oracle_gets_shorter_at_the_end_and_then_ends() -> None:
    truth = grid(5)
    oracle = forecaster("oracle", truth)
    assert len(made(oracle, truth, truth.end_s - 7200)) == 2
    past = oracle.forecast(truth, truth.end_s, 48)
    assert isinstance(past, Missing)
    assert past.reason is Reason.NOT_COVERED
    before = oracle.forecast(truth, START_S - 7200, 48)
    assert isinstance(before, Missing)
    assert before.reason is Reason.NOT_COVERED


def test_oracle_does_not_invent_what_the_trace_lacks() -> None:
    truth = grid(5)
    values = truth.values.copy()
    values[30] = np.nan
    found = forecaster("oracle", with_values(truth, values)).forecast(truth, START_S + DAY_S, 48)
    assert isinstance(found, Missing)
    assert found.reason is Reason.GAP


def test_oracle_refuses_another_zone() -> None:
    with pytest.raises(ValueError, match="the oracle knows"):
        forecaster("oracle", grid(5)).forecast(series(np.ones(48)), START_S + DAY_S, 4)
