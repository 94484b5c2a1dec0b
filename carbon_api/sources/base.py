"""The protocol of a source: it answers for a zone and a window of time, and never raises for bad luck."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from carbon_api.readings import Kind, Missing, Reading, Reason, Value
from carbon_api.series import Series, from_values


class SourceError(Exception):
    """A source cannot be set up as configured. The text says what to do; it is shown at start."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The values that a source had for a window.

    `problem` says why something, or everything, is missing; `refused` is how many entries could not be used
    (a gap that the provider states is none); `retry_after_s` is how long to wait before the next request.
    """

    series: Series | None = None
    problem: Missing | None = None
    retry_after_s: float | None = None
    refused: int = 0


class Source(Protocol):
    """One provider of intensities. `longest_s` is the longest window that one call may ask for."""

    @property
    def name(self) -> str:
        """Short name of the provider; part of every reading."""
        ...

    @property
    def kind(self) -> Kind:
        """Average or marginal."""
        ...

    @property
    def longest_s(self) -> float:
        """The longest window of one call, in seconds."""
        ...

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """Values of intervals that start within start_s <= t < end_s. Faults are answers, not exceptions."""
        ...


def answer(
    zone: str, step_s: int, kind: Kind, source: str, window: tuple[float, float], readings: Iterable[Reading]
) -> Answer:
    """The answer made of single readings, in the source's order.

    One bad entry costs that entry: it is left out and counted. Readings outside the requested window are not
    believed, since one wrong year would displace everything known.
    """
    start_s, end_s = window
    refused = 0
    values: list[Value] = []
    problem: Missing | None = None
    for reading in readings:
        if isinstance(reading, Missing):
            problem = reading
            refused += reading.reason is not Reason.GAP
        elif not start_s <= reading.at_s < end_s:
            refused += 1
            problem = problem or Missing(Reason.UNREADABLE, "a value lies outside the requested window")
        elif reading.at_s % step_s:
            refused += 1
            problem = Missing(Reason.UNREADABLE, f"a value does not start at a multiple of {step_s} s")
        else:
            values.append(reading)
    if not values:
        return Answer(None, problem or Missing(Reason.GAP, "the answer holds no values"), refused=refused)
    return Answer(from_values(zone, step_s, values, kind, source), problem, refused=refused)
