"""How wide one elastic application runs in each slot before its deadline, so that it emits least.

In one slot the least energy to do some work is the lower convex hull of the points (work, energy) of the
allowed widths, paused included: what lies between two widths is had by changing from one to the other
within the slot. Over all slots the problem "emit least, do all the work" is then separable and convex, so it
is solved exactly by buying hull segments in the order of their price, carbon per unit of work, until the
work is done (Federgruen and Groenevelt, Oper. Res. 34(6) 1986). All slots but one run at one width; the slot
with the last segment is split in time between two. CarbonScaler (SIGMETRICS'24) takes single replicas in the
same order, which is the same only where the profile is concave and one replica is a possible width.

`fluid` is that plan: the optimum, and with one change of width inside a slot it can be carried out. `whole`
is the best plan that keeps one width a slot, by a dynamic programme over the work left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOLERANCE: Final = 1e-9
"""Share of the work that counts as nothing: sums of many slots are not exact."""
_PARTS: Final = 10_000


@dataclass(frozen=True, eq=False)
class Profile:
    """What an application does and draws at each allowed width (number of executors, ascending, from 1).

    `work_per_hour` is in any unit of work, `watts` are the whole application's, its driver included.
    Raises `ValueError` where the numbers make no sense; the text says which.
    """

    widths: tuple[int, ...]
    work_per_hour: tuple[float, ...]
    watts: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.widths or not len(self.widths) == len(self.work_per_hour) == len(self.watts):
            raise ValueError(
                "a profile needs one work rate and one power for each width, and one width at least"
            )
        if self.widths[0] < 1 or any(a >= b for a, b in zip(self.widths, self.widths[1:], strict=False)):
            raise ValueError(f"the widths of a profile must ascend from 1 or more, not {list(self.widths)}")
        for width, work, watts in zip(self.widths, self.work_per_hour, self.watts, strict=True):
            if not (math.isfinite(work) and work > 0 and math.isfinite(watts) and watts > 0):
                raise ValueError(
                    f"a profile needs work and power above 0: width {width} has {work} an hour and {watts} W"
                )

    def between(self, least: int, most: int) -> Profile:
        """The part with widths `least` to `most` (a least width of 0 means 1: paused is always allowed).

        Raises `ValueError` where no width of the profile lies between them.
        """
        rows = [row for row, width in enumerate(self.widths) if max(1, least) <= width <= most]
        if not rows:
            raise ValueError(f"no width of the profile {list(self.widths)} lies within {least} to {most}")
        return Profile(
            tuple(self.widths[row] for row in rows),
            tuple(self.work_per_hour[row] for row in rows),
            tuple(self.watts[row] for row in rows),
        )

    @property
    def fastest(self) -> float:
        """Most work an hour at any width."""
        return max(self.work_per_hour)

    @cached_property
    def hull(self) -> Ints:
        """Rows on the lower convex hull of (work, watts) from (0, 0), in order of work."""
        rows = sorted(range(len(self.widths)), key=lambda row: (self.work_per_hour[row], self.watts[row]))
        hull: list[int] = []
        for row in rows:
            if hull and self.work_per_hour[row] <= self.work_per_hour[hull[-1]]:
                continue  # as much work for more power
            while hull and self._slope(hull[-2] if len(hull) > 1 else -1, hull[-1]) >= self._slope(
                hull[-1], row
            ):
                hull.pop()
            hull.append(row)
        return np.array(hull, dtype=np.int64)

    def _slope(self, from_row: int, to_row: int) -> float:
        work, watts = (self.work_per_hour[from_row], self.watts[from_row]) if from_row >= 0 else (0.0, 0.0)
        return (self.watts[to_row] - watts) / (self.work_per_hour[to_row] - work)


@dataclass(frozen=True, slots=True)
class Widths:
    """A plan: executors in each slot (0: paused) and the share of the slot for which it runs so.

    In `split_slot` it runs `split_width` executors for the rest of the slot. `grams` are those of this plan,
    `bound_g` is what no plan can go below.
    """

    widths: tuple[int, ...]
    active: tuple[float, ...]
    grams: float
    bound_g: float
    split_slot: int | None = None
    split_width: int = 0


@dataclass(frozen=True, slots=True)
class TooTight:
    """The work cannot be done in time. `earliest_h`, in hours from now, is the least deadline."""

    work: float
    possible: float
    earliest_h: float

    @property
    def detail(self) -> str:
        """For people."""
        return (
            f"only {self.possible / self.work:.1%} of the work can be done before the deadline;"
            f" the earliest that can be met is {self.earliest_h:.2f} h from now"
        )


def possible(profile: Profile, work: float, slots: int, slot_h: float) -> TooTight | None:
    """Why the work cannot be done in this many slots; None if it can."""
    most = profile.fastest * slot_h * slots
    if work <= most * (1 + TOLERANCE):
        return None
    return TooTight(work, most, work / profile.fastest)


def fluid(
    profile: Profile, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """The optimum over all plans that do `work` within these slots of `slot_h` hours.

    Raises `ValueError` for an intensity that is not finite or below 0, or a slot without length.
    """
    prices = _checked(g_per_kwh, slot_h)
    late = possible(profile, work, len(prices), slot_h)
    if late is not None:
        return late
    hull = profile.hull
    works = np.concatenate(([0.0], np.array(profile.work_per_hour)[hull])) * slot_h
    energies = np.concatenate(([0.0], np.array(profile.watts)[hull])) * slot_h / 1000.0
    pieces, slopes = np.diff(works), np.diff(energies) / np.diff(works)
    # 1. All segments by price; of equal ones the earlier slot and the smaller width come first.
    order = np.argsort(np.outer(prices, slopes).ravel(), kind="stable")
    done = np.cumsum(pieces[order % len(pieces)])
    # 2. Whole segments as long as all of them are needed, and the part of one more.
    count = int(np.searchsorted(done, work * (1 - TOLERANCE)))
    steps = np.bincount(order[:count] // len(pieces), minlength=len(prices))
    left = work - (float(done[count - 1]) if count else 0.0)
    names = np.concatenate(([0], np.array(profile.widths)[hull]))
    grams = float(energies[steps] @ prices)
    widths, active = names[steps].tolist(), [1.0] * len(prices)
    if left <= work * TOLERANCE or count == len(order):
        return Widths(tuple(widths), tuple(active), grams, grams)
    slot, piece = divmod(int(order[count]), len(pieces))
    part = min(1.0, left / float(pieces[piece]))
    grams += part * float(prices[slot] * slopes[piece] * pieces[piece])
    # 3. The split slot runs wider first, then narrower: what it has ahead is less.
    wide, narrow = int(names[piece + 1]), int(names[piece])
    widths[slot], active[slot] = wide, part
    return Widths(tuple(widths), tuple(active), grams, grams, slot, narrow)


def whole(
    profile: Profile,
    work: float,
    g_per_kwh: Sequence[float] | Floats,
    slot_h: float = 1.0,
    parts: int = _PARTS,
) -> Widths | TooTight:
    """The plan of least carbon with one width a slot, each slot paid for as a whole.

    Exact up to the rounding of work to 1/`parts` of the whole: a plan never does too little for it.
    """
    prices = _checked(g_per_kwh, slot_h)
    bound = fluid(profile, work, prices, slot_h)
    if isinstance(bound, TooTight):
        return bound
    unit = work / parts
    done = np.floor(np.array(profile.work_per_hour) * slot_h / unit * (1 + TOLERANCE) + TOLERANCE).astype(
        np.int64
    )
    kwh = np.array(profile.watts) * slot_h / 1000.0
    # least[u]: grams of the slots from here on to do u parts of the work.
    least = np.full(parts + 1, np.inf)
    least[0] = 0.0
    choices = np.zeros((len(prices), parts + 1), dtype=np.int16)
    left = np.arange(parts + 1)
    for slot in range(len(prices) - 1, -1, -1):
        after = least
        least = after.copy()
        for row, amount in enumerate(done.tolist()):
            cost = prices[slot] * kwh[row] + after[np.maximum(left - amount, 0)]
            better = cost < least
            better[0] = False
            least[better] = cost[better]
            choices[slot, better] = row + 1
    # Rounded down, exact multiples of a slot seem to miss a part or two: the plan for a little less may do.
    for asked in range(max(1, parts - len(prices)), parts + 1):
        if math.isfinite(float(least[asked])):
            rows = _chosen(choices, done, asked)
            if sum(profile.work_per_hour[row] for row in rows if row >= 0) * slot_h >= work * (1 - TOLERANCE):
                widths = tuple(profile.widths[row] if row >= 0 else 0 for row in rows)
                return Widths(widths, (1.0,) * len(rows), float(least[asked]), bound.grams)
    return _all_out(profile, prices, slot_h, work, bound.grams)


def _chosen(choices: NDArray[np.int16], done: Ints, left: int) -> list[int]:
    """Row of the profile by slot, -1 where it pauses."""
    rows: list[int] = []
    for slot in range(len(choices)):
        row = int(choices[slot, left]) - 1
        rows.append(row)
        left = max(0, left - int(done[row])) if row >= 0 else left
    return rows


def _all_out(profile: Profile, prices: Floats, slot_h: float, work: float, bound_g: float) -> Widths:
    """So tight that rounding hides it: the fastest width from the first slot on."""
    row = int(np.argmax(profile.work_per_hour))
    slots = min(len(prices), math.ceil(work / (profile.work_per_hour[row] * slot_h) * (1 - TOLERANCE)))
    widths = (profile.widths[row],) * slots + (0,) * (len(prices) - slots)
    grams = float(prices[:slots].sum()) * profile.watts[row] * slot_h / 1000.0
    return Widths(widths, (1.0,) * len(prices), grams, bound_g)


def extended(g_per_kwh: Sequence[float], slots: int, a_day: int) -> Floats:
    """A forecast of this many slots: beyond its end its last day again, or its last value."""
    values = list(g_per_kwh)
    while len(values) < slots:
        values.append(values[-a_day] if len(values) >= a_day else values[-1])
    return np.array(values[:slots], dtype=np.float64)


def _checked(g_per_kwh: Sequence[float] | Floats, slot_h: float) -> Floats:
    prices = np.asarray(g_per_kwh, dtype=np.float64)
    if not slot_h > 0 or prices.ndim != 1 or not len(prices):
        raise ValueError("a plan needs one slot at least, and slots longer than 0 h")
    if not (np.isfinite(prices).all() and (prices >= 0).all()):
        raise ValueError("every slot needs an intensity that is finite and not below 0 g/kWh")
    return prices
