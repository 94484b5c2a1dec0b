"""Sources of the providers, with recorded answers."""

from __future__ import annotations

from pathlib import Path

from carbon_api.sources.base import Source
from carbon_api.sources.electricity_maps import ElectricityMaps
from carbon_api.sources.entsoe import Entsoe
from carbon_api.sources.http import Web
from carbon_api.sources.keys import KeyFile
from carbon_api.sources.uk import UkCarbonIntensity
from carbon_api.sources.watttime import WattTime
from tests.carbon_api.documents import (
    EIC,
)
from tests.carbon_api.support import START_S, Hand, key_file

NOW_S = START_S + 5 * 3600


def source(name: str, client: Web, url: str, path: Path) -> Source:
    key = KeyFile(key_file(path))
    match name:
        case "electricity-maps":
            return ElectricityMaps(client, key, url, wall=lambda: NOW_S)
        case "watttime":
            return WattTime(client, key, key, url, Hand())
        case "uk-carbon-intensity":
            return UkCarbonIntensity(client, url)
        case _:
            return Entsoe(client, key, url)


ZONES = {"electricity-maps": "XX", "watttime": "CAISO_NORTH", "uk-carbon-intensity": "GB", "entso-e": EIC}
