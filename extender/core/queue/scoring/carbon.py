"""Carbon of a core: intensity of the node's zone times the power of one of its cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from extender.core.nodes.arrays import IntArray
from extender.core.nodes.table import FloatArray

_DIGITS: Final = 9


def carbon_cost(values: Sequence[float | None], zone: IntArray, milliwatts: IntArray) -> FloatArray:
    """Cost by row: grams an hour of one busy core, relative to the dirtiest row.

    `values` are gCO2e/kWh by zone number, None where unknown; `zone` and `milliwatts` are int64[n_rows], 0
    milliwatts meaning unknown. Unknown is neutral: such a row costs the mean of the known ones, and where
    nothing is known every row costs 0.
    """
    known = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    grams = known[zone] * watts_or_mean(milliwatts)
    present = ~np.isnan(grams)
    if not present.any():
        return np.zeros(len(zone))
    top = grams[present].max()
    if top <= 0:
        return np.zeros(len(zone))
    # The mean of equal values may come out a rounding error above them.
    return np.minimum(1.0, np.where(present, grams, grams[present].mean()) / top)


def zone_costs(cost: FloatArray, zone: IntArray, n_zones: int) -> FloatArray:
    """Mean cost by zone, float64[n_zones]: how clean a whole zone is. Infinite for a zone without rows.

    Rounded, so that sums of different length do not make equal zones differ.
    """
    rows = np.bincount(zone, minlength=n_zones)
    total = np.bincount(zone, weights=cost, minlength=n_zones)
    return np.where(rows > 0, np.round(total / np.maximum(rows, 1), _DIGITS), np.inf)


def watts_or_mean(milliwatts: IntArray) -> FloatArray:
    """Watts of a core by row; rows that do not say take the mean of those that do (1 W if none does)."""
    watts = milliwatts / 1000
    said = milliwatts > 0
    return np.where(said, watts, watts[said].mean() if said.any() else 1.0)
