"""Forecasts on demand: computed beside the event loop, one at a time, and kept for a while."""

from __future__ import annotations

import asyncio
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple

from carbon_api import forecasts
from carbon_api.forecasts.base import LONGEST_S, Forecast, Forecaster
from carbon_api.readings import Missing, Reason
from carbon_api.series import Series
from carbon_api.store import JUST_AFTER_S, Zone

LONGEST_HOURS: Final = LONGEST_S // 3600
LEARN_FROM_S: Final = 730 * 86_400.0
ORACLE: Final = "oracle"
"""Looks into the future of a replayed trace; used only when asked for by this name."""

_ROUNDED_TO_HOURS: Final = 24
_MOST_KEPT: Final = 500

_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    """The inputs that a forecast depends on. A live zone's version changes when its values do."""

    zone: str
    version: int
    method: str
    hours: int
    interval_s: int


class Predictions:
    """Forecasts of all zones by method; `default` is the method used unless another is named."""

    def __init__(self, default: str = forecasts.DEFAULT) -> None:
        self._default = default
        self._forecasters: dict[tuple[str, str], Forecaster] = {}  # they remember what they fitted
        self._kept: dict[_Key, Forecast | Missing] = {}
        self._worker: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the worker thread; the next forecast begins another."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None

    async def get(
        self, zone: Zone, hours: int, method: str = "", issued_s: float | None = None
    ) -> Forecast | Missing:
        """The next `hours` (1..96) of a zone, as seen now or at an earlier moment `issued_s`."""
        name = method or self._default
        if name not in forecasts.NAMES:
            return Missing(Reason.NO_FORECAST, f"methods are: {', '.join(forecasts.NAMES)}")
        if name == ORACLE and not zone.recorded:
            return Missing(Reason.NO_FORECAST, "the oracle knows only the future of replayed zones")
        now_s = zone.now_s()
        moment_s = now_s if issued_s is None else issued_s
        if moment_s > now_s:
            return Missing(Reason.NO_FORECAST, "a forecast cannot be issued in the future")
        # The interval that has begun is in it, and forecasters ignore it: for them it is not over.
        known = zone.history(moment_s - LEARN_FROM_S, moment_s + JUST_AFTER_S)
        if isinstance(known, Missing):
            return known
        if not len(known):
            return Missing(Reason.TOO_LITTLE_HISTORY, "nothing is known before this moment")
        rounded = min(LONGEST_HOURS, math.ceil(hours / _ROUNDED_TO_HOURS) * _ROUNDED_TO_HOURS)
        interval_s = math.floor(moment_s / known.step_s) * known.step_s
        key = _Key(zone.id, zone.version, name, rounded, interval_s)
        found = self._kept.get(key)
        if found is None:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="forecasts")
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._worker, self._make, key, zone, known, moment_s)
        return found if isinstance(found, Missing) else _shortened(found, hours)

    def _make(self, key: _Key, zone: Zone, known: Series, moment_s: float) -> Forecast | Missing:
        """Compute and keep one; in the worker thread."""
        if key in self._kept:
            return self._kept[key]
        horizon = key.hours * 3600 // known.step_s
        try:
            made = self._forecaster(key.method, zone, known).forecast(known, moment_s, horizon)
        except Exception:  # a defect in a forecaster must not take the service with it
            _log.exception("zone %s: forecaster %s failed", zone.id, key.method)
            made = Missing(Reason.NO_FORECAST, f"the forecaster {key.method} failed; see the log")
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = made
        return made

    def _forecaster(self, name: str, zone: Zone, known: Series) -> Forecaster:
        if name == ORACLE:
            future = zone.actual(known.start_s, known.end_s + LONGEST_S + known.step_s)
            return forecasts.forecaster(name, future if isinstance(future, Series) else None)
        if (zone.id, name) not in self._forecasters:
            self._forecasters[zone.id, name] = forecasts.forecaster(name)
        return self._forecasters[zone.id, name]


def _shortened(forecast: Forecast, hours: int) -> Forecast:
    rows = math.ceil(hours * 3600 / forecast.step_s)
    if rows >= len(forecast):
        return forecast
    return replace(forecast, mean=forecast.mean[:rows], low=forecast.low[:rows], high=forecast.high[:rows])
