"""Intensities of a synthetic grid: its park burns fuel to meet its demand, hour by hour."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from carbon_api.readings import HIGHEST_G_PER_KWH, Kind
from carbon_api.series import Series
from carbon_api.synthetic.grids import Grid, grid_named
from carbon_api.synthetic.weather import DAYS_PER_YEAR, HOUR_S, height_of_sun, noise, sky, wind

SOURCE: Final = "synthetic"
STEPS_S: Final = (300, 900, 1800, 3600)
"""The steps that can be generated."""

# Life-cycle factors, medians of IPCC AR5 WG3 annex III (2014), gCO2e/kWh.
_SOLAR_G: Final = 45.0
_WIND_G: Final = 11.0
_WATER_G: Final = 24.0

_CLOUD_TAU_H: Final = 14.0
_DEMAND_TAU_H: Final = 40.0
_CHANCE_TAU_H: Final = 5.0
_OUTAGE_TAU_H: Final = 24.0 * 20.0

Floats = NDArray[np.float64]


def generate(grid: str, seed: int, start_s: int, count: int, step_s: int = HOUR_S) -> Series:
    """`count` intensities of a synthetic grid from `start_s` (epoch seconds), gCO2e/kWh, none missing.

    The same grid, seed and moment always have the same value, in every requested span. A year of hours
    takes some milliseconds. Raises `UnknownGrid` for a name not in `GRIDS`, `ValueError` for a step not in
    `STEPS_S`, a start that is not a multiple of the step, a negative seed or no values at all.
    """
    park = grid_named(grid)
    if step_s not in STEPS_S:
        raise ValueError(f"steps of a synthetic grid are {', '.join(map(str, STEPS_S))} s, not {step_s}")
    if start_s % step_s:
        raise ValueError(f"a series with a step of {step_s} s cannot start at {start_s}")
    if count < 1 or seed < 0:
        raise ValueError(f"one value at least and a seed from 0 on, not {count} values and seed {seed}")
    middles = start_s + step_s * (np.arange(count, dtype=np.float64) + 0.5)
    values = _intensity(park, seed, middles)
    return Series(grid, Kind.AVERAGE, SOURCE, step_s, start_s, values)


def _intensity(park: Grid, seed: int, moment_s: Floats) -> Floats:
    """Emissions of the park at moments in time, for each kWh that it generates."""

    def chance(channel: str, tau_h: float) -> Floats:
        # One more hour on either side, to interpolate between the middles of hours.
        first = math.floor(moment_s[0] / HOUR_S) - 1
        count = math.floor(moment_s[-1] / HOUR_S) - first + 2
        middles = (first + np.arange(count) + 0.5) * HOUR_S
        return np.interp(moment_s, middles, noise(park.name, seed, channel, first, count, tau_h))

    demand = _demand(park, moment_s) * (1.0 + 0.025 * chance("demand", _DEMAND_TAU_H))
    height = height_of_sun(moment_s, park.latitude, park.longitude)
    sun = park.solar * height * sky(chance("cloud", _CLOUD_TAU_H), park.cloudiness)
    air = park.wind * wind(chance("wind", park.wind_tau_h), moment_s, park.windy_winter)
    steady = park.steady * (1.0 + park.outages * chance("outage", _OUTAGE_TAU_H))

    rest = demand - steady - sun - air
    water = np.clip(rest - park.fuel_floor, 0.0, park.flexible)
    fuel = np.maximum(rest - water, park.fuel_floor)
    # Where sun and wind make more than is needed, they are curtailed, in equal parts.
    kept = np.clip((demand - steady - fuel - water) / np.maximum(sun + air, 1e-9), 0.0, 1.0)
    sun, air = sun * kept, air * kept

    fuel_g = park.fuel_g + park.fuel_slope_g * fuel
    grams = fuel * fuel_g + steady * park.steady_g + water * _WATER_G + sun * _SOLAR_G + air * _WIND_G
    made = fuel + steady + water + sun + air
    values = grams / made * (1.0 + park.chance * chance("chance", _CHANCE_TAU_H))
    return np.round(np.clip(values, 0.0, HIGHEST_G_PER_KWH), 2)


def _demand(park: Grid, moment_s: Floats) -> Floats:
    """Demand by the clock and the calendar, 1 on average: morning and evening peaks, weekends, seasons."""
    local_s = moment_s + park.utc_offset_h * HOUR_S
    hour = local_s / HOUR_S % 24.0
    # 1 January 1970 was a Thursday. Weekends fade in and out over some hours.
    day = (local_s / 86_400.0 + 3.0) % 7.0
    weekend = np.clip(np.minimum((day - 5.0) * 6.0 + 0.5, (7.0 - day) * 6.0 + 0.5), 0.0, 1.0)
    weekend = np.maximum(weekend, np.clip(0.5 - day * 6.0, 0.0, 1.0))
    bells = park.morning * _bell(hour, 9.0, 2.5) + park.evening * _bell(hour, 19.0, 2.2)
    bells -= park.night * _bell(hour, 3.0, 2.8)
    level = (park.morning * 2.5 + park.evening * 2.2 - park.night * 2.8) * math.sqrt(2.0 * math.pi) / 24.0
    level -= park.weekend * 2.0 / 7.0
    winter = park.winter * np.cos(2 * np.pi * (moment_s / 86_400.0 - 15.0) / DAYS_PER_YEAR)
    return 1.0 + bells - park.weekend * weekend - level + winter


def _bell(hour: Floats, centre: float, width: float) -> Floats:
    """A bell on the clock, round midnight too; its width is a standard deviation in hours."""
    distance = (hour - centre + 12.0) % 24.0 - 12.0
    return np.exp(-0.5 * (distance / width) ** 2)
