"""Models of power."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.accounting.power import (
    GPUS,
    PER_CORE,
    SPECPOWER_R830,
    CurvePower,
    GpuModel,
    LinearPower,
    NodeModel,
    PerCore,
    PowerModels,
    estimate,
)
from extender.core.facts import NodeFacts

GIB = 1 << 30
utilisations = st.floats(0, 1)


def test_linear_power_is_idle_plus_a_share() -> None:
    model = LinearPower(50, 150)
    assert [model.watts(u) for u in (0, 0.25, 1)] == [50, 75, 150]


def test_a_curve_passes_through_its_points_and_straight_between_them() -> None:
    model = CurvePower((50, 100, 120))
    assert [model.watts(u) for u in (0, 0.25, 0.5, 0.75, 1)] == [50, 75, 100, 110, 120]


def test_specpower_curve_rises_fast_at_first() -> None:
    assert SPECPOWER_R830.watts(0.1) == 181
    assert SPECPOWER_R830.watts(1) == 562
    straight = LinearPower(86.4, 562)
    assert SPECPOWER_R830.watts(0.1) > straight.watts(0.1) * 1.3


@pytest.mark.parametrize(("utilisation", "watts"), [(-1.0, 50.0), (7.0, 150.0)])
def test_a_utilisation_out_of_range_is_cut(utilisation: float, watts: float) -> None:
    assert LinearPower(50, 150).watts(utilisation) == watts
    assert CurvePower((50, 150)).watts(utilisation) == watts


def test_a_utilisation_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a number"):
        LinearPower(50, 150).watts(math.nan)


@pytest.mark.parametrize(("idle", "peak"), [(-1, 5), (10, 5), (0, math.inf), (math.nan, 5)])
def test_watts_that_make_no_sense_are_refused(idle: float, peak: float) -> None:
    with pytest.raises(ValueError, match="0 <= idle <= peak"):
        LinearPower(idle, peak)
    with pytest.raises(ValueError, match="0 <= idle <= peak"):
        GpuModel(idle, peak)


@pytest.mark.parametrize("points", [(), (50,), (50, math.nan), (-1, 50)])
def test_a_curve_needs_two_points_of_watts(points: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        CurvePower(points)


@given(utilisations, utilisations, st.floats(0, 500), st.floats(1, 500))
def test_a_scaled_curve_keeps_its_ends_and_order(a: float, b: float, idle: float, more: float) -> None:
    model = SPECPOWER_R830.between(idle, idle + more)
    assert model.watts(0) == pytest.approx(idle)
    assert model.watts(1) == pytest.approx(idle + more)
    low, high = sorted((a, b))
    assert model.watts(low) <= model.watts(high) + 1e-9


def test_a_flat_curve_has_no_shape_to_scale() -> None:
    with pytest.raises(ValueError, match="no shape"):
        CurvePower((50, 50)).between(10, 20)


@pytest.mark.parametrize("per_core", PER_CORE.values(), ids=PER_CORE)
def test_defaults_scale_with_cores(per_core: PerCore) -> None:
    model = per_core.of(16)
    assert model.watts(0) == pytest.approx(16 * per_core.idle_w)
    assert model.watts(1) == pytest.approx(16 * per_core.peak_w)


def test_a_node_of_unknown_make_is_modelled_by_cores_and_memory() -> None:
    model = PowerModels().of(NodeFacts("n", {"cpu": 16000, "memory": 64 * GIB}))
    power = estimate(model, 0)
    assert power.idle_w == pytest.approx(16 * 0.74 + 64 * 1.073741824 * 0.392)
    assert power.total_w == power.idle_w


def test_an_instance_type_has_its_own_model() -> None:
    own = NodeModel("mine", LinearPower(1, 2))
    node = NodeFacts("n", {"cpu": 1000}, {"node.kubernetes.io/instance-type": "m9.huge"})
    assert PowerModels(by_instance_type={"m9.huge": own}).of(node) is own


def test_a_gpu_is_found_by_its_product_label() -> None:
    node = NodeFacts("n", {"nvidia.com/gpu": 2}, {"nvidia.com/gpu.product": "Tesla-T4"})
    model = PowerModels().of(node)
    assert model.gpu == GPUS["T4"]
    power = estimate(model, 0, gpus=2, gpus_given=1)
    assert (power.gpu_idle_w, power.gpu_dynamic_w) == (16, 63)


def test_a_node_without_anything_draws_nothing() -> None:
    assert estimate(PowerModels().of(NodeFacts("n", {})), 1).total_w == 0


def test_pue_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        PowerModels(pue=0.9)
