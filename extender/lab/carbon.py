"""Carbon in the demo: the real carbon service on synthetic grids, what is held, and what the ledger says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.kpis import collect
from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.lab.service_process import ServiceApi
from extender.lab.workload import ZONES

GRIDS: Final = ("synthetic-solar", "synthetic-wind", "synthetic-coal")
SPEED: Final = 3600.0
"""An hour of the grid in a second: half a minute covers a day and a bit."""
START: Final = "2026-03-03T09:00:00Z"
"""One in the night where the solar grid lies: dirty hours first, the sun from the sixth second on."""
HOURS: Final = 24

_POLL_S: Final = 0.5
_FLUSH_S: Final = 1.0
_WEIGHT: Final = 0.5
_PERCENTILE: Final = 50
_END_S: Final = 1e11
_BY_ZONE: Final = """
    SELECT zone, SUM(energy_kwh), COALESCE(SUM(CASE WHEN unknown_reason = '' THEN carbon_g END), 0)
    FROM bookings WHERE kind = 'actual' GROUP BY zone ORDER BY zone
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """One grid in g/kWh, hour by hour: `past` ends with the present value, `ahead` is forecast."""

    past: Sequence[float | None] = ()
    ahead: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Booked:
    """Sums of the ledger: kWh and gCO2e by carbon zone.

    `saved_g` is the saving of those that may wait for clean power, against the same work on the same nodes at
    submission, which would have cost `at_once_g`. (The others wait for room, not for carbon.)
    """

    kwh_by_zone: Mapping[str, float] = field(default_factory=dict[str, float])
    g_by_zone: Mapping[str, float] = field(default_factory=dict[str, float])
    saved_g: float = 0.0
    at_once_g: float = 0.0
    savings_unknown: int = 0

    @property
    def kwh(self) -> float:
        """Energy in all."""
        return sum(self.kwh_by_zone.values())

    @property
    def saved_percent(self) -> float:
        """The saving in percent of what starting at once would have cost."""
        return 100 * self.saved_g / self.at_once_g if self.at_once_g > 0 else 0.0

    @property
    def grams(self) -> float:
        """Carbon in all, as far as the intensity is known."""
        return sum(self.g_by_zone.values())


@dataclass
class CarbonView:
    """The carbon signal now; `held` as in the extender's /v1/carbon, by app id."""

    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])
    held: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    booked: Booked | None = None


def write_grids(directory: Path) -> Path:
    """The carbon service's settings: one synthetic grid for each zone of the cluster."""
    path = directory / "carbon.yaml"
    settings = {
        "listen_port": 0,
        "replay": {"start": START, "speed": SPEED},
        "zones": {grid: {"source": "synthetic", "grid": grid} for grid in GRIDS},
    }
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def service_flags(carbon_url: str, ledger: Path) -> list[str]:
    """Flags of the extender: where the carbon service is (empty: none), the zones' grids, the ledger."""
    flags = ["--accounting.ledger", str(ledger), "--accounting.flush-s", str(_FLUSH_S)]
    if carbon_url:
        places = json.dumps(dict(zip(ZONES, GRIDS, strict=True)))
        flags += ["--carbon.url", carbon_url, "--carbon.zone-by-place", places]
        flags += ["--carbon.poll-s", str(_POLL_S), "--scoring.carbon-weight", str(_WEIGHT)]
        flags += ["--holds.threshold-percentile", str(_PERCENTILE)]
    return flags


async def read_curves(api: ServiceApi) -> dict[str, Curve]:
    """The grids' last and next hours; a grid the service cannot tell of is left out."""

    async def curve(grid: str) -> Curve | None:
        with suppress(aiohttp.ClientError, TimeoutError, KeyError):
            past, ahead = await asyncio.gather(
                api.get(f"/v1/history?zone={grid}"), api.get(f"/v1/forecast?zone={grid}&hours={HOURS}")
            )
            values = [[each.get("g_per_kwh") for each in told.get("points", ())] for told in (past, ahead)]
            # The forecast's first step is the hour that has begun, which history ends with.
            return Curve(values[0], values[1][1:])
        return None

    curves = await asyncio.gather(*map(curve, GRIDS))
    return {grid: each for grid, each in zip(GRIDS, curves, strict=True) if each is not None}


def read_booked(path: Path, flexible: Container[str]) -> Booked | None:
    """Sums of the ledger; None while it cannot be read. `flexible` are ids of applications that may wait."""
    try:
        ledger = Ledger(str(path), create=False)
    except LedgerError:
        return None
    try:
        rows = list(ledger.select(_BY_ZONE))
        apps = [each for each in collect(ledger, 0.0, _END_S).applications if each.row.app.app_id in flexible]
    except LedgerError:
        return None
    finally:
        ledger.close()
    return Booked(
        {zone or "(no zone)": kwh for zone, kwh, _ in rows},
        {zone or "(no zone)": grams for zone, _, grams in rows},
        sum(each.saving.total_g for each in apps if not isinstance(each.saving, Missing)),
        sum(
            each.baseline.carbon_g
            for each in apps
            if not isinstance(each.saving, Missing) and not isinstance(each.baseline, Missing)
        ),
        sum(1 for each in apps if isinstance(each.saving, Missing)),
    )


def epoch_s(moment: str) -> float:
    """Seconds since the epoch of a time the API tells."""
    return datetime.fromisoformat(moment).timestamp()


def sparkline(curve: Curve, width: int) -> tuple[str, str]:
    """Past (its last character is the present) and forecast as bars, about `width` characters in all."""
    half = max(1, width // 2)
    past, ahead = list(curve.past)[-half:], list(curve.ahead)[: width - half]
    known = [each for each in (*past, *ahead) if each is not None]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)

    def mark(value: float | None) -> str:
        if value is None:
            return " "
        return "▁▂▃▄▅▆▇█"[round(7 * (value - low) / span) if span > 0 else 0]

    return "".join(map(mark, past)), "".join(map(mark, ahead))
