"""Fragmentation: what is left on a node should be usable, so cpu and memory should run out together."""

from __future__ import annotations

import numpy as np

from extender.core.nodes.arrays import IntArray
from extender.core.nodes.table import FloatArray


def fragmentation_cost(free: IntArray, allocatable: IntArray) -> FloatArray:
    """Cost by row: difference of the free shares of cpu and memory, 0..1.

    Both are int64[n_resources, n_rows] with cpu and memory in the first two rows.
    """
    shares = np.clip(free[:2] / np.maximum(allocatable[:2], 1), 0.0, 1.0)
    return np.abs(shares[0] - shares[1])
