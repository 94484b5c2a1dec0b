"""Life-cycle emission factors by type of generation, for sources that publish the mix and not its intensity.

Medians of IPCC AR5 (2014), Working Group III, Annex III, table A.III.2, in gCO2e/kWh of electricity. Oil has
no row there; 650 is the value Electricity Maps uses, after the UK Parliamentary Office of Science and
Technology. Thermal types without a name (waste, other) count 700, Electricity Maps' assumption for unknown
plants. Lignite, oil shale and peat count as coal, which is too low for them: override them where they matter.
"""

from __future__ import annotations

from typing import Final

_COAL, _GAS, _OIL, _BIOMASS, _THERMAL = 820.0, 490.0, 650.0, 230.0, 700.0
_HYDRO, _OCEAN, _NUCLEAR, _SOLAR, _GEOTHERMAL = 24.0, 17.0, 12.0, 48.0, 38.0
_WIND_OFFSHORE, _WIND_ONSHORE = 12.0, 11.0

FACTORS_G_PER_KWH: Final[dict[str, float]] = {
    "B01": _BIOMASS,
    "B02": _COAL,  # brown coal, lignite
    "B03": _GAS,  # coal-derived gas
    "B04": _GAS,
    "B05": _COAL,  # hard coal
    "B06": _OIL,
    "B07": _COAL,  # oil shale
    "B08": _COAL,  # peat
    "B09": _GEOTHERMAL,
    "B11": _HYDRO,  # run-of-river and poundage
    "B12": _HYDRO,  # water reservoir
    "B13": _OCEAN,
    "B14": _NUCLEAR,
    "B15": _BIOMASS,  # other renewable
    "B16": _SOLAR,
    "B17": _THERMAL,  # waste
    "B18": _WIND_OFFSHORE,
    "B19": _WIND_ONSHORE,
    "B20": _THERMAL,  # other
}
"""Factor of each generation type (`psrType`) of ENTSO-E's code list."""

STORAGE: Final = frozenset({"B10", "B25"})
"""Pumped storage and batteries: their power was generated before, and is counted where it was."""
