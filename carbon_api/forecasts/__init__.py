"""Forecasts: what the intensity of a zone will be, seen from a moment. Kept apart from what it was."""

from __future__ import annotations

from typing import Final

from carbon_api.forecasts.base import LONGEST_S, Forecast, Forecaster
from carbon_api.forecasts.blend import Blend
from carbon_api.forecasts.oracle import Oracle
from carbon_api.forecasts.ridge import Ridge
from carbon_api.series import Series

DEFAULT: Final = "ridge"
NAMES: Final = ("ridge", "blend", "oracle")
"""Every method by name. The oracle is never a default: it is made only when asked for by its name."""

__all__ = [
    "DEFAULT",
    "LONGEST_S",
    "NAMES",
    "Blend",
    "Forecast",
    "Forecaster",
    "Oracle",
    "Ridge",
    "UnknownForecaster",
    "forecaster",
]


class UnknownForecaster(ValueError):
    """No method has this name, or it cannot be used here. The text says what to ask for instead."""


def forecaster(name: str = DEFAULT, truth: Series | None = None) -> Forecaster:
    """The forecaster of a name; `truth` is the replayed trace and goes to the oracle only.

    Raises `UnknownForecaster` for other names, and for the oracle where nothing is replayed.
    """
    match name:
        case "ridge":
            return Ridge()
        case "blend":
            return Blend()
        case "oracle" if truth is not None:
            return Oracle(truth)
        case "oracle":
            raise UnknownForecaster("the oracle needs a replayed trace: ask for 'ridge' or 'blend'")
        case _:
            raise UnknownForecaster(f"no forecast method is called {name!r}: use one of {', '.join(NAMES)}")
