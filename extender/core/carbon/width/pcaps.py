"""PCAPS: work of little importance waits for cleaner power, work that everything waits for does not.

"Carbon- and StageDeferral-Aware Scheduling for Data Processing Clusters" (SIGCOMM'25), section 3. A stage of
relative importance r runs while the intensity c is at most Psi(r) = m + (U - m) (e^(gamma r) - 1) /
(e^gamma - 1) with m = gamma L + (1 - gamma) U; L and U bound the forecast, gamma in 0..1 is how much is
deferred. What runs while it is dirty runs narrower. What we do where paper, simulator and prototype of
the authors differ (reasons in docs/stages.md):

1.  bounds: minimum and maximum of the forecast and the present value; no factor 0.95, no constants
    280/400. c is never outside of them, so importance 1 always runs.
2.  unknown, stale or absurd intensity: nothing is deferred.
3.  gamma = 0, or L = U: nothing is deferred and nothing runs narrower (the base policy, exactly).
4.  float64, and Psi(1) is U itself, not U less a rounding error.
5.  progress guarantee (Algorithm 1, line 7, absent from both releases): if nothing runs, the most
    important candidate runs. The cluster has it application by application: each may have one executor
    whatever is deferred (core/carbon/width/stage_deferral), which needs no look at the others.
6.  no sampling: every candidate is judged by its own r, so asking again does not change the answer.
7.  deferral lasts until c or r changes; there is no dummy task and no pause of other pods.
8.  parallelism in relative units (c - L) / (U - L); the two published formulas, in grams, are kept for
    replays of published results.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from extender.core.carbon.signal import Outlook, believed

K = TypeVar("K", bound=Hashable)
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Carbon:
    """Intensity now and the forecast's bounds, gCO2e/kWh, with lower <= now <= upper."""

    now: float
    lower: float
    upper: float

    @classmethod
    def of(cls, outlook: Outlook | None, window_s: float = 48 * 3600.0) -> Carbon | None:
        """From a forecast; None (neutral) if there is none or it cannot be believed.

        The bounds are those of the steps within `window_s`, where the forecast is longer, else its own.
        """
        if outlook is None:
            return None
        end_s = outlook.start_s + window_s
        whole = outlook.start_s + len(outlook.values) * outlook.step_s <= end_s
        window = outlook.until(end_s).values
        bounds = (outlook.lower, outlook.upper) if whole else (min(window), max(window))
        return cls.between(outlook.now, *bounds)

    @classmethod
    def between(cls, now: float, lower: float, upper: float) -> Carbon | None:
        """Bounds widened so that they contain the present value; None if a number cannot be believed."""
        if not (believed(now) and believed(lower) and believed(upper)):
            return None
        return cls(now, min(now, lower, upper), max(now, lower, upper))

    @property
    def dirtiness(self) -> float:
        """(c - L) / (U - L), 0 at the cleanest and 1 at the dirtiest; 0 on a flat grid."""
        return (self.now - self.lower) / (self.upper - self.lower) if self.upper > self.lower else 0.0


@dataclass(frozen=True, slots=True)
class Candidate(Generic[K]):
    """Executors wanted for one ready stage; 0 for one that has all it can use, and still sets the scale.

    `importance` is 0..1 (or a probability), on one scale for all.
    """

    key: K
    importance: float
    executors: int


def relative(importances: Mapping[K, float]) -> dict[K, float]:
    """r = p / max p, 0..1. Without any positive importance all are equal, and 1."""
    best = max(importances.values(), default=0.0)
    if best <= 0:
        return dict.fromkeys(importances, 1.0)
    return {key: max(0.0, value) / best for key, value in importances.items()}


def threshold(importance: float, lower: float, upper: float, gamma: float) -> float:
    """Psi: the highest intensity (unit of the bounds) at which relative importance r still runs.

    Does not fall with r, does not rise with gamma; `upper` for r = 1 and for gamma = 0. Raises
    `ValueError` unless gamma is in 0..1 and lower <= upper.
    """
    _check(lower, upper, gamma)
    r = min(1.0, max(0.0, importance))
    if r >= 1.0 or gamma <= 0.0 or lower == upper:
        return upper
    floor = max(lower, upper - gamma * (upper - lower))
    return min(upper, floor + (upper - floor) * math.expm1(gamma * r) / math.expm1(gamma))


def least_important(carbon: Carbon, gamma: float) -> float:
    """The relative importance from which on work runs now, 0..1: the threshold, solved for r."""
    _check(carbon.lower, carbon.upper, gamma)
    floor = max(carbon.lower, carbon.upper - gamma * (carbon.upper - carbon.lower))
    if gamma <= 0.0 or carbon.lower == carbon.upper or carbon.now <= floor:
        return 0.0
    share = (carbon.now - floor) / (carbon.upper - floor)
    return min(1.0, math.log1p(share * math.expm1(gamma)) / gamma)


def runs(importance: float, carbon: Carbon | None, gamma: float) -> bool:
    """Whether work of a relative importance may run now. Unknown carbon defers nothing."""
    if carbon is None:
        return True
    return carbon.now <= threshold(importance, carbon.lower, carbon.upper, gamma)


# -- width ---------------------------------------------------------------------------------------


def parallelism(wanted: int, carbon: Carbon | None, gamma: float) -> int:
    """Executors given of `wanted`: all at the cleanest, the share 1 - gamma at the dirtiest, at least one."""
    if wanted <= 0:
        return 0
    if carbon is None:
        return wanted
    _check(carbon.lower, carbon.upper, gamma)
    return max(1, math.ceil(wanted * (1 - gamma * carbon.dirtiness) - _ROUNDING * wanted))


def parallelism_of_paper(wanted: int, intensity: float, lower: float, gamma: float) -> int:
    """The paper's rule, ceil(P min(e^(gamma (L - c)), 1 - gamma)), in grams; at least 1 of any wanted."""
    share = min(math.exp(min(0.0, gamma * (lower - intensity))), 1 - gamma)
    return max(1, math.ceil(wanted * share)) if wanted > 0 else 0


def parallelism_of_simulator(wanted: int, intensity: float, lower: float, gamma: float) -> int:
    """The rule of the authors' simulator, in grams; for replays."""
    if wanted <= 0:
        return 0
    share = min(math.exp(min(0.0, gamma * (lower - intensity))), 1 - min(0.9, gamma))
    scaled = min(math.ceil(wanted * share), wanted)
    return int(wanted - gamma * (wanted - scaled))


# -- decision ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admission(Generic[K]):
    """What may be added now. `executors` by candidate (left out: none), and why.

    `least_important` is the relative importance that was needed. `forced` is the candidate let in by the
    progress guarantee alone.
    """

    executors: Mapping[K, int]
    deferred: tuple[K, ...]
    least_important: float
    forced: K | None = None


def admit(
    candidates: Sequence[Candidate[K]],
    carbon: Carbon | None,
    gamma: float,
    running: int,
    most: int | None = None,
) -> Admission[K]:
    """How many executors of each candidate are let in; deterministic, and the same when asked again.

    `running` counts executors at work where the candidates compete: when it is 0 the most important candidate
    is let in whatever the intensity (the first of equals), so work never stops. All of them may have `most`
    executors together (None: as many as they want), and it is this share of each, in the order of the
    candidates, that is narrowed. A candidate that is too unimportant is deferred whether or not those before
    it leave room for it; one that is important enough and finds no room is not let in, and not deferred.
    """
    wanted = [each for each in candidates if each.executors > 0]
    shares = _shares(wanted, most)
    if carbon is None:
        return Admission({key: share for key, share in shares.items() if share}, (), 0.0)
    importances = relative({each.key: each.importance for each in candidates})
    let_in: dict[K, int] = {}
    deferred: list[K] = []
    for each in wanted:
        if not runs(importances[each.key], carbon, gamma):
            deferred.append(each.key)
        elif shares[each.key]:
            let_in[each.key] = parallelism(shares[each.key], carbon, gamma)
    forced: K | None = None
    if not let_in and deferred and running <= 0 and most != 0:
        first = max(wanted, key=lambda each: each.importance)
        forced = first.key
        deferred.remove(first.key)
        alone = first.executors if most is None else min(first.executors, most)
        let_in[first.key] = parallelism(alone, carbon, gamma)
    return Admission(let_in, tuple(deferred), least_important(carbon, gamma), forced)


def _shares(wanted: Sequence[Candidate[K]], most: int | None) -> dict[K, int]:
    """Executors for each candidate, those of the first ones first, until `most` are given."""
    shares: dict[K, int] = {}
    left = sum(each.executors for each in wanted) if most is None else max(0, most)
    for each in wanted:
        shares[each.key] = min(each.executors, left)
        left -= shares[each.key]
    return shares


def _check(lower: float, upper: float, gamma: float) -> None:
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma is {gamma}: it must be in 0..1 (0 defers nothing, 1 defers most)")
    if not lower <= upper:
        raise ValueError(f"the lower bound {lower} is above the upper bound {upper}")
