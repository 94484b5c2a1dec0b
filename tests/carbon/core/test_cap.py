"""The CAP budget against the values computed from the paper's equations and the released daemon."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from extender.core.carbon.width.cap import alpha_exact, alpha_limit, lambert_w0, quota, thresholds

bounds = st.floats(0.0, 1000.0, allow_nan=False)


@pytest.mark.parametrize(
    ("lower", "upper", "k", "limit", "exact"),
    [
        (143, 765, 80, 1.94772, 1.95362),
        (300, 400, 80, 1.11337, 1.11408),
        (83, 451, 80, 1.96066, 1.96664),
        (200, 400, 10, 1.30202, 1.31657),
    ],
)
def test_competitive_ratio(lower: float, upper: float, k: int, limit: float, exact: float) -> None:
    assert alpha_limit(lower, upper) == pytest.approx(limit, abs=5e-6)
    assert alpha_exact(lower, upper, k) == pytest.approx(exact, abs=5e-6)


@pytest.mark.parametrize(
    ("intensity", "expected"),
    [(230, 97), (250, 88), (275, 77), (300, 64), (320, 52), (350, 32), (400, 20), (500, 20)],
)
def test_quota_of_the_released_daemon(intensity: float, expected: int) -> None:
    """B 20, K 100, U 500; the daemon raises L = 200 by a tenth first and uses the limit form."""
    assert quota(intensity, 220, 500, 20, 100, exact=False) == expected


@pytest.mark.parametrize(
    ("intensity", "expected"), [(200, 100), (220, 93), (250, 80), (300, 55), (350, 22), (400, 20)]
)
def test_quota_with_the_bounds_as_they_are(intensity: float, expected: int) -> None:
    assert quota(intensity, 200, 500, 20, 100, exact=False) == expected


def test_no_throttle_at_the_cleanest_hour_nor_on_a_flat_grid() -> None:
    assert quota(200, 200, 500, 20, 100) == 100
    assert quota(150, 200, 500, 20, 100) == 100
    assert quota(300, 300, 300, 20, 100) == 100
    assert quota(300, 400, 300, 20, 100) == 100


def test_as_many_as_the_minimum_are_always_allowed() -> None:
    assert quota(9_999, 200, 500, 20, 100) == 20
    assert quota(300, 200, 500, 100, 100) == 100
    assert quota(300, 200, 500, 100, 50) == 50


@given(bounds, bounds, st.integers(1, 300), st.integers(1, 50), st.booleans())
def test_the_dirtier_the_fewer(lower: float, upper: float, k: int, minimum: int, exact: bool) -> None:
    assume(lower + 1e-3 < upper)
    points = [lower + (upper - lower) * part / 40 for part in range(-2, 43)]
    quotas = [quota(point, lower, upper, minimum, minimum + k, exact=exact) for point in points]
    assert quotas == sorted(quotas, reverse=True)
    assert quotas[0] == minimum + k
    assert quotas[-1] == minimum


@given(bounds, bounds, st.integers(1, 300))
def test_the_exact_root_solves_the_equation(lower: float, upper: float, k: int) -> None:
    assume(lower + 1e-3 < upper)
    alpha = alpha_exact(lower, upper, k)
    assert alpha > 1
    assert (1 + 1 / (k * alpha)) ** k == pytest.approx((upper - lower) / (upper * (1 - 1 / alpha)), rel=1e-6)
    limits = thresholds(lower, upper, k)
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == pytest.approx(upper / alpha)


@given(st.floats(-1 / math.e, 0.0))
def test_lambert_w(x: float) -> None:
    w = lambert_w0(x)
    assert -1 <= w <= 0
    assert w * math.exp(w) == pytest.approx(x, abs=1e-9)
