"""A small bulk-synchronous job without files: members under Amdahl's law, work that rises and falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.profile import Profile
from extender.bsp.core.rules import Rules
from extender.bsp.core.surfaces import SplineSurface

Floats = NDArray[np.float64]

SMALL = Rules(total_millicores=6000, penalty_s=3.0)


def profile(members: int = 3, wiggle: float = 0.0) -> Profile:
    """Seconds = size x (serial part + parallel part / cores); `wiggle` makes some CPU steps slower."""
    sizes, millicores = np.arange(10.0, 51.0, 5.0), np.arange(1000.0, 5001.0, 500.0)
    serial = np.linspace(0.05, 0.4, members)[:, None, None]
    durations = sizes[:, None] * (serial + (1 - serial) * 1000 / millicores)
    durations = durations * (1 + wiggle * (-1.0) ** np.arange(len(millicores)))
    return Profile(tuple(f"m{each}" for each in range(members)), sizes, millicores, durations)


def surface(members: int = 3, wiggle: float = 0.0) -> SplineSurface:
    """The spline through it."""
    return SplineSurface(profile(members, wiggle))


def work(steps: int, members: int = 3, leads: int = 1, seed: int = 1) -> Floats:
    """Sizes `[step, lead, member]` between 10 and 50: waves of different length, with noise."""
    random = np.random.default_rng(seed)
    at = np.arange(steps + leads)[:, None] / np.linspace(5, 11, members)
    series = np.clip(30 + 15 * np.sin(at) + random.normal(0, 2, (steps + leads, members)), 10, 50)
    return np.stack([series[lead : lead + steps] for lead in range(leads)], axis=1)
