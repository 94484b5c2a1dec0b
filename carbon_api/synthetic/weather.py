"""Sun, wind and chance, as functions of absolute time.

Noise is drawn in blocks that are seeded by their place in time, and smoothed over a bounded past. Any two
spans therefore agree where they overlap, and a span costs nothing for the time before it.
"""

from __future__ import annotations

import math
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOUR_S: Final = 3600
DAYS_PER_YEAR: Final = 365.25

_BLOCK: Final = 1024
"""Hours of noise that are drawn at once."""

_REACH: Final = 6
"""Noise older than this many time constants is forgotten."""


def noise(grid: str, seed: int, channel: str, first: int, count: int, tau_h: float) -> NDArray[np.float64]:
    """Standard normal noise for the hours `first`.. since the epoch, correlated over `tau_h` hours.

    One value an hour. Each `channel` of each grid and seed is independent of the others.
    """
    kernel = np.exp(-np.arange(math.ceil(_REACH * tau_h)) / tau_h)
    kernel /= np.sqrt((kernel**2).sum())
    start = first - len(kernel) + 1
    blocks = range(start // _BLOCK, (first + count - 1) // _BLOCK + 1)
    white = np.concatenate([_block(grid, seed, channel, block) for block in blocks])
    used = white[start - blocks[0] * _BLOCK :][: count + len(kernel) - 1]
    return _convolved(used, kernel)


def _block(grid: str, seed: int, channel: str, block: int) -> NDArray[np.float64]:
    name = zlib.crc32(f"{grid}/{channel}".encode())
    # Seeds are not negative; blocks before 1970 are.
    return np.random.default_rng((seed, name, block & 0xFFFF_FFFF)).standard_normal(_BLOCK)


def _convolved(signal: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """`signal` under a sliding `kernel`, where both overlap fully."""
    return np.convolve(signal, kernel, mode="valid")


def height_of_sun(moment_s: NDArray[np.float64], latitude: float, longitude: float) -> NDArray[np.float64]:
    """Sine of the sun's height above the horizon (0 at night) at moments in epoch seconds."""
    day = moment_s / 86_400.0
    # Day 0 is 1 January 1970; the declination is lowest ten days before a new year.
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (day + 10.0) / DAYS_PER_YEAR)
    hour_angle = 2 * np.pi * (day + longitude / 360.0) - np.pi
    phi = math.radians(latitude)
    height = math.sin(phi) * np.sin(declination) + math.cos(phi) * np.cos(declination) * np.cos(hour_angle)
    return np.maximum(height, 0.0)


def wind(noise_: NDArray[np.float64], moment_s: NDArray[np.float64], season: float) -> NDArray[np.float64]:
    """Output of a wind fleet as a share of what is installed, 0..1, from normal noise.

    A logistic curve: calm and storm are both flat, in between it is steep. `season` is how much windier
    winter is than summer (northern hemisphere).
    """
    winter = np.cos(2 * np.pi * (moment_s / 86_400.0 - 20.0) / DAYS_PER_YEAR)
    return 1.0 / (1.0 + np.exp(1.2 - 1.25 * noise_ - season * winter))


def sky(noise_: NDArray[np.float64], cloudiness: float) -> NDArray[np.float64]:
    """Share of clear-sky output that gets through clouds, from normal noise."""
    return 1.0 - cloudiness / (1.0 + np.exp(-1.5 * noise_))
