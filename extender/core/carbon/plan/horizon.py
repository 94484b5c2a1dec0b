"""The forecast in slots of equal length: what an hour of power emits if it is drawn from a moment on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.carbon.signal import Outlook

Floats = NDArray[np.float64]


class Risk(StrEnum):
    """How far the plan follows an uncertain forecast.

    low        half a standard deviation of the forecast is added to each expected intensity: a delay must
               promise more where less is certain
    moderate   a tenth of one is added
    high       expected intensities alone count
    """

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"


DEVIATIONS: Final = {Risk.LOW: 0.5, Risk.MODERATE: 0.1, Risk.HIGH: 0.0}
"""Standard deviations of the forecast that are added to each expected intensity, by `Risk`."""
SLOT_S: Final = 900.0
"""Length of a slot: short against a run, long against the time a start takes."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True)
class Horizon:
    """Slots from the one in which `now_s` lies. `prices[z, i]` is the intensity of zone z in slot i.

    Prices are gCO2e/kWh as expected, plus what uncertainty adds (`priced`); `expected` are those without it,
    None where they are the same. `starts` slots may be started in;
    those after them serve only runs that last longer than the forecast.
    """

    now_s: float
    first_s: float
    prices: Floats
    starts: int
    expected: Floats | None = None

    @property
    def slots(self) -> int:
        """Number of slots, those beyond the forecast included."""
        return self.prices.shape[1]

    @cached_property
    def start_times(self) -> Floats:
        """When a run planned for each slot starts: at the slot's beginning, in the first slot now."""
        times: Floats = self.first_s + SLOT_S * np.arange(self.slots, dtype=np.float64)
        times[0] = self.now_s
        return times

    @cached_property
    def _edges(self) -> Floats:
        edges: Floats = self.first_s + SLOT_S * np.arange(self.slots + 1, dtype=np.float64)
        return edges

    @cached_property
    def _sums(self) -> Floats:
        return _summed(self.prices)

    @cached_property
    def _expected_sums(self) -> Floats:
        return self._sums if self.expected is None else _summed(self.expected)

    @cached_property
    def flat(self) -> bool:
        """Whether all slots of all zones have the same price."""
        return bool(self.prices.max() == self.prices.min())

    def slot_of(self, time_s: float) -> int:
        """The slot a moment lies in; 0 for the past, `slots` beyond the end."""
        return min(self.slots, max(0, math.floor((time_s - self.first_s) / SLOT_S)))

    def slots_until(self, end_s: float) -> int:
        """Number of slots that begin before a moment, one at least."""
        return min(self.slots, max(1, math.ceil((end_s - self.first_s) / SLOT_S)))

    def run_means(self, zone: int, runtime_s: float, last: int) -> Floats:
        """Mean price over a run of this length, by start slot 0..last.

        A run that ends beyond the last slot is judged by the part before it.
        """
        starts = self.start_times[: last + 1]
        ends = np.minimum(starts + max(runtime_s, 1.0), self._edges[-1])
        edges, sums = self._edges, self._sums[zone]
        emitted = _interpolated(ends, edges, sums) - _interpolated(starts, edges, sums)
        means: Floats = emitted / (ends - starts)
        return means

    def expected_mean(self, zone: int, runtime_s: float, slot: int) -> float:
        """Expected mean intensity over a run of this length from a start slot on, in gCO2e/kWh."""
        start_s = float(self.start_times[slot])
        ends = np.array([start_s, min(start_s + max(runtime_s, 1.0), float(self._edges[-1]))])
        emitted = np.diff(_interpolated(ends, self._edges, self._expected_sums[zone]))
        return float(emitted[0]) / float(ends[1] - ends[0])


def horizon_of(
    outlooks: Sequence[Outlook | None], now: float, risk: float = 0.0, longest_run_s: float = _DAY_S
) -> Horizon:
    """The forecasts of several zones as one horizon. The last row is the mean of all zones that are known.

    A zone without a forecast counts as that mean: it is no reason to wait, to hurry, or to go there.

    Beyond its end a forecast repeats its last day, or its last value where it is shorter than a day.
    `risk` is how many standard deviations are added to each expected value (see `priced`).
    """
    first_s = math.floor(now / SLOT_S) * SLOT_S
    known = [each for each in outlooks if each is not None]
    reach_s = max((each.start_s + each.step_s * len(each.values) for each in known), default=first_s + SLOT_S)
    starts = max(1, math.floor((reach_s - first_s) / SLOT_S))
    slots = starts + math.ceil(longest_run_s / SLOT_S)

    def table(risk: float) -> Floats:
        rows = [
            None if each is None else _in_slots(each, priced(each, risk), first_s, slots) for each in outlooks
        ]
        present = [row for row in rows if row is not None]
        mean = np.mean(present, axis=0) if present else np.ones(slots)
        return np.array([mean if row is None else row for row in [*rows, None]])

    return Horizon(now, first_s, table(risk), starts, table(0.0) if risk else None)


def priced(outlook: Outlook, risk: float) -> Floats:
    """Expected intensities plus `risk` standard deviations each: far hours must promise more than near ones.

    Where the forecast has no intervals, or risk is 0, these are the expected intensities.
    """
    values = np.asarray(outlook.values, dtype=np.float64)
    if risk == 0.0 or not outlook.deviations:
        return values
    return values + risk * np.asarray(outlook.deviations, dtype=np.float64)


def _summed(prices: Floats) -> Floats:
    sums = np.zeros((len(prices), prices.shape[1] + 1))
    np.cumsum(prices * SLOT_S, axis=1, out=sums[:, 1:])
    return sums


def _interpolated(at: Floats, edges: Floats, sums: Floats) -> Floats:
    values: Floats = np.interp(at, edges, sums).astype(np.float64)
    return values


def _in_slots(outlook: Outlook, values: Floats, first_s: float, slots: int) -> Floats:
    middles = first_s + SLOT_S * (np.arange(slots) + 0.5)
    steps = np.floor((middles - outlook.start_s) / outlook.step_s).astype(np.int64)
    day = max(1, round(_DAY_S / outlook.step_s))
    beyond = steps - (len(values) - 1)
    back = np.ceil(beyond / day).astype(np.int64) * day if len(values) >= day else beyond
    steps = np.where(beyond > 0, steps - back, steps)
    result: Floats = values[np.clip(steps, 0, len(values) - 1)]
    return result
