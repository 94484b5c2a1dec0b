"""The original's allocation: CPU goes, step by step, to the member whose slowness costs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.rules import Levels, Rules
from extender.bsp.core.surfaces import Surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DISCOUNT: Final = 0.95
"""Weight of a superstep for each lead that it lies ahead of the window's first."""

STATIC_SIZE: Final = 30.0
STATIC_CAP_MILLICORES: Final = 8000

_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows to configure: `lengths[i]` supersteps from lead `offsets[i]` of forecast row `rows[i]`."""

    rows: Ints
    offsets: Ints
    lengths: Ints

    def part(self, start: int, end: int) -> Windows:
        """Some of them."""
        return Windows(self.rows[start:end], self.offsets[start:end], self.lengths[start:end])


def greedy(table: Floats, windows: Windows, grants: int) -> tuple[Levels, Floats]:
    """Levels `[window, member]` of each window, and the sum of its supersteps' durations in seconds.

    `table[row, lead, member, level]` are forecast durations. The whole budget is always spent, also where
    more CPU gains nothing, and the gain ignores that another member becomes the slowest: so does the
    original.
    """
    parts = [
        _greedy(table, windows.part(start, start + _AT_ONCE), grants)
        for start in range(0, len(windows.rows), _AT_ONCE)
    ]
    return np.concatenate([each[0] for each in parts]), np.concatenate([each[1] for each in parts])


def _greedy(table: Floats, windows: Windows, grants: int) -> tuple[Levels, Floats]:
    _, leads, members, ladder = table.shape
    count, longest = len(windows.rows), int(windows.lengths.max())
    each = np.arange(count)
    # 1. Where the durations of a window begin in the flat table; a lead outside the window counts nothing.
    ahead = np.arange(longest)
    inside = ahead < windows.lengths[:, None]
    lead = np.minimum(windows.offsets[:, None] + ahead, leads - 1)
    begins = (windows.rows[:, None] * leads + lead) * (members * ladder)
    weights = np.where(inside, DISCOUNT**ahead, 0.0)
    flat = table.reshape(-1)
    levels: Levels = np.zeros((count, members), dtype=np.int64)
    member_at = np.arange(members) * ladder
    now = flat[begins[:, :, None] + member_at]
    after = flat[begins[:, :, None] + member_at + min(1, ladder - 1)]
    # A member's place in the order in which a window's leads met the slowest ones decides ties.
    for _ in range(grants):
        slowest = now.argmax(axis=2)
        gains = (
            weights
            * (
                np.take_along_axis(now, slowest[:, :, None], 2)
                - np.take_along_axis(after, slowest[:, :, None], 2)
            )[:, :, 0]
        )
        # 2. Sum the gains of each member over the leads at which it is the slowest, in their order.
        summed = np.full((count, members), -np.inf)
        met = np.full((count, members), longest)
        for k in range(longest):
            at, j = each[inside[:, k]], slowest[inside[:, k], k]
            first = np.isneginf(summed[at, j])
            summed[at, j] = np.where(first, 0.0, summed[at, j]) + gains[inside[:, k], k]
            met[at, j] = np.where(first, k, met[at, j])
        best = summed.max(axis=1, keepdims=True)
        winner = np.where(summed == best, met, longest + 1).argmin(axis=1)
        # 3. Give the winner one step, and look up what it takes now and with one more.
        levels[each, winner] += 1
        new = begins + (winner * ladder + levels[each, winner])[:, None]
        more = levels[each, winner] < ladder - 1
        now[each, :, winner] = flat[new]
        after[each, :, winner] = flat[new + more[:, None]]
    estimates = np.where(inside, now.max(axis=2), 0.0).sum(axis=1)
    return levels, estimates


def static_configuration(surface: Surface, rules: Rules) -> Levels:
    """The configuration of the published baseline EXPPO, which is made once for members of middle size.

    Each step of CPU goes to the slowest member that is below 8000 millicores.
    """
    members = len(surface.members)
    ladder = rules.ladder(members)
    durations = surface.grid(np.full(members, STATIC_SIZE), ladder)
    levels: Levels = np.zeros(members, dtype=np.int64)
    for _ in range(rules.grants(members)):
        open_ones = ladder[levels] < STATIC_CAP_MILLICORES
        if not open_ones.any():
            break
        levels[np.where(open_ones, durations[np.arange(members), levels], -np.inf).argmax()] += 1
    return levels
