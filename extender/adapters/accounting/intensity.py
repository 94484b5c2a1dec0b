"""Carbon intensity over time, zone by zone: steps, with gaps that stay gaps."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

from extender.adapters.accounting.amounts import Missing

MOST_G_PER_KWH: Final = 3000.0
"""No grid is dirtier: burning lignite badly gives about 1,300."""

UNHEARD: Final = Missing("no intensity of the zone was heard yet")

Intensity = float | Missing
"""gCO2e/kWh, or why it is not known."""


class Step(NamedTuple):
    """From `start_s` until the next step the intensity is `value`."""

    start_s: float
    value: Intensity


class Piece(NamedTuple):
    """A stretch of time with one intensity."""

    start_s: float
    end_s: float
    value: Intensity


def checked(value: Intensity) -> Intensity:
    """The value, or Missing for a number that cannot be one: absurd values must not read as clean."""
    if isinstance(value, Missing):
        return value
    if not math.isfinite(value) or not 0 <= value <= MOST_G_PER_KWH:
        return Missing(f"absurd intensity {value:g} g/kWh")
    return float(value)


class IntensityHistory:
    """Steps of all zones. A step in the past may be added later; it holds until the next known one."""

    def __init__(self) -> None:
        self._zones: dict[str, list[Step]] = {}

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones something was said of."""
        return tuple(self._zones)

    def set(self, zone: str, start_s: float, value: Intensity) -> bool:
        """From `start_s` on the zone has this intensity. False when that was known already."""
        step = Step(start_s, checked(value))
        steps = self._zones.setdefault(zone, [])
        place = bisect_right(steps, start_s, key=_start)
        if place and steps[place - 1].value == step.value:
            return False
        if place and steps[place - 1].start_s == start_s:
            steps[place - 1] = step
        else:
            steps.insert(place, step)
        return True

    def retract(self, start_s: float, value: Intensity) -> None:
        """Take back that zones have this value from `start_s` on, where that still stands."""
        for steps in self._zones.values():
            place = bisect_right(steps, start_s, key=_start) - 1
            if place >= 0 and steps[place] == (start_s, value):
                del steps[place]

    def pieces(self, zone: str, start_s: float, end_s: float) -> Iterator[Piece]:
        """Cover `[start_s, end_s)` without holes and without overlaps."""
        steps = self._zones.get(zone, ())
        place = bisect_right(steps, start_s, key=_start)
        value: Intensity = steps[place - 1].value if place else UNHEARD
        while start_s < end_s:
            until_s = min(end_s, steps[place].start_s) if place < len(steps) else end_s
            if until_s > start_s:
                yield Piece(start_s, until_s, value)
            if place < len(steps):
                value = steps[place].value
            start_s, place = until_s, place + 1

    def forget_before(self, time_s: float) -> None:
        """Drop steps that say nothing about `time_s` or later."""
        for steps in self._zones.values():
            del steps[: max(0, bisect_right(steps, time_s, key=_start) - 1)]


def _start(step: Step) -> float:
    return step.start_s
