"""Makes the zones and sources that the settings ask for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from carbon_api import times
from carbon_api.clock import Clock, ReplayClock, WallClock
from carbon_api.poller import Poller
from carbon_api.settings import (
    ElectricityMapsZone,
    EntsoeZone,
    ReplayZone,
    Settings,
    SyntheticZone,
    UkZone,
    WattTimeZone,
    ZoneSettings,
)
from carbon_api.sources import electricity_maps, entsoe, uk, watttime
from carbon_api.sources.base import Answer, Source, SourceError
from carbon_api.sources.http import Web
from carbon_api.sources.keys import KeyFile
from carbon_api.sources.recorded import Recorded, replay
from carbon_api.sources.synthetic import synthetic
from carbon_api.store import Store, Zone

_log = logging.getLogger(__name__)

_ENOUGH_HISTORY_S: Final = 50 * 86_400


@dataclass(frozen=True)
class Wiring:
    """Zones, and the pollers that keep the live ones up to date."""

    store: Store
    pollers: list[Poller]
    clock: Clock


def wire(
    settings: Settings,
    web: Web,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
    random: Random | None = None,
) -> Wiring:
    """Read the traces and set the sources up. Raises `SourceError` that names the zone and the remedy."""
    recorded: dict[str, Recorded] = {}
    live: dict[str, tuple[Source, str]] = {}
    for zone_id, zone in settings.zones.items():
        try:
            if isinstance(zone, ReplayZone):
                recorded[zone_id] = replay(zone.files, zone.zone or zone_id, zone.factors == "direct")
            elif isinstance(zone, SyntheticZone):
                recorded[zone_id] = synthetic(zone.grid, zone.seed, _first_s(settings, wall), zone.step_s)
            else:
                live[zone_id] = _live(zone_id, zone, web, wall)
        except SourceError as problem:
            raise SourceError(f"zone {zone_id}: {problem}") from None
    clock = _replay_clock(settings, recorded, wall, monotonic) if recorded else WallClock(wall)
    zones: list[Zone] = []
    pollers: list[Poller] = []
    for zone_id, part in settings.zones.items():
        name = part.name or zone_id
        if zone_id in recorded:
            source = recorded[zone_id]
            zone = Zone(zone_id, name, source.kind, source.name, clock, True, settings.replay.wrap)
            zone.put(Answer(source.series, refused=source.refused))
        else:
            assert not isinstance(part, ReplayZone | SyntheticZone)
            source, provider_zone = live[zone_id]
            zone = Zone(zone_id, name, source.kind, source.name, WallClock(wall))
            zone.stale_after_s = part.stale_after_s
            pollers.append(
                Poller(
                    zone,
                    source,
                    provider_zone,
                    part.poll_interval_s,
                    part.history_days * 86_400.0,
                    random or Random(),  # noqa: S311 - spreads polls; no secret
                )
            )
        zones.append(zone)
    return Wiring(Store(zones), pollers, clock)


def _first_s(settings: Settings, wall: Callable[[], float]) -> float:
    """The moment that synthetic grids must cover."""
    start_s = settings.replay.start_s()
    return wall() if start_s is None else start_s


def _live(zone_id: str, zone: ZoneSettings, web: Web, wall: Callable[[], float]) -> tuple[Source, str]:
    """A live source, and the zone's name there."""
    match zone:
        case ElectricityMapsZone():
            url, direct = zone.url or electricity_maps.URL, zone.factors == "direct"
            key = KeyFile(zone.key_file)
            return electricity_maps.ElectricityMaps(web, key, url, direct, wall), zone.zone or zone_id
        case WattTimeZone():
            names = KeyFile(zone.username_file), KeyFile(zone.password_file)
            return watttime.WattTime(web, *names, zone.url or watttime.URL), zone.zone or zone_id
        case UkZone():
            return uk.UkCarbonIntensity(web, zone.url or uk.URL), uk.ZONE
        case EntsoeZone():
            key = KeyFile(zone.key_file)
            return entsoe.Entsoe(web, key, zone.url or entsoe.URL, zone.factors), zone.zone
        case _:
            raise AssertionError(f"{type(zone).__name__} is not a live source")


def _replay_clock(
    settings: Settings,
    recorded: dict[str, Recorded],
    wall: Callable[[], float],
    monotonic: Callable[[], float],
) -> ReplayClock:
    """The clock that all recorded zones share.

    It starts where the settings say; else now, if every trace covers it; else at their first common moment.
    """
    first_s = max(source.series.start_s for source in recorded.values())
    end_s = min(source.series.end_s for source in recorded.values())
    start_s = settings.replay.start_s()
    if start_s is None:
        if first_s >= end_s:
            raise SourceError("the traces have no common time; set replay.start to where one shall begin")
        start_s = wall() if first_s <= wall() < end_s else float(first_s)
    for zone_id, source in recorded.items():
        series = source.series
        if not series.start_s <= start_s < series.end_s and not (
            settings.replay.wrap and start_s >= series.start_s
        ):
            _log.warning(
                "zone %s: the replay starts at %s, outside its trace (%s to %s): it has no value there",
                zone_id, times.iso(start_s), times.iso(series.start_s), times.iso(series.end_s),
            )  # fmt: skip
        elif start_s - series.start_s < _ENOUGH_HISTORY_S:
            _log.warning(
                "zone %s: the replay starts %.1f days into its trace; forecasts need one day, and are better "
                "with %d: begin later with replay.start",
                zone_id, (start_s - series.start_s) / 86_400, _ENOUGH_HISTORY_S // 86_400,
            )  # fmt: skip
    return ReplayClock(start_s, settings.replay.speed, monotonic)
