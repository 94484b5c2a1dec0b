"""CAP: how many executors the cluster may run at the present intensity.

Carbon-aware provisioning as repeated (K-B)-search with a minimum quota B (PCAPS, SIGCOMM'25, section 4):
with k = K - B there are k + 1 thresholds Phi_B = U and
Phi_(B+i) = U - (U - U/alpha) * (1 + 1/(k*alpha))^(i-1) for i = 1..k, and the quota is the number of
executors whose thresholds are at least the intensity. alpha solves
(1 + 1/(k*alpha))^k = (U - L) / (U * (1 - 1/alpha)).
"""

from __future__ import annotations

import math
from typing import Final

_ROUNDS: Final = 200
_NOTHING: Final = 1e-9


def alpha_exact(lower: float, upper: float, k: int) -> float:
    """Competitive ratio alpha > 1: the root of the defining equation, by bisection.

    Requires 0 <= lower < upper and k >= 1.
    """

    def excess(alpha: float) -> float:
        return math.exp(k * math.log1p(1 / (k * alpha))) * upper * (1 - 1 / alpha) - (upper - lower)

    low, high = 1.0 + 1e-12, 2.0
    while excess(high) < 0:
        high *= 2
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return high


def alpha_limit(lower: float, upper: float) -> float:
    """The limit of alpha for many executors: 1 / (1 + W0((L/U - 1) / e)), W0 the principal Lambert W."""
    return 1 / (1 + lambert_w0((lower / upper - 1) / math.e))


def lambert_w0(x: float) -> float:
    """Principal branch of the Lambert W function for -1/e <= x <= 0, by bisection (w * e^w rises there)."""
    low, high = -1.0, 0.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.exp(middle) < x else (low, middle)
    return (low + high) / 2


def thresholds(lower: float, upper: float, k: int, *, exact: bool = True) -> list[float]:
    """Phi_(B+1) .. Phi_K: falling intensities in the unit of the bounds; requires lower < upper, k >= 1."""
    # The limit form has no finite ratio where the lower bound is nothing against the upper one.
    exact = exact or lower < _NOTHING * upper
    alpha = alpha_exact(lower, upper, k) if exact else alpha_limit(lower, upper)
    base = 1 + 1 / (k * alpha)
    return [upper - (upper - upper / alpha) * base ** (index - 1) for index in range(1, k + 1)]


def quota(
    intensity: float, lower: float, upper: float, minimum: int, maximum: int, *, exact: bool = True
) -> int:
    """Executors allowed now: between `minimum` (B) and `maximum` (K).

    At the cleanest hour, and where the bounds do not differ, all of them; at the dirtiest `minimum`.
    Never fewer than B, so that work goes on (fails safe on bounds that make no sense: no throttle).
    """
    if maximum <= minimum:
        return maximum
    if not lower < upper or intensity <= lower:
        return maximum
    if intensity >= upper:
        return minimum
    limits = thresholds(lower, upper, maximum - minimum, exact=exact)
    return minimum + sum(1 for limit in limits if limit >= intensity)
