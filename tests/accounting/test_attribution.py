"""Who is charged for a node's power."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.accounting.attribution import PodLoad, Rule, attribute
from extender.adapters.accounting.power import NodePower

NODE = {"cpu": 4000, "memory": 8000, "nvidia.com/gpu": 4}


def load(
    uid: str,
    cpu: int = 0,
    memory: int = 0,
    gpus: int = 0,
    *,
    usage: float | None = None,
    watts: float | None = None,
    gpu_watts: float | None = None,
) -> PodLoad:
    requests = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpus}
    return PodLoad(uid, requests, usage, watts, gpu_watts)


def test_idle_power_goes_by_requested_cpu_and_memory_and_the_rest_to_nobody() -> None:
    result = attribute(NodePower(100, 0), NODE, [load("a", 2000, 2000), load("b", 1000, 0)])
    assert result.pods_w == pytest.approx({"a": 100 * (0.5 + 0.25) / 2, "b": 100 * 0.25 / 2})
    assert result.remainder_w == pytest.approx(50)


def test_dynamic_power_goes_by_requests_when_nothing_else_is_known() -> None:
    result = attribute(NodePower(0, 90), NODE, [load("a", 2000), load("b", 1000)])
    assert result.rule is Rule.REQUESTS
    assert result.pods_w == pytest.approx({"a": 60, "b": 30})


def test_usage_is_better_than_requests() -> None:
    result = attribute(NodePower(0, 90), NODE, [load("a", 2000, usage=0.5), load("b", 1000, usage=1.0)])
    assert result.rule is Rule.USAGE
    assert result.pods_w == pytest.approx({"a": 30, "b": 60})


def test_measured_watts_are_best_and_leave_the_rest_to_the_node() -> None:
    pods = [load("a", 2000, usage=1, watts=20), load("b", 1000, usage=1, watts=0)]
    result = attribute(NodePower(0, 90), NODE, pods)
    assert result.rule is Rule.MEASURED
    assert result.pods_w == pytest.approx({"a": 20, "b": 0})
    assert result.remainder_w == pytest.approx(70)


def test_measured_watts_above_the_nodes_are_cut_in_proportion() -> None:
    result = attribute(NodePower(0, 90), NODE, [load("a", watts=120), load("b", watts=60)])
    assert result.pods_w == pytest.approx({"a": 60, "b": 30})
    assert result.remainder_w == 0


def test_an_overcommitted_node_is_not_charged_twice() -> None:
    result = attribute(NodePower(100, 0), NODE, [load("a", 4000, 8000), load("b", 4000, 8000)])
    assert result.pods_w == pytest.approx({"a": 50, "b": 50})


def test_gpu_power_goes_to_those_who_have_the_devices() -> None:
    result = attribute(NodePower(0, 0, gpu_idle_w=40, gpu_dynamic_w=90), NODE, [load("a", gpus=1), load("b")])
    assert result.pods_w == pytest.approx({"a": 10 + 90, "b": 0})
    assert result.remainder_w == pytest.approx(30)


def test_measured_gpu_watts_win() -> None:
    pods = [load("a", gpus=1, gpu_watts=20), load("b", gpus=1, gpu_watts=60)]
    result = attribute(NodePower(0, 0, gpu_dynamic_w=90), NODE, pods)
    assert result.pods_w == pytest.approx({"a": 20, "b": 60})


def test_without_pods_everything_remains() -> None:
    assert attribute(NodePower(100, 5, 3, 2), NODE, []).remainder_w == pytest.approx(110)


def test_a_node_of_unknown_size_charges_no_idle_power() -> None:
    assert attribute(NodePower(100, 0), {}, [load("a", 1000, 1000)]).remainder_w == pytest.approx(100)


watts = st.floats(0, 1000)
maybe = st.none() | watts
loads = st.builds(
    lambda cpu, memory, gpus, usage, own, gpu: load(
        "", cpu, memory, gpus, usage=usage, watts=own, gpu_watts=gpu
    ),
    st.integers(0, 8000),
    st.integers(0, 16000),
    st.integers(0, 6),
    maybe,
    maybe,
    maybe,
)


@given(st.builds(NodePower, watts, watts, watts, watts), st.lists(loads, max_size=6))
def test_energy_is_conserved_and_nobody_is_paid(power: NodePower, pods: list[PodLoad]) -> None:
    named = [
        PodLoad(str(i), p.requests, p.usage_cores, p.measured_w, p.measured_gpu_w) for i, p in enumerate(pods)
    ]
    result = attribute(power, NODE, named)
    assert math.fsum(result.pods_w.values()) + result.remainder_w == pytest.approx(power.total_w, abs=1e-6)
    assert all(each >= 0 for each in result.pods_w.values())
    assert result.remainder_w >= 0
