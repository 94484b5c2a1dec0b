"""The carbon signal as the core knows it: the last good value of each zone, its age, and a forecast.

A missing, stale or absurd signal is neutral: it holds nothing back and scores nothing, and it never
reads as clean (the design's invariant 8). There is no default number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

_INTERVAL_DEVIATIONS: Final = 2 * 1.645
"""Width of an interval that holds nine of ten values, in standard deviations of a normal distribution."""
ABSURD_G_PER_KWH: Final = 3000.0
"""Above this no grid has ever been: such a value is not believed."""


class Kind(StrEnum):
    """What an intensity says. The two differ by so much that one is never compared with the other.

    average   of all power generated at the time
    marginal  of the plants that would serve a little more demand
    """

    AVERAGE = "average"
    MARGINAL = "marginal"


@dataclass(frozen=True, slots=True)
class Signal:
    """What a source said of one carbon zone.

    `g_per_kwh` is gCO2e/kWh at `at_s` (seconds since the epoch), or None with a `reason`. `forecast` are
    means of consecutive steps of `step_s` seconds from `forecast_start_s` on; empty when there is none.
    `lower` and `upper` are the forecast's bounds L and U over its window, or None. `stale_after_s` is the age
    from which the source would not vouch for the value; None if it does not say. `forecast_low` and
    `forecast_high` are the interval of each step, for people; empty where the source states none.
    """

    zone: str
    at_s: float
    g_per_kwh: float | None
    reason: str = ""
    kind: str = Kind.AVERAGE
    estimated: bool = False
    forecast: tuple[float, ...] = ()
    forecast_start_s: float = 0.0
    step_s: float = 3600.0
    lower: float | None = None
    upper: float | None = None
    stale_after_s: float | None = None
    forecast_low: tuple[float, ...] = ()
    forecast_high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """The present value and the steps that follow it, all finite and plausible.

    `values[i]` holds from `start_s + i * step_s` on; the first one is the present value. `deviations[i]` is
    how far it may be off (one standard deviation); empty where the forecast has no intervals.
    """

    start_s: float
    step_s: float
    values: tuple[float, ...]
    lower: float
    upper: float
    deviations: tuple[float, ...] = ()

    @property
    def now(self) -> float:
        """Intensity now, gCO2e/kWh."""
        return self.values[0]

    def until(self, end_s: float) -> Outlook:
        """The same, without the steps that begin at `end_s` or later; the present one always stays."""
        steps = max(1, math.ceil((end_s - self.start_s) / self.step_s))
        return Outlook(self.start_s, self.step_s, self.values[:steps], self.lower, self.upper)

    def at(self, time_s: float) -> float | None:
        """Intensity at a moment; None beyond the last step."""
        step = max(0, math.floor((time_s - self.start_s) / self.step_s))
        return self.values[step] if step < len(self.values) else None

    def first_within(self, limit: float) -> float | None:
        """Start of the first step that is no dirtier than `limit`; None if there is none."""
        steps = zip(self.times(), self.values, strict=True)
        return next((time_s for time_s, value in steps if value <= limit), None)

    def times(self) -> list[float]:
        """Start of each step."""
        return [self.start_s + index * self.step_s for index in range(len(self.values))]


@dataclass(slots=True)
class CarbonBook:
    """Signals by zone. `version` changes with every signal that says something new.

    A 0 among values above 0 is a gap in a source's data: it would read as clean, and as the lower bound L it
    would make all other hours look dirty for two days. A value counts until it is `stale_after_s` old, or the
    age at which its source drops it, if that is less.

    One `kind` of intensity is used; zones whose source states the other one are neutral.
    """

    stale_after_s: float
    kind: str = Kind.AVERAGE
    signals: dict[str, Signal] = field(default_factory=dict[str, Signal])
    good: dict[str, Signal] = field(default_factory=dict[str, Signal])
    version: int = 0

    def see(self, signal: Signal) -> bool:
        """Take a signal; the last good value stays while newer ones are missing. Tells whether it is news."""
        if signal.g_per_kwh is not None and signal.kind != self.kind:
            signal = Signal(signal.zone, signal.at_s, None, other_kind(signal.kind, self.kind), signal.kind)
        news = self.signals.get(signal.zone) != signal
        self.signals[signal.zone] = signal
        last = self.good.get(signal.zone)
        if believed(signal.g_per_kwh) and (last is None or signal.at_s >= last.at_s):
            self.good[signal.zone] = signal
        if news:
            self.version += 1
        return news

    def value(self, zone: str, now: float) -> float | None:
        """Intensity of a zone in gCO2e/kWh, or None when it is unknown or too old."""
        signal = self.good.get(zone)
        if signal is None or now > self.stale_at(zone) or (signal.g_per_kwh == 0.0 and any(signal.forecast)):
            return None
        return signal.g_per_kwh

    def age_s(self, zone: str, now: float) -> float | None:
        """Age of the last good value in seconds, however old; None when there never was one."""
        signal = self.good.get(zone)
        return None if signal is None else now - signal.at_s

    def stale_at(self, zone: str) -> float:
        """When the present value will be too old (infinite when there is none)."""
        signal = self.good.get(zone)
        if signal is None:
            return math.inf
        return signal.at_s + min(self.stale_after_s, signal.stale_after_s or math.inf)

    def reason(self, zone: str, now: float) -> str:
        """Why a zone has no value or no forecast now, or what the last answer of its source lacked.

        Empty only while the zone has both and the source complained of nothing.
        """
        last = self.signals.get(zone)
        if last is None:
            return "not asked yet"
        if not believed(last.g_per_kwh):
            return last.reason or _why_not_believed(last.g_per_kwh)
        if self.value(zone, now) is None:
            if now <= self.stale_at(zone):
                return "the source states 0 gCO2e/kWh, with more in its forecast: a gap in its data"
            good = self.good[zone]
            return f"the last value is too old: it counts for {self.stale_at(zone) - good.at_s:.0f} s"
        if self.outlook(zone, now) is None:
            return last.reason or "no usable forecast for the present time"
        return last.reason

    def outlook(self, zone: str, now: float) -> Outlook | None:
        """Present value and forecast of a zone; None when the value is unknown or no step is forecast."""
        value, signal = self.value(zone, now), self.good.get(zone)
        if value is None or signal is None or not signal.forecast or signal.step_s <= 0:
            return None
        step = int((now - signal.forecast_start_s) // signal.step_s)
        if not 0 <= step < len(signal.forecast):
            return None
        start_s = signal.forecast_start_s + step * signal.step_s
        steps = signal.forecast[step:]
        if not all(believed(each) for each in steps):
            return None
        # A value of an earlier step says less of this one than its forecast does.
        values = _without_gaps((value, *steps[1:]) if signal.at_s >= start_s else steps)
        lower = signal.lower if believed(signal.lower) and (signal.lower or not any(values)) else min(values)
        upper = signal.upper if believed(signal.upper) else max(values)
        assert lower is not None
        assert upper is not None
        bounds = min(lower, upper), max(lower, upper)
        return Outlook(start_s, signal.step_s, values, *bounds, _deviations(signal, step, start_s))


def merged(outlooks: Sequence[Outlook], merge: Callable[[Sequence[float]], float]) -> Outlook:
    """Several zones as one: at each time what `merge` makes of the intensities that are known then.

    In the shortest steps of any zone, as far as the longest forecast reaches.
    """
    if len(outlooks) == 1:
        return outlooks[0]
    step_s = min(each.step_s for each in outlooks)
    start_s = max(each.start_s for each in outlooks)
    end_s = max(each.start_s + len(each.values) * each.step_s for each in outlooks)
    times = [start_s + index * step_s for index in range(max(1, math.ceil((end_s - start_s) / step_s)))]
    known = ([value for each in outlooks if (value := each.at(time_s)) is not None] for time_s in times)
    values = tuple(merge(each) for each in known if each)
    return Outlook(start_s, step_s, values, min(values), max(values))


def _deviations(signal: Signal, step: int, start_s: float) -> tuple[float, ...]:
    """Standard deviation of each step from this one on, by its interval; what was measured is certain."""
    if not len(signal.forecast) == len(signal.forecast_low) == len(signal.forecast_high):
        return ()
    widths = zip(signal.forecast_low[step:], signal.forecast_high[step:], strict=True)
    found = tuple(max(0.0, high - low) / _INTERVAL_DEVIATIONS for low, high in widths)
    if not all(math.isfinite(each) for each in found):
        return ()
    return (0.0, *found[1:]) if signal.at_s >= start_s else found


def _without_gaps(values: tuple[float, ...]) -> tuple[float, ...]:
    """Values in which a 0 beside others that are above 0 is the one before it, at the beginning the next."""
    if all(values) or not any(values):
        return values
    before = next(value for value in values if value)
    filled: list[float] = []
    for value in values:
        before = value or before
        filled.append(before)
    return tuple(filled)


def other_kind(kind: str, wanted: str) -> str:
    """Why a value of this kind is not used; empty when it is of the kind that is wanted."""
    if kind == wanted:
        return ""
    return f"the source states {kind} intensity, and carbon_kind asks for {wanted}"


def _why_not_believed(value: float | None) -> str:
    if value is None:
        return "the source gave no value and no reason"
    return f"{value:g} gCO2e/kWh is not believed: an intensity lies between 0 and {ABSURD_G_PER_KWH:g}"


def believed(value: float | None) -> bool:
    """Whether a number can be an intensity: finite, not negative, not absurd."""
    return value is not None and math.isfinite(value) and 0.0 <= value <= ABSURD_G_PER_KWH


def mean_intensity(values: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Weighted mean over zones in gCO2e/kWh; None if the value of any zone with weight is unknown."""
    known: list[tuple[float, float]] = []
    for zone, weight in weights.items():
        value = values.get(zone)
        if weight > 0:
            if value is None:
                return None
            known.append((value, weight))
    return _mean(known)


def _mean(known: Iterable[tuple[float, float]]) -> float | None:
    pairs = list(known)
    total = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / total if total else None
