"""Synthetic grids as a source: seeded, so that the product ships data that it may ship."""

from __future__ import annotations

import math
from typing import Final

from carbon_api.sources.base import SourceError
from carbon_api.sources.recorded import Recorded
from carbon_api.synthetic import UnknownGrid, generate

BEFORE_DAYS: Final = 730
"""History before the replay's start; forecasters use no more."""

AFTER_DAYS: Final = 5 * 366
_DAY_S: Final = 86_400


def synthetic(grid: str, seed: int, start_s: float, step_s: int = 3600) -> Recorded:
    """Two years of a grid before the day of `start_s`, and five after it.

    The same grid and seed give the same values at the same time, whatever the start. Raises `SourceError` for
    a grid that does not exist.
    """
    first_s = (math.floor(start_s / _DAY_S) - BEFORE_DAYS) * _DAY_S
    count = (BEFORE_DAYS + AFTER_DAYS) * _DAY_S // step_s
    try:
        return Recorded(generate(grid, seed, first_s, count, step_s))
    except UnknownGrid as problem:
        raise SourceError(f"grid: {problem}") from None
