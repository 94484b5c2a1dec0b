"""The service's knowledge of each zone, in memory: the series, the last problem, and the time there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from carbon_api.clock import Clock
from carbon_api.readings import Kind, Missing, Reading, Reason, Value
from carbon_api.series import Series
from carbon_api.sources.base import Answer

DEFAULT_STALE_AFTER_S: Final = 3 * 3600.0
JUST_AFTER_S: Final = 1e-6
"""Added to a moment so that a window up to it holds an interval that begins right then."""

DEFAULT_KEEP_S: Final = 730 * 86_400.0


@dataclass
class Zone:
    """One zone. `recorded` ones (traces, synthetic grids) are complete at once, and `clock` replays them.

    For others the newest value counts until it is `stale_after_s` old.
    """

    id: str
    name: str
    kind: Kind
    source: str
    clock: Clock
    recorded: bool = False
    wrap: bool = False
    stale_after_s: float = DEFAULT_STALE_AFTER_S
    keep_s: float = DEFAULT_KEEP_S
    series: Series | None = None
    problem: Missing | None = field(default_factory=lambda: Missing(Reason.NOT_YET))
    up: bool = False
    answers: int = 0
    failures: int = 0
    refused: int = 0  # entries of the newest answer that could not be used
    version: int = 0  # grows with every change of the series

    def put(self, answer: Answer) -> None:
        """Take in an answer of the source. A failure removes no known value."""
        self.problem = answer.problem
        self.up = answer.series is not None
        self.refused = answer.refused
        if answer.series is None:
            self.failures += 1
            return
        self.answers += 1
        self.learn(answer.series)

    def learn(self, series: Series) -> None:
        """Add values, without a word about whether the source is up."""
        ours = replace(series, zone=self.id)  # the provider may call the zone by another name
        self.series = ours if self.series is None else self.series.merged(ours, self.keep_s)
        self.version += 1

    def now_s(self) -> float:
        """The present moment of the zone, in epoch seconds."""
        return self.clock.now_s()

    def reading(self, at_s: float | None = None) -> Reading:
        """The intensity at a moment that is not in the future; now, if none is given."""
        now_s = self.now_s()
        moment_s = now_s if at_s is None else at_s
        if moment_s > now_s:
            return Missing(Reason.NOT_COVERED, "the moment lies in the future; ask for a forecast")
        if self.recorded:
            step_s = 1 if self.series is None else self.series.step_s
            series = self.actual(moment_s - step_s, moment_s + step_s)
            return series if isinstance(series, Missing) else series.at(moment_s)
        return self._newest(moment_s)

    def _newest(self, moment_s: float) -> Reading:
        """The last good value before a moment, unless it is too old to speak for it."""
        series = self.series
        if series is None:
            return self.problem or Missing(Reason.NOT_YET)
        known = series.window(-math.inf, moment_s + JUST_AFTER_S)
        rows = np.flatnonzero(known.present[-self._fresh_rows(series) :])
        if len(rows):
            value = known.reading(max(0, len(known) - self._fresh_rows(series)) + int(rows[-1]))
            assert isinstance(value, Value)
            if moment_s - value.at_s <= self.stale_after_s:
                return value
        if self.problem is not None:
            return self.problem
        return Missing(Reason.STALE, f"no value is younger than {self.stale_after_s:.0f} s")

    def _fresh_rows(self, series: Series) -> int:
        return max(1, math.ceil(self.stale_after_s / series.step_s) + 1)

    def actual(self, start_s: float, end_s: float) -> Series | Missing:
        """The true series of a window, *the future included* where a trace holds it: for the oracle alone."""
        if self.series is None:
            return self.problem or Missing(Reason.NOT_YET)
        if self.wrap:
            return self.series.repeated(max(start_s, self.series.start_s), end_s)
        return self.series.window(start_s, end_s)

    def history(self, start_s: float, end_s: float) -> Series | Missing:
        """The known part of a window: intervals that have begun by now."""
        return self.actual(start_s, min(end_s, self.now_s() + JUST_AFTER_S))

    def extent(self) -> tuple[int | None, int | None]:
        """Starts of the first and the last interval whose value is known by now."""
        if self.series is None:
            return None, None
        times_s = self.series.times[self.series.present]
        known = times_s[times_s <= self.now_s()]
        if not len(known):
            return None, None
        last = int(known[-1])
        if self.wrap and isinstance(value := self.reading(), Value):
            last = int(value.at_s)
        return int(known[0]), last

    def at_clock(self, clock: Clock) -> Zone:
        """The same zone, seen by another clock."""
        return replace(self, clock=clock)

    def age_s(self, value: Value) -> float:
        """Seconds since the start of the value's interval, by the zone's clock."""
        return max(0.0, self.now_s() - value.at_s)


class Store:
    """The zones by id, in the order of the configuration."""

    def __init__(self, zones: Iterable[Zone] = ()) -> None:
        self._zones = {zone.id: zone for zone in zones}

    def zones(self) -> list[Zone]:
        """Every zone."""
        return list(self._zones.values())

    def get(self, zone_id: str) -> Zone | Missing:
        """A zone, or `Missing` with the ids that exist."""
        zone = self._zones.get(zone_id)
        if zone is None:
            known = ", ".join(list(self._zones)[:20]) or "none"
            return Missing(Reason.UNKNOWN_ZONE, f"zones are: {known}")
        return zone
