"""Emissions of the same work, had it started at its submission; and the parts of the difference.

The counterfactual is work-conserving and width-matched. Let n(t) workers run and m(t) be there, running
or waiting. While n of m run, the work done in dt would have taken n/m dt with all of them; while the
leader waits nothing is done. So each moment t of the real life has a moment of the counterfactual

    tau(submission) = submission
    d tau / dt      = 0 while the leader or all workers wait, n/m while workers run, else 1

and the energy of t is moved to tau: workers' energy stays the same (the same worker-seconds), the
leader's shrinks with the run time. It is priced with the intensity of tau. tau never runs ahead of
t, so the intensity is always known by then, no forecast enters. Two assumptions: the work scales with its
workers, and at submission there was room for them on the same nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Moved(NamedTuple):
    """`[start_s, end_s)` of the real life is `[moved_start_s, moved_end_s)` of the counterfactual."""

    start_s: float
    end_s: float
    moved_start_s: float
    moved_end_s: float


class _Segment(NamedTuple):
    start_s: float
    moved_s: float
    rate: float


class BaselineClock:
    """The map from real to counterfactual time of one application: straight pieces, slopes 0..1."""

    def __init__(self, start_s: float, moved_s: float, rate: float = 0.0) -> None:
        self._segments = [_Segment(start_s, moved_s, rate)]

    def turn(self, at_s: float, rate: float) -> None:
        """From `at_s` on the counterfactual runs at this rate. Turns are made in order of time."""
        last = self._segments[-1]
        if rate == last.rate:
            return
        at_s = max(at_s, last.start_s)
        segment = _Segment(at_s, self.at(at_s), rate)
        if at_s == last.start_s:
            self._segments[-1] = segment
        else:
            self._segments.append(segment)

    def at(self, time_s: float) -> float:
        """Counterfactual time of a real time."""
        segment = self._segments[max(0, bisect_right(self._segments, time_s, key=_start) - 1)]
        return segment.moved_s + max(0.0, time_s - segment.start_s) * segment.rate

    def pieces(self, start_s: float, end_s: float) -> Iterator[Moved]:
        """Cover `[start_s, end_s)` in pieces with one rate each."""
        place = bisect_right(self._segments, start_s, key=_start)
        while start_s < end_s:
            until_s = end_s
            if place < len(self._segments):
                until_s = min(end_s, self._segments[place].start_s)
            if until_s > start_s:
                yield Moved(start_s, until_s, self.at(start_s), self.at(until_s))
            start_s, place = until_s, place + 1

    def forget_before(self, time_s: float) -> None:
        """Drop what only concerns times before `time_s`."""
        del self._segments[: max(0, bisect_right(self._segments, time_s, key=_start) - 1)]


def _start(segment: _Segment) -> float:
    return segment.start_s


def progress_rate(running: int, waiting: int, *, leader_waits: bool) -> float:
    """Slope of the counterfactual clock: `running` and `waiting` count workers."""
    if running == 0 and (leader_waits or waiting > 0):
        return 0.0
    return running / (running + waiting) if running else 1.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Energy and the carbon it caused."""

    energy_kwh: float
    carbon_g: float

    @property
    def intensity_g_per_kwh(self) -> float | None:
        """Mean intensity, weighted by energy; None without energy."""
        return self.carbon_g / self.energy_kwh if self.energy_kwh > 0 else None


@dataclass(frozen=True, slots=True)
class Saving:
    """Grams saved against the counterfactual, in two parts. Negative is a loss."""

    by_energy_g: float
    by_intensity_g: float

    @property
    def total_g(self) -> float:
        """The sum of both parts, by definition."""
        return self.by_energy_g + self.by_intensity_g


def split_saving(actual: Footprint, baseline: Footprint) -> Saving:
    """Split `baseline.carbon - actual.carbon` into less energy and cleaner energy.

    With E energy and I mean intensity (b baseline, a actual):

        by_energy    = (E_b - E_a) (I_b + I_a) / 2
        by_intensity = (I_b - I_a) (E_b + E_a) / 2

    Their sum is E_b I_b - E_a I_a exactly, and neither part depends on which change is counted first
    (it is the Shapley value). A side without energy has no intensity of its own and takes the other's.
    """
    intensity_a, intensity_b = actual.intensity_g_per_kwh, baseline.intensity_g_per_kwh
    if intensity_a is None:
        intensity_a = intensity_b
    if intensity_b is None:
        intensity_b = intensity_a
    if intensity_a is None or intensity_b is None:
        return Saving(0.0, 0.0)
    energy_a, energy_b = actual.energy_kwh, baseline.energy_kwh
    return Saving(
        by_energy_g=(energy_b - energy_a) * (intensity_b + intensity_a) / 2,
        by_intensity_g=(intensity_b - intensity_a) * (energy_b + energy_a) / 2,
    )
