"""CPU for the members of a superstep: exact for known durations, and for what is expected of unknown ones.

Neither spends CPU that gains nothing; what is left goes back to the queue.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.bsp.core.rules import Levels

Floats = NDArray[np.float64]

_STRIDES: Final = (32, 16, 8, 4, 2, 1)
_MOST_MOVES: Final = 60  # of one stride; each improves, so this only bounds the time
_GAIN: Final = 1e-9


def shortest(durations: Floats, budget: int, caps: Levels | None = None) -> Levels:
    """The least levels `[..., member]` with which the slowest member is as fast as the budget allows.

    `durations[..., member, level]`; `budget` is the sum of the levels, `caps` bound single members. The
    answer is exact: it bisects over all durations that there are. A member's level is the lowest that is fast
    enough, so level 0 where nothing is gained.
    """
    *batch, members, ladder = durations.shape
    flat = durations.reshape(-1, members, ladder)
    best = np.minimum.accumulate(flat, axis=2)
    if caps is not None:
        best = np.take_along_axis(best, np.minimum(np.arange(ladder), caps[:, None])[None], axis=2)
    candidates = np.sort(best.reshape(len(best), -1), axis=1)
    low, high = np.zeros(len(best), dtype=np.int64), np.full(len(best), members * ladder - 1)
    # The longest duration needs no CPU above the start, so `high` always fits the budget.
    while (low < high).any():
        middle = (low + high) // 2
        needed = _needed(best, candidates[np.arange(len(best)), middle])
        fits = needed.sum(axis=1) <= budget
        high, low = np.where(fits, middle, high), np.where(fits, low, np.minimum(middle + 1, high))
    levels = _needed(best, candidates[np.arange(len(best)), high])
    return levels.reshape(*batch, members)


def _needed(best: Floats, deadline_s: Floats) -> Levels:
    """The lowest level at which each member meets its deadline; more than all levels if none does."""
    late = best > deadline_s[:, None, None]
    never = late.all(axis=2)
    return np.where(never, best.shape[1] * best.shape[2], late.sum(axis=2))


def expected(table: Floats, weights: Floats, levels: Levels) -> Floats:
    """Weighted sum over cases of the slowest member's duration: `table[batch, case, member, level]`."""
    chosen = np.take_along_axis(table, levels[:, None, :, None], axis=3)[..., 0]
    return (chosen.max(axis=2) * weights).sum(axis=1)


def least_expected(
    table: Floats, weights: Floats, budget: int, caps: Levels | None = None, allowed: float = 0.0
) -> Levels:
    """Levels `[batch, member]` with a small expected sum of the slowest durations over weighted cases.

    Cases are supersteps of a window in each scenario. Starts from the exact allocation for the mean of the
    cases, then moves CPU between two members, or from what is left, while that improves the sum: a local
    optimum, for the sum is not convex. At last it gives back all CPU without which the sum is at most
    `allowed` (a fraction) greater.
    """
    batch, _, members, ladder = table.shape
    mean = np.einsum("bqnl,q->bnl", table, weights) / weights.sum()
    most = np.full(members, ladder - 1) if caps is None else np.minimum(caps, ladder - 1)
    start = shortest(mean, budget, most)
    # The last column is no member: it is the CPU that is left, and gives and takes like the others.
    levels = np.column_stack([start, budget - start.sum(axis=1)])
    limits = np.append(most, budget)
    for stride in _STRIDES:
        active = np.arange(batch)
        for _ in range(_MOST_MOVES):
            active = _move(table, weights, levels, limits, stride, active)
            if not len(active):
                break
    _give_back(table, weights, levels, allowed)
    return levels[:, :-1]


def _move(
    table: Floats, weights: Floats, levels: Levels, limits: Levels, stride: int, active: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The best move of one stride for each of the active allocations, in place; those that moved."""
    count, parties, own = len(active), levels.shape[1], levels[active]
    now, more, less = (
        _durations(table, active, np.clip(own + change, 0, limits)) for change in (0, stride, -stride)
    )
    # 1. The slowest of all but two members: the first, second or third slowest.
    order = np.argsort(-now, axis=2)[:, :, :3]
    top = np.take_along_axis(now, order, axis=2)
    taker, giver = np.arange(parties)[:, None], np.arange(parties)[None, :]
    among = [
        (order[:, :, place, None, None] == taker) | (order[:, :, place, None, None] == giver)
        for place in (0, 1)
    ]
    first, second, third = (top[:, :, place, None, None] for place in range(3))
    others = np.where(~among[0], first, np.where(~among[1], second, third))
    # 2. The sum after each move from a giver to a taker, where it is possible.
    after = np.maximum(others, np.maximum(more[:, :, :, None], less[:, :, None, :]))
    sums = np.einsum("bqij,q->bij", after, weights)
    possible = (own[:, None, :] >= stride) & (own[:, :, None] + stride <= limits[:, None]) & (taker != giver)
    sums = np.where(possible, sums, np.inf).reshape(count, -1)
    # 3. Make the best one if it gains.
    best = sums.argmin(axis=1)
    gains = sums[np.arange(count), best] < (first[..., 0, 0] * weights).sum(axis=1) - _GAIN
    moved = active[gains]
    levels[moved, best[gains] // parties] += stride
    levels[moved, best[gains] % parties] -= stride
    return moved


def _durations(table: Floats, active: NDArray[np.int64], levels: Levels) -> Floats:
    """Durations `[active, case, party]`; 0 for the last party, the CPU that is left."""
    cases, members = np.arange(table.shape[1])[:, None], np.arange(table.shape[2])
    durations = np.zeros((len(active), table.shape[1], levels.shape[1]))
    durations[:, :, :-1] = table[active[:, None, None], cases, members, levels[:, None, :-1]]
    return durations


def _give_back(table: Floats, weights: Floats, levels: Levels, allowed: float) -> None:
    """Take CPU away, in place, as long as the expected sum stays within what is allowed; cheapest first."""
    limit = expected(table, weights, levels[:, :-1]) * (1 + allowed) + _GAIN
    members = np.arange(levels.shape[1] - 1)
    for stride in _STRIDES:
        active = np.arange(len(levels))
        while len(active):
            own = levels[active]
            now, less = (
                _durations(table, active, np.maximum(own - change, 0))[:, :, :-1] for change in (0, stride)
            )
            order = np.argsort(-now, axis=2)[:, :, :2]
            top = np.take_along_axis(now, order, axis=2)
            others = np.where(
                order[:, :, :1] == members, top[:, :, -1:] if len(members) > 1 else 0.0, top[:, :, :1]
            )
            sums = np.einsum("bqi,q->bi", np.maximum(others, less), weights)
            sums = np.where(own[:, :-1] >= stride, sums, np.inf)
            best = sums.argmin(axis=1)
            fits = sums[np.arange(len(active)), best] <= limit[active]
            active, best = active[fits], best[fits]
            levels[active, best] -= stride
            levels[active, -1] += stride
