"""The monotone model: more CPU is never slower, more work never faster, measurements in the interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extender.bsp.core.profile import Profile, ProfileUnusable
from extender.bsp.core.surfaces import MonotoneSurface, SplineSurface
from tests.bsp.worlds import profile

SIZES, CPU = np.array([10.0, 20.0, 35.0, 50.0]), np.array([1000.0, 1500.0, 2500.0, 4000.0])
PROFILES = arrays(np.float64, (1, 4, 4), elements=st.floats(1, 500)).map(
    lambda durations: Profile(("m",), SIZES, CPU, durations)
)


@given(profile=PROFILES, size=st.floats(5, 60), cpu=st.floats(500, 5000), more=st.floats(0, 1000))
def test_it_is_monotone_between_and_outside_the_measured_points(
    profile: Profile, size: float, cpu: float, more: float
) -> None:
    monotone = MonotoneSurface(profile)
    here = monotone.points(np.array([size]), np.array([cpu]))
    tolerance = 1e-9 * here
    assert monotone.points(np.array([size]), np.array([cpu + more])) <= here + tolerance
    assert monotone.points(np.array([size + more / 20]), np.array([cpu])) >= here - tolerance


@given(profile=PROFILES)
def test_every_measurement_lies_in_its_interval(profile: Profile) -> None:
    sizes, cpu = (each.reshape(-1, 1) for each in np.meshgrid(SIZES, CPU, indexing="ij"))
    low, high = MonotoneSurface(profile).interval(sizes, cpu)
    measured = profile.durations_s[0].reshape(-1, 1)
    assert (low <= measured * (1 + 1e-9)).all()
    assert (measured <= high * (1 + 1e-9)).all()


def test_where_the_measurements_are_monotone_it_goes_through_them() -> None:
    measured = profile()
    found = MonotoneSurface(measured).grid(np.repeat(measured.sizes[:, None], 3, axis=1), measured.millicores)
    assert found == pytest.approx(measured.durations_s.transpose(1, 0, 2))


@given(size=st.floats(5, 60), cpu=st.floats(500, 6000))
def test_a_grid_has_the_values_of_its_points(size: float, cpu: float) -> None:
    sizes, ladder = np.array([size, 20.0, 50.0]), np.array([min(cpu, 2000), 2000.0 + cpu])
    for model in (MonotoneSurface(profile(wiggle=0.1)), SplineSurface(profile(wiggle=0.1))):
        grid = model.grid(sizes, ladder)
        for column, each in enumerate(ladder):
            assert grid[:, column] == pytest.approx(model.points(sizes, np.full(3, each)))


def test_repeated_runs_widen_the_interval() -> None:
    once = profile()
    spread = Profile(once.members, once.sizes, once.millicores, once.durations_s, 0.05 * once.durations_s)
    at = np.full(3, 22.0), np.full(3, 1700.0)
    low, high = MonotoneSurface(spread).interval(*at)
    assert (low < MonotoneSurface(once).interval(*at)[0]).all()
    assert (high > MonotoneSurface(once).interval(*at)[1]).all()


def test_a_profile_that_is_too_small_for_a_spline_is_refused() -> None:
    small = Profile(("m",), SIZES[:3], CPU, np.ones((1, 3, 4)))
    with pytest.raises(ProfileUnusable, match="at least four sizes"):
        SplineSurface(small)
