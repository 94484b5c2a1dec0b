"""What a pod takes of its node, as kube-scheduler counts it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from extender.objects.quantity import LARGEST, QuantityError
from extender.objects.requests import effective_requests
from extender.objects.structs import Pod

GIB = 1 << 30


def box(cpu: str = "", *, name: str = "main", sidecar: bool = False, **limits: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "resources": {"requests": {"cpu": cpu} if cpu else {}, "limits": limits},
    }
    if sidecar:
        made["restartPolicy"] = "Always"
    return made


def requests(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, int]:
    return effective_requests(msgspec.convert({"spec": spec, "status": status}, Pod))


def test_containers_add_up() -> None:
    assert requests(containers=[box("1"), box("500m")]) == {"cpu": 1500}


def test_a_limit_without_a_request_is_the_request() -> None:
    made = box("1")
    made["resources"]["limits"] = {"nvidia.com/gpu": "2", "memory": "1Gi", "cpu": "8"}
    assert requests(containers=[made]) == {"cpu": 1000, "nvidia.com/gpu": 2, "memory": GIB}


def test_init_containers_count_by_the_largest() -> None:
    assert requests(containers=[box("1")], initContainers=[box("3"), box("2")]) == {"cpu": 3000}
    assert requests(containers=[box("4")], initContainers=[box("3")]) == {"cpu": 4000}


def test_sidecars_add_to_the_containers() -> None:
    assert requests(containers=[box("1")], initContainers=[box("1", sidecar=True)]) == {"cpu": 2000}


def test_an_init_container_runs_beside_the_sidecars_started_before_it() -> None:
    early = [box("1", sidecar=True), box("5")]
    late = [box("5"), box("1", sidecar=True)]
    assert requests(containers=[box("1")], initContainers=early) == {"cpu": 6000}
    assert requests(containers=[box("1")], initContainers=late) == {"cpu": 5000}


def test_overhead_comes_on_top_of_everything() -> None:
    made = requests(
        containers=[box("1")], initContainers=[box("3")], overhead={"cpu": "250m", "memory": "1Gi"}
    )
    assert made == {"cpu": 3250, "memory": GIB}


def test_requests_of_the_whole_pod_replace_the_sum() -> None:
    made = requests(
        containers=[box("1", memory="1Gi"), box("1")],
        resources={"requests": {"cpu": "8", "example.com/gadget": "1"}},
        overhead={"cpu": "1"},
    )
    assert made == {"cpu": 9000, "memory": GIB}


@pytest.mark.parametrize(
    ("asked", "granted", "counts"), [("1", "3", 3000), ("3", "1", 3000)], ids=["shrinking", "growing"]
)
def test_while_resized_in_place_the_larger_counts(asked: str, granted: str, counts: int) -> None:
    status = {"containerStatuses": [{"name": "main", "allocatedResources": {"cpu": granted}}]}
    assert requests(status, containers=[box(asked)]) == {"cpu": counts}


def test_what_a_container_really_holds_counts_too() -> None:
    status = {"containerStatuses": [{"name": "main", "resources": {"requests": {"cpu": "4"}}}]}
    assert requests(status, containers=[box("1")]) == {"cpu": 4000}


def test_a_refused_resize_takes_no_room() -> None:
    status = {
        "conditions": [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}],
        "containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "1"}}],
    }
    assert requests(status, containers=[box("64", memory="1Gi")]) == {"cpu": 1000, "memory": GIB}


def test_zero_amounts_are_left_out() -> None:
    assert requests(containers=[box("0", memory="0")]) == {}


def test_sums_are_cut_like_single_amounts() -> None:
    assert requests(containers=[box("1e30"), box("1e30")]) == {"cpu": LARGEST}


def test_an_unreadable_amount_is_named() -> None:
    with pytest.raises(QuantityError, match=r"cpu.*two"):
        requests(containers=[box("two")])


@pytest.mark.parametrize("absent", [None, [], {}])
def test_nothing_asks_for_nothing(absent: Any) -> None:
    empty_list = absent if absent != {} else None
    empty_map = absent if absent != [] else None
    made = requests(containers=empty_list, initContainers=empty_list, overhead=empty_map, resources=empty_map)
    assert made == {}


@pytest.mark.parametrize(
    ("asked", "allocated", "actual", "refused", "counts"),
    [
        ("2", "1", "1", False, 2000),  # the kubelet has not seen it yet
        ("1", "2", "1", False, 2000),  # allocated, not carried out
        ("1", "1", "2", False, 2000),  # smaller, not carried out
        ("4", "1", "2", True, 2000),  # refused: the wish does not count
        ("2", None, None, False, 2000),
    ],
)
def test_while_a_whole_pod_is_resized_in_place_the_largest_counts(
    asked: str, allocated: str | None, actual: str | None, refused: bool, counts: int
) -> None:
    """As `PodRequests` of component-helpers 0.36 and 0.37 has it for pod-level resources."""
    status: dict[str, Any] = {}
    if allocated is not None:
        status = {"allocatedResources": {"cpu": allocated}, "resources": {"requests": {"cpu": actual}}}
    if refused:
        status["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
    spec = {"containers": [box("500m")], "resources": {"requests": {"cpu": asked}}}
    assert requests(status, **spec) == {"cpu": counts}


def test_what_a_pod_holds_as_a_whole_counts_beside_its_containers() -> None:
    """Kubernetes 1.37 takes the sums that the kubelet reports; less than the containers ask is no news."""
    held = {"allocatedResources": {"cpu": "3"}, "resources": {"requests": {"cpu": "3"}}}
    assert requests(held, containers=[box("1"), box("1")]) == {"cpu": 3000}
    assert requests(held, containers=[box("2"), box("2")]) == {"cpu": 4000}
