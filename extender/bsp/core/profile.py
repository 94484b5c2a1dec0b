"""Measured durations of every member on a grid of work sizes and CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class ProfileUnusable(ValueError):
    """Measurements from which no model can be made; the text says which are missing."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`durations_s[member, size, cpu]` on the grid `sizes` x `millicores`, both ascending.

    `spreads_s` is the standard deviation of the repeated runs of each point, where there were any.
    """

    members: tuple[str, ...]
    sizes: Floats
    millicores: Floats
    durations_s: Floats
    spreads_s: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse a grid that no surface can be laid through."""
        expected = (len(self.members), len(self.sizes), len(self.millicores))
        if self.durations_s.shape != expected:
            raise ProfileUnusable(
                f"durations have the shape {self.durations_s.shape}, the grid is {expected}"
            )
        if (np.diff(self.sizes) <= 0).any() or (np.diff(self.millicores) <= 0).any():
            raise ProfileUnusable("sizes and millicores must ascend")
        if not (np.isfinite(self.durations_s).all() and (self.durations_s > 0).all()):
            raise ProfileUnusable("every duration must be a finite number of seconds above 0")

    def first(self, members: int) -> Profile:
        """The profile of the first so many members."""
        spreads = None if self.spreads_s is None else self.spreads_s[:members]
        return Profile(
            self.members[:members], self.sizes, self.millicores, self.durations_s[:members], spreads
        )


def from_rows(rows: list[tuple[str, float, float, float]]) -> Profile:
    """A profile from (member, size, millicores, seconds); runs of the same point are averaged.

    Members keep the order in which they are met. Raises `ProfileUnusable` and names the first missing point.
    """
    members = tuple(dict.fromkeys(row[0] for row in rows))
    sizes = np.array(sorted({row[1] for row in rows}))
    millicores = np.array(sorted({row[2] for row in rows}))
    runs: dict[tuple[str, float, float], list[float]] = {}
    for member, size, cpu, seconds in rows:
        runs.setdefault((member, size, cpu), []).append(seconds)
    durations = np.empty((len(members), len(sizes), len(millicores)))
    spreads = np.zeros_like(durations)
    for m, member in enumerate(members):
        for s, size in enumerate(sizes):
            for c, cpu in enumerate(millicores):
                measured = runs.get((member, size, cpu))
                if measured is None:
                    raise ProfileUnusable(f"no run of {member} with size {size:g} on {cpu:g} millicores")
                durations[m, s, c] = np.mean(measured)
                spreads[m, s, c] = np.std(measured, ddof=1) if len(measured) > 1 else 0.0
    repeated = all(len(each) > 1 for each in runs.values())
    return Profile(members, sizes, millicores, durations, spreads if repeated else None)
