"""Synthetic grids as a source: seeded, so that the product ships data that it may ship."""

from __future__ import annotations

from typing import Final

from carbon_api.sources.base import SourceError
from carbon_api.sources.recorded import Recorded

BEFORE_S: Final = 730 * 86_400
"""History before the replay's start; forecasters use no more."""

AFTER_S: Final = 3 * 366 * 86_400


def synthetic(zone: str, grid: str, seed: int, start_s: float) -> Recorded:
    """Two years of a grid before the day of `start_s`, and three after it.

    The same grid and seed give the same values at the same time, whatever the start. Raises `SourceError` for
    a grid that does not exist.
    """
    raise SourceError(f"{grid}: the generator is not there yet")
