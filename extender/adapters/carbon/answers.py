"""Answers of the carbon service, read with suspicion: a value in gCO2e/kWh, or why there is none.

Nothing that a service can send becomes a number unless it says that it is one, of the
requested zone, of a known kind, finite and plausible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from extender.core.carbon.signal import Kind, believed

_KINDS: Final = frozenset(Kind)
_LONGEST_STEP_S: Final = 86_400
_MOST_POINTS: Final = 10_000
_LONGEST_REASON: Final = 200
_FASTEST: Final = 1e9
_LONGEST_AGE_S: Final = 1e9


class _Clock(msgspec.Struct):
    speed: float
    replay: bool


class _Reading(msgspec.Struct):
    status: str
    g_per_kwh: float | None = None
    kind: str = ""
    estimated: bool = False
    age_s: float | None = None
    stale_after_s: float | None = None
    source: str = ""
    reason: str = ""
    detail: str = ""


class _Now(msgspec.Struct):
    zone: str
    at: str
    reading: _Reading


class _Point(msgspec.Struct):
    at: str
    g_per_kwh: float
    low: float | None = None
    high: float | None = None


class _Forecast(msgspec.Struct):
    status: str
    zone: str = ""
    step_s: float = 0.0
    points: list[_Point] = []
    lower: float | None = None
    upper: float | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Present:
    """A zone's present value: gCO2e/kWh at `at_s`, by the clock of the service, `served_s` its time now.

    `stale_after_s` is the age from which its source would not vouch for it; None if it does not say.
    """

    g_per_kwh: float
    at_s: float
    served_s: float
    kind: str
    estimated: bool
    source: str
    stale_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A forecast: means of consecutive steps in gCO2e/kWh, and its bounds (None where it states none).

    The true mean of step i lies within `low[i]` and `high[i]` nine times in ten; both are empty where the
    source states no interval of a step.
    """

    start_s: float
    step_s: float
    values: tuple[float, ...]
    lower: float | None
    upper: float | None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the service's time runs: replayed seconds in one real second, None for real time."""

    speed: float | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Why there is no number."""

    reason: str


_read_clock = msgspec.json.Decoder(_Clock).decode
_read_now = msgspec.json.Decoder(_Now).decode
_read_forecast = msgspec.json.Decoder(_Forecast).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def pace(body: bytes) -> Pace | Unknown:
    """The answer of `/v1/clock`."""
    try:
        clock = _read_clock(body)
    except _UNREADABLE as problem:
        return Unknown(f"unreadable: {problem}"[:_LONGEST_REASON])
    return Pace(clock.speed if clock.replay and 0 < clock.speed < _FASTEST else None)


def present(body: bytes, zone: str) -> Present | Unknown:
    """The answer of `/v1/now`."""
    try:
        answer = _read_now(body)
    except _UNREADABLE as problem:
        return Unknown(f"unreadable: {problem}"[:_LONGEST_REASON])
    reading = answer.reading
    if answer.zone != zone:
        return Unknown(f"wrong-zone: asked for {zone}, answered {answer.zone}"[:_LONGEST_REASON])
    if reading.status != "ok":
        return _said(reading.reason, reading.detail)
    served_s = _moment_s(answer.at)
    if served_s is None:
        return Unknown(f"no time: {answer.at}"[:_LONGEST_REASON])
    if reading.kind not in _KINDS:
        return Unknown(f"unknown kind {reading.kind!r}"[:_LONGEST_REASON])
    if reading.g_per_kwh is None or not believed(reading.g_per_kwh):
        return Unknown(f"absurd: {reading.g_per_kwh} gCO2e/kWh")
    if reading.age_s is None or not 0 <= reading.age_s < _LONGEST_AGE_S:
        return Unknown(f"absurd: an age of {reading.age_s} s")
    limit_s = reading.stale_after_s
    if limit_s is not None and not 0 < limit_s < _LONGEST_AGE_S:
        return Unknown(f"absurd: stale after {limit_s} s")
    return Present(
        reading.g_per_kwh,
        served_s - reading.age_s,
        served_s,
        reading.kind,
        reading.estimated,
        reading.source,
        limit_s,
    )


def ahead(body: bytes, zone: str) -> Ahead | Unknown:
    """The answer of `/v1/forecast`: steps without a gap, or nothing."""
    try:
        answer = _read_forecast(body)
    except _UNREADABLE as problem:
        return Unknown(f"unreadable: {problem}"[:_LONGEST_REASON])
    if answer.status != "ok":
        return _said(answer.reason, answer.detail)
    if answer.zone != zone:
        return Unknown(f"wrong-zone: asked for {zone}, answered {answer.zone}"[:_LONGEST_REASON])
    if not 0 < answer.step_s <= _LONGEST_STEP_S or not 0 < len(answer.points) <= _MOST_POINTS:
        return Unknown(f"{len(answer.points)} steps of {answer.step_s} s")
    start_s = _moment_s(answer.points[0].at)
    if start_s is None:
        return Unknown(f"no time: {answer.points[0].at}"[:_LONGEST_REASON])
    for number, point in enumerate(answer.points):
        at_s = _moment_s(point.at)
        if at_s is None or abs(at_s - start_s - number * answer.step_s) > 1:
            return Unknown(f"step {number} is out of place: {point.at}"[:_LONGEST_REASON])
        if not believed(point.g_per_kwh):
            return Unknown(f"absurd: {point.g_per_kwh} gCO2e/kWh forecast")
    lower, upper = (each if believed(each) else None for each in (answer.lower, answer.upper))
    values = tuple(point.g_per_kwh for point in answer.points)
    return Ahead(start_s, answer.step_s, values, lower, upper, *_interval(answer.points))


def _interval(points: Sequence[_Point]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Low and high of every step; nothing if one of them cannot be believed."""
    low = tuple(each.low for each in points if each.low is not None and believed(each.low))
    high = tuple(each.high for each in points if each.high is not None and believed(each.high))
    complete = len(low) == len(high) == len(points)
    return (low, high) if complete else ((), ())


def _said(reason: str, detail: str) -> Unknown:
    return Unknown((detail or reason or "no reason given")[:_LONGEST_REASON])


def _moment_s(text: str) -> float | None:
    """Seconds since the epoch of a time with its zone; None for what is none."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
