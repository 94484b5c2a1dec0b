"""Energy of a placement: prefer nodes that are on anyway, and cores that draw little."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.arrays import IntArray
from extender.core.nodes.table import FloatArray
from extender.core.queue.scoring.carbon import watts_or_mean

_IDLE_SHARE = 0.5
"""Part of a server's peak power that it draws idle (SPECpower results: 30-60 percent for common servers)."""


def energy_cost(used: IntArray, milliwatts: IntArray) -> FloatArray:
    """Cost by row: power of one more core relative to the worst row.

    `used` is int64[n_resources, n_rows]. The idle power of a node on which nothing runs counts with the first
    pod that wakes it.
    """
    watts = watts_or_mean(milliwatts)
    empty = ~used.any(axis=0)
    power = watts * np.where(empty, 1 + _IDLE_SHARE, 1.0)
    return power / power.max() if len(power) and power.max() > 0 else np.zeros(len(power))
