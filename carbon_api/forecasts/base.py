"""The protocol of a forecaster and its answer: a forecast with intervals, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from carbon_api.readings import HIGHEST_G_PER_KWH, Missing
from carbon_api.series import Series

Floats: TypeAlias = NDArray[np.float64]

COVERAGE: Final = 0.90
"""How often an actual value is meant to lie within `low..high` of its forecast."""

LONGEST_S: Final = 96 * 3600
"""No forecaster here looks further ahead than four days."""


@dataclass(frozen=True)
class Forecast:
    """Expected intensities of a zone in gCO2e/kWh: one every `step_s` from `start_s` (epoch seconds).

    `mean` is the best single number for each interval, `low` and `high` hold the actual value in nine of ten
    cases. `start_s` is the start of the first interval that was not over when the forecast was issued, and
    `method` the name of what made it. Nothing in it is ever an actual value, except by the oracle.
    Raises `ValueError` for numbers that cannot be a forecast.
    """

    zone: str
    issued_s: float
    step_s: int
    start_s: int
    mean: Floats
    low: Floats
    high: Floats
    method: str

    def __post_init__(self) -> None:
        if not (self.mean.shape == self.low.shape == self.high.shape and self.mean.ndim == 1 and len(self)):
            raise ValueError("a forecast has equally many means, lows and highs, and at least one")
        # Written so that NaN fails: every comparison with it is false.
        ordered = (self.low >= 0.0) & (self.low <= self.mean) & (self.mean <= self.high)
        if not (ordered & (self.high <= HIGHEST_G_PER_KWH)).all():
            raise ValueError(f"a forecast needs 0 <= low <= mean <= high <= {HIGHEST_G_PER_KWH:.0f} g/kWh")

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def times(self) -> NDArray[np.int64]:
        """Start of each interval in epoch seconds."""
        return self.start_s + self.step_s * np.arange(len(self), dtype=np.int64)

    def bounds(self) -> tuple[float, float]:
        """Lowest and highest intensity to expect within the forecast, (L, U), in gCO2e/kWh.

        These are the extremes of `mean`, not of the intervals. On recorded grids they lay within 13 % of the
        extremes that came; the outermost ends of the intervals were up to 43 % off, and policies that trust
        those would wait for hours that never come.
        """
        return float(self.mean.min()), float(self.mean.max())


class Forecaster(Protocol):
    """Looks ahead from what was known at a moment, and from nothing else."""

    @property
    def name(self) -> str:
        """The name by which requests choose it."""
        ...

    def forecast(self, history: Series, issue_s: float, horizon: int) -> Forecast | Missing:
        """The next `horizon` intervals of `history`'s zone, seen from `issue_s` (epoch seconds).

        Uses only intervals of `history` that are over at `issue_s`; later ones are ignored, so a replay may
        pass the whole series. Answers `Missing` where too little is known. Raises `ValueError` for a horizon
        that is not positive or longer than `LONGEST_S`.
        """
        ...


def first_interval(history: Series, issue_s: float) -> int:
    """Start of the first interval that is not over at `issue_s`, on the grid of `history`."""
    return history.start_s + history.step_s * math.floor((issue_s - history.start_s) / history.step_s)


def check_horizon(history: Series, horizon: int) -> None:
    """Raises `ValueError` unless the horizon is positive and within `LONGEST_S`."""
    longest = LONGEST_S // history.step_s
    if not 1 <= horizon <= longest:
        raise ValueError(
            f"a forecast of {history.zone} has 1 to {longest} steps of {history.step_s} s, not {horizon}"
        )
