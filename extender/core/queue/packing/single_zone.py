"""Packers that keep a gang in one zone: the zone which the gang fills best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.nodes.arrays import IntArray, Rows, stable_argsort
from extender.core.queue.packing.base import (
    Fill,
    Packing,
    Problem,
    leaders_with_room,
    room_beside,
    usable_room,
)
from extender.core.queue.packing.minimal_fragmentation import fill_sparing
from extender.core.queue.packing.tightly_pack import fill_in_order, tightly_pack

_DOUBT: Final = 1e-9
"""Scores closer than this (relative) are compared again as exact fractions."""


def single_az_tightly_pack(problem: Problem) -> Packing | None:
    """tightly-pack inside the best zone."""
    return _in_best_zone(problem, fill_in_order)


def single_az_minimal_fragmentation(problem: Problem) -> Packing | None:
    """minimal-fragmentation inside the best zone."""
    return _in_best_zone(problem, fill_sparing)


def az_aware_tightly_pack(problem: Problem) -> Packing | None:
    """One zone if any takes the whole gang, else tightly-pack over all zones."""
    return single_az_tightly_pack(problem) or tightly_pack(problem)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Placement inside one zone: `numbers[i]` workers on `rows[i]`, in slot order."""

    leader_row: int
    rows: Rows
    numbers: IntArray


def _in_best_zone(problem: Problem, fill: Fill) -> Packing | None:
    """Highest score wins; of equal ones, the zone that comes first in the leader's order."""
    plans = list(_plans(problem, fill))
    if not plans:
        return None
    best = plans[0] if len(plans) == 1 else _fullest(problem, plans)
    return Packing(best.leader_row, np.repeat(best.rows, best.numbers))


def _plans(problem: Problem, fill: Fill) -> Iterator[_Plan]:
    """A placement for each zone that takes the whole gang, in the leader's order of zones."""
    if not len(problem.leader_rows):
        return
    n_zones = int(problem.zone.max()) + 1
    usable = usable_room(problem)
    worker_zones = problem.zone[problem.worker_rows]
    # Float sums of whole numbers are exact below 2**53; n_nodes * count is far from that.
    totals = np.bincount(problem.zone, weights=usable, minlength=n_zones).astype(np.int64)
    spare = totals - problem.count
    leaders = leaders_with_room(problem, usable, spare[problem.zone])
    if not len(leaders):
        return
    sizes = np.bincount(worker_zones, minlength=n_zones)
    ends = np.cumsum(sizes)
    by_zone = problem.worker_rows[stable_argsort(worker_zones)]
    first_leader = _first_positions(problem.zone[leaders], n_zones)
    zones = np.flatnonzero(first_leader >= 0)
    # Without workers any zone will do, but not one in which no worker could ever join.
    zones = zones[sizes[zones] > 0] if sizes[zones].any() else zones
    seen = _first_positions(problem.zone[problem.leader_rows], n_zones)
    zones = zones[np.argsort(seen[zones])]
    chosen = leaders[first_leader[zones]].tolist()
    room = room_beside(problem, *chosen)  # one leader a zone: none is in the way of another's workers
    for zone, leader_row in zip(zones.tolist(), chosen, strict=True):
        rows = by_zone[ends[zone] - sizes[zone] : ends[zone]]
        yield _Plan(leader_row, *fill(rows, room[rows], problem.count))


def _first_positions(zones: IntArray, n_zones: int) -> IntArray:
    """int64[n_zones]: where each zone first appears, -1 for one that does not."""
    first = np.full(n_zones, -1, dtype=np.int64)
    first[zones[::-1]] = np.arange(len(zones))[::-1]  # the last assignment stays
    return first


def _fullest(problem: Problem, plans: list[_Plan]) -> _Plan:
    usages = [_usage(problem, plan) for plan in plans]
    scores = [usage.score() for usage in usages]
    doubt = _DOUBT * max(1.0, *map(abs, scores))
    close = [number for number, score in enumerate(scores) if score >= max(scores) - doubt]
    if len(close) > 1:
        close.sort(key=lambda number: usages[number].exact_score(), reverse=True)  # stable
    return plans[close[0]]


@dataclass(frozen=True, slots=True)
class Usage:
    """Nodes of a placement as they will be: int64[n_resources, n] used and offered, pods[n] of the gang.

    The score is the sum over all pods of the gang of the largest share used, over the resources their
    node has. Zones compare alike by the sum and by the mean, as all of them take the same pods.
    """

    used: IntArray
    capacity: IntArray
    pods: IntArray

    def score(self) -> float:
        """The score, with rounding errors."""
        shares: NDArray[np.float64] = np.full(self.used.shape, -np.inf)
        np.divide(self.used, self.capacity, out=shares, where=self.capacity > 0)
        largest: NDArray[np.float64] = shares.max(axis=0)
        largest[~(self.capacity > 0).any(axis=0)] = 0.0
        return float(largest @ self.pods)

    def exact_score(self) -> Fraction:
        """The score as a fraction. Nodes alike are counted, not added one by one."""
        alike: Counter[tuple[int, ...]] = Counter()
        columns: Iterator[tuple[int, ...]] = zip(*self.used.tolist(), *self.capacity.tolist(), strict=True)
        for column, pods in zip(columns, self.pods.tolist(), strict=True):
            alike[column] += pods
        by_denominator: Counter[int] = Counter()
        n_resources = len(self.used)
        for column, pods in alike.items():
            offered = column[n_resources:]
            shares = [Fraction(a, b) for a, b in zip(column, offered, strict=False) if b > 0]
            share = max(shares, default=Fraction(0))
            by_denominator[share.denominator] += share.numerator * pods
        return sum((Fraction(a, b) for b, a in by_denominator.items()), Fraction(0))


def _usage(problem: Problem, plan: _Plan) -> Usage:
    rows, pods = plan.rows, plan.numbers
    beside = np.flatnonzero(rows == plan.leader_row)
    if len(beside):
        place = int(beside[0])
        pods = pods.copy()
    else:
        place = len(rows)
        rows, pods = np.append(rows, plan.leader_row), np.append(pods, 0)
    added = problem.worker[:, None] * pods
    added[:, place] += problem.leader
    pods[place] += 1
    capacity = problem.capacity[:, rows]
    return Usage(capacity - problem.free[:, rows] + added, capacity, pods)
