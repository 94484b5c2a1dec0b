"""Six grids, each a park of power stations and a demand that it has to meet.

The shapes are made, not recorded: no value comes from a trace. `published` names the figures that
the parks were adjusted to; `mean` and `spread` (standard deviation / mean) are results over ten years.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


class UnknownGrid(ValueError):
    """No synthetic grid has this name. The text lists those there are."""


@dataclass(frozen=True)
class Grid:
    """A park. Powers are shares of the mean demand, factors are life-cycle gCO2e/kWh.

    `solar` and `wind` are installed peak powers; `steady` is what runs day and night (nuclear, biomass,
    run-of-river) and `outages` how much that varies over weeks; `flexible` is what reservoirs can add before
    fuel is burnt, `fuel_floor` the fossil power that never stops. Fuel costs `fuel_g`, and `fuel_slope_g`
    more per unit of it that is burnt: the dirtier stations start last. `night`, `morning`, `evening`,
    `weekend` and `winter` say how far demand moves then. `utc_offset_h` is the local clock, without
    daylight saving. `chance` is short noise of everything else, as a share.
    """

    name: str
    title: str
    published: str
    mean_g: float
    spread: float
    latitude: float
    longitude: float
    utc_offset_h: float
    solar: float
    wind: float
    steady: float
    flexible: float
    fuel_floor: float
    fuel_g: float
    fuel_slope_g: float
    steady_g: float = 12.0
    night: float = 0.20
    morning: float = 0.05
    evening: float = 0.12
    weekend: float = 0.08
    winter: float = 0.08
    cloudiness: float = 0.7
    windy_winter: float = 0.35
    wind_tau_h: float = 30.0
    outages: float = 0.0
    chance: float = 0.015
    shape: tuple[str, ...] = ()


_PCAPS: Final = "PCAPS (arXiv 2502.09717, table 1, 2020-2022)"
_EMBER: Final = "Ember, life-cycle, 2023 (through Our World in Data and Statista)"

GRIDS: Final[dict[str, Grid]] = {
    grid.name: grid
    for grid in (
        Grid(
            name="synthetic-solar",
            title="Solar dip and evening ramp, like California",
            published=f"mean 274, spread 0.309: {_PCAPS}; daily shape: the duck curve of CAISO (2016)",
            mean_g=274.0,
            spread=0.309,
            latitude=36.0,
            longitude=-119.5,
            utc_offset_h=-8.0,
            solar=0.506,
            wind=0.354,
            steady=0.20,
            flexible=0.08,
            fuel_floor=0.05,
            fuel_g=479.2,
            fuel_slope_g=60.0,
            night=0.08,
            morning=0.03,
            evening=0.10,
            winter=-0.08,
            cloudiness=0.25,
            windy_winter=-0.2,
            outages=0.35,
            shape=("cleanest around local noon", "steepest rise at sunset", "flat nights"),
        ),
        Grid(
            name="synthetic-wind",
            title="Wind weather over coal and gas, like Germany",
            published=f"mean 440, spread 0.280: {_PCAPS}",
            mean_g=440.0,
            spread=0.280,
            latitude=51.0,
            longitude=10.0,
            utc_offset_h=1.0,
            solar=0.423,
            wind=0.676,
            steady=0.16,
            flexible=0.03,
            fuel_floor=0.10,
            fuel_g=717.9,
            fuel_slope_g=60.0,
            steady_g=60.0,
            shape=("days of calm and storm", "a dip at noon in summer", "cleaner weekends"),
        ),
        Grid(
            name="synthetic-hydro",
            title="Water, nearly flat, like Norway",
            published=f"mean 30: {_EMBER}; no published spread was read, 0.20 is a choice",
            mean_g=30.0,
            spread=0.20,
            latitude=61.0,
            longitude=9.0,
            utc_offset_h=1.0,
            solar=0.0,
            wind=0.287,
            steady=0.4,
            flexible=0.66,
            fuel_floor=0.0148,
            fuel_g=450.0,
            fuel_slope_g=0.0,
            steady_g=22.0,
            night=0.12,
            morning=0.06,
            evening=0.05,
            winter=0.12,
            chance=0.05,
            shape=("low and nearly flat", "small imports in cold spells"),
        ),
        Grid(
            name="synthetic-coal",
            title="Coal, high and flat, like South Africa or India",
            published=f"mean 713, spread 0.046: South Africa, {_PCAPS}; India also has 713: {_EMBER}",
            mean_g=713.0,
            spread=0.046,
            latitude=-26.0,
            longitude=28.0,
            utc_offset_h=2.0,
            solar=0.13,
            wind=0.108,
            steady=0.06,
            flexible=0.02,
            fuel_floor=0.5,
            fuel_g=825.5,
            fuel_slope_g=0.0,
            night=0.14,
            evening=0.07,
            weekend=0.05,
            winter=-0.05,
            cloudiness=0.4,
            windy_winter=0.0,
            chance=0.008,
            shape=("high and flat", "a shallow dip at noon"),
        ),
        Grid(
            name="synthetic-nuclear",
            title="Nuclear with gas at the peaks, like Ontario or France",
            published=f"mean 50, spread 0.654: Ontario, {_PCAPS}; France has 56: {_EMBER}",
            mean_g=50.0,
            spread=0.654,
            latitude=46.0,
            longitude=2.5,
            utc_offset_h=1.0,
            solar=0.10,
            wind=0.12,
            steady=0.72,
            flexible=0.1713,
            fuel_floor=0.01,
            fuel_g=453.3,
            fuel_slope_g=0.0,
            steady_g=14.0,
            outages=0.06,
            shape=("low at night, peaks of gas morning and evening", "dirtier winters and outages"),
        ),
        Grid(
            name="synthetic-mixed",
            title="Sun, wind, nuclear and gas in even parts, like Spain",
            published="mean 200 and spread 0.34 are choices between those of France and Germany",
            mean_g=200.0,
            spread=0.34,
            latitude=40.0,
            longitude=-3.7,
            utc_offset_h=1.0,
            solar=0.392,
            wind=0.599,
            steady=0.25,
            flexible=0.08,
            fuel_floor=0.06,
            fuel_g=417.7,
            fuel_slope_g=60.0,
            cloudiness=0.5,
            shape=("a dip at noon", "an evening ramp", "days of wind"),
        ),
    )
}
"""The grids by name; each name is also the zone of the series made from it."""


def grid_named(name: str) -> Grid:
    """The grid of a name. Raises `UnknownGrid`."""
    if name not in GRIDS:
        raise UnknownGrid(f"no synthetic grid is called {name!r}: use one of {', '.join(GRIDS)}")
    return GRIDS[name]
