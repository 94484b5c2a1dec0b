"""What elastic plans are compared with: the policies of the literature, by their definitions.

Every one runs at one width. The last slot in time is left as soon as the work is done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from extender.core.carbon.plan.elastic import TOLERANCE, Floats, Profile, TooTight, Widths, fluid


def agnostic(
    profile: Profile, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """At the least width from the first slot on, until the work is done."""
    return _at(profile, 0, work, g_per_kwh, slot_h, cleanest=False)


def fixed(
    profile: Profile, width: int, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """At one given width from the first slot on."""
    return _at(profile, profile.widths.index(width), work, g_per_kwh, slot_h, cleanest=False)


def suspend_resume(
    profile: Profile, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """At the least width in the cleanest slots that suffice before the deadline (WaitAWhile)."""
    return _at(profile, 0, work, g_per_kwh, slot_h, cleanest=True)


def static_scale(
    profile: Profile, width: int, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """As suspend-resume, at one given width."""
    return _at(profile, profile.widths.index(width), work, g_per_kwh, slot_h, cleanest=True)


def static_scale_oracle(
    profile: Profile, work: float, g_per_kwh: Sequence[float] | Floats, slot_h: float = 1.0
) -> Widths | TooTight:
    """As static-scale, at the width that turns out best."""
    plans = [static_scale(profile, width, work, g_per_kwh, slot_h) for width in profile.widths]
    possible = [plan for plan in plans if isinstance(plan, Widths)]
    if possible:
        return min(possible, key=lambda plan: plan.grams)
    return max((plan for plan in plans if isinstance(plan, TooTight)), key=lambda plan: plan.possible)


def _at(
    profile: Profile,
    row: int,
    work: float,
    g_per_kwh: Sequence[float] | Floats,
    slot_h: float,
    *,
    cleanest: bool,
) -> Widths | TooTight:
    prices = np.asarray(g_per_kwh, dtype=np.float64)
    needed = work / (profile.work_per_hour[row] * slot_h)
    number = max(1, math.ceil(needed * (1 - TOLERANCE)))
    if number > len(prices):
        rate = profile.work_per_hour[row]
        return TooTight(work, rate * slot_h * len(prices), work / rate)
    order = np.argsort(prices, kind="stable") if cleanest else np.arange(len(prices))
    slots = np.sort(order[:number])
    active = np.zeros(len(prices))
    active[slots] = 1.0
    active[slots[-1]] = min(1.0, needed - (number - 1))
    widths = np.where(active > 0, profile.widths[row], 0)
    grams = float(active @ prices) * profile.watts[row] * slot_h / 1000.0
    bound = fluid(profile, work, prices, slot_h)
    assert isinstance(bound, Widths)
    return Widths(tuple(widths.tolist()), tuple(active.tolist()), grams, bound.grams)
