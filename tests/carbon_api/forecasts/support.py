"""Helpers of the forecasters' tests: made-up series, and traces that lie beside the checkout."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carbon_api.forecasts import Forecast, Forecaster
from carbon_api.readings import Kind
from carbon_api.series import Series
from carbon_api.sources.traces import read_trace
from carbon_api.synthetic import generate

DAY_S = 86_400
WEEK_S = 7 * DAY_S
START_S = 18_262 * DAY_S
"""1 January 2020."""

VARIABLE = "CARBON_SCHEDULER_DATA"
DEFAULT = Path(__file__).resolve().parents[4] / "shared" / "data"


def grid(days: int, name: str = "synthetic-wind", seed: int = 3, step_s: int = 3600) -> Series:
    """The first days of 2020 of a synthetic grid."""
    return generate(name, seed, START_S, days * DAY_S // step_s, step_s)


def series(values: object, step_s: int = 3600, start_s: int = START_S) -> Series:
    """A made-up series of zone XX."""
    return Series("XX", Kind.AVERAGE, "invented", step_s, start_s, np.asarray(values, dtype=np.float64))


def with_values(one: Series, values: object) -> Series:
    """The same series with other values."""
    return replace(one, values=np.asarray(values, dtype=np.float64))


def made(forecaster: Forecaster, history: Series, issue_s: float, horizon: int = 48) -> Forecast:
    """A forecast that must exist."""
    found = forecaster.forecast(history, issue_s, horizon)
    assert isinstance(found, Forecast), str(found)
    return found


def same(one: Forecast, other: Forecast) -> bool:
    """Equal in every number."""
    return all(
        np.array_equal(left, right)
        for left, right in ((one.mean, other.mean), (one.low, other.low), (one.high, other.high))
    )


def trace(zone: str, *names: str) -> Series:
    """A recorded trace; skips the calling test where it is not available."""
    named = os.environ.get(VARIABLE)
    paths = [(DEFAULT if named is None else Path(named)) / "carbon" / name for name in names]
    for path in paths:
        if not path.exists():
            if named is not None:
                raise pytest.UsageError(f"{VARIABLE}={named} has no carbon/{path.name}: correct or unset it")
            pytest.skip(f"needs carbon/{path.name}: set {VARIABLE} to the directory that has it")
    return read_trace(paths, zone)[0]
