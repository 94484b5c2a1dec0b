"""A power grid in the simulation: intensities as they came, and the forecasts that were issued meanwhile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.carbon.signal import Signal

Floats = NDArray[np.float64]
KWH_J: Final = 3.6e6
_ORACLE_STEPS: Final = 48


@dataclass(frozen=True, eq=False)
class Grid:
    """Carbon intensity of one zone in gCO2e/kWh: `values[i]` holds for `step_s` from `start_s + i * step_s`.

    `forecasts[i]` are the means of step i and the steps after it, as they were expected when step i began;
    `lows` and `highs` are the ends of their intervals, or None. NaN stands where there was no forecast.
    Without `forecasts` the future itself is the forecast: that is an oracle, and no service ever has one. NaN
    in `values`: the intensity is unknown.
    """

    zone: str
    start_s: float
    step_s: float
    values: Floats
    forecasts: Floats | None = None
    lows: Floats | None = None
    highs: Floats | None = None

    def __post_init__(self) -> None:
        if self.forecasts is not None and len(self.forecasts) != len(self.values):
            raise ValueError(
                f"{self.zone}: {len(self.forecasts)} forecasts for {len(self.values)} values; one a step"
            )
        object.__setattr__(self, "_sums", np.concatenate(([0.0], np.cumsum(self.values * self.step_s))))

    @property
    def end_s(self) -> float:
        """End of the last step."""
        return self.start_s + len(self.values) * self.step_s

    def grams(self, watts: float, from_s: float, until_s: float) -> float:
        """Emissions of a steady power between two moments, in grams of CO2e; NaN where a value is unknown.

        Raises `ValueError` outside of the trace.
        """
        if from_s < self.start_s or until_s > self.end_s:
            raise ValueError(
                f"{self.zone}: the trace covers {self.start_s:.0f} to {self.end_s:.0f},"
                f" not {from_s:.0f} to {until_s:.0f}"
            )
        return watts * (self._integral(until_s) - self._integral(from_s)) / KWH_J

    def mean(self, from_s: float, until_s: float) -> float:
        """Mean intensity between two different moments."""
        return self.grams(KWH_J, from_s, until_s) / (until_s - from_s)

    def signal(self, step: int) -> Signal:
        """The carbon service's answer at the beginning of a step."""
        at_s = self.start_s + step * self.step_s
        value = float(self.values[step])
        if math.isnan(value):
            return Signal(self.zone, at_s, None, "the trace has a gap here")
        rows = self.values[step : step + _ORACLE_STEPS] if self.forecasts is None else self.forecasts[step]
        gaps = np.flatnonzero(np.isnan(rows))
        known = int(gaps[0]) if len(gaps) else len(rows)
        low, high = (
            () if each is None else tuple(each[step, :known].tolist()) for each in (self.lows, self.highs)
        )
        return Signal(
            self.zone,
            at_s,
            value,
            forecast=tuple(rows[:known].tolist()),
            forecast_start_s=at_s,
            step_s=self.step_s,
            forecast_low=low,
            forecast_high=high,
        )

    def _integral(self, time_s: float) -> float:
        """Intensity summed up from the start, in g/kWh * s."""
        sums: Floats = self._sums  # type: ignore[attr-defined]
        step, rest = divmod(time_s - self.start_s, self.step_s)
        row = int(step)
        inside = float(self.values[row]) * rest if rest else 0.0
        return float(sums[row]) + inside
