"""What Kubernetes adds to pods on admission counts: the driver went the way that its executors will go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from extender.adapters.spark import SpecReader, identify
from extender.core.facts import Admitted
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod
from tests.spark.support import MIB, config_map, leader, spec

KATA = Admitted("kata", {"cpu": 250, "memory": 160 * MIB})
PLAIN = {"cpu": 1000, "memory": 1408 * MIB}


def worker(template: str, added: Admitted, conf: dict[str, str] | None = None) -> dict[str, int]:
    driver = replace(leader(mounts="conf-map", template="template-map"), admitted=added)
    return dict(spec(SpecReader().read(driver, config_map(conf), {"podspec-configmap-key": template})).worker)


@pytest.mark.parametrize(
    ("template", "counted"),
    [
        ("spec: {runtimeClassName: kata}", True),
        ("spec: {runtimeClassName: gvisor}", False),
        ("spec: {}", False),
    ],
)
def test_the_overhead_of_the_drivers_class_counts_for_executors_of_that_class(
    template: str, counted: bool
) -> None:
    expected = {"cpu": 1250, "memory": 1568 * MIB} if counted else PLAIN
    assert worker(template, KATA) == expected


def test_an_overhead_that_the_template_states_is_not_counted_twice() -> None:
    template = "spec: {runtimeClassName: kata, overhead: {cpu: 250m, memory: 160Mi}}"
    assert worker(template, KATA) == {"cpu": 1250, "memory": 1568 * MIB}


def test_the_defaults_of_a_limit_range_count_for_containers_that_state_nothing() -> None:
    template = """
spec:
  containers:
  - name: spark
  - name: logs
  - name: metrics
    resources: {requests: {cpu: 50m}, limits: {memory: 64Mi}}
  initContainers:
  - name: proxy
    restartPolicy: Always
"""
    added = Admitted(container_defaults={"cpu": 100, "memory": 128 * MIB, "ephemeral-storage": 1 << 30})
    assert worker(template, added) == {
        "cpu": 1000 + 100 + 50 + 100,
        "memory": (1408 + 128 + 64 + 128) * MIB,
        "ephemeral-storage": 4 << 30,
    }


def test_they_count_without_a_template_too() -> None:
    driver = replace(leader(mounts="conf-map"), admitted=Admitted(container_defaults={"disk": 7, "cpu": 1}))
    assert dict(spec(SpecReader().read(driver, config_map())).worker) == {**PLAIN, "disk": 7}


def facts(**spec: Any) -> Admitted:
    annotations = spec.pop("annotations", {})
    pod = {
        "metadata": {
            "name": "d",
            "uid": "u",
            "labels": {"spark-role": "driver", "spark-app-selector": "a"},
            "annotations": annotations,
        },
        "spec": spec,
    }
    return PodProjector(identify).facts(decode_pod(msgspec.json.encode(pod))).admitted


def test_class_and_overhead_are_read_from_the_driver_pod() -> None:
    assert facts(runtimeClassName="kata", overhead={"cpu": "250m", "memory": "160Mi"}) == KATA


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LimitRanger plugin set: cpu, memory request for container logs", {"cpu": 100, "memory": MIB}),
        ("LimitRanger plugin set: memory request for init container first; cpu limit for container logs",
         {"memory": 2 * MIB}),
        ("LimitRanger plugin set: disk request for container spark; cpu request for container logs",
         {"disk": 5, "cpu": 100}),
        ("LimitRanger plugin set: cpu request for container gone", {}),
        ("LimitRanger plugin set: cpu limit for container logs", {}),
        ("cpu", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_what_a_limit_range_added_is_read_from_its_annotation(text: str, expected: dict[str, int]) -> None:
    """The text as LimitRanger of Kubernetes writes it."""
    containers = [
        {"name": "spark", "resources": {"requests": {"cpu": "1", "disk": "5"}}},
        {"name": "logs", "resources": {"requests": {"cpu": "100m", "memory": "1Mi"}}},
    ]
    first = [{"name": "first", "resources": {"requests": {"memory": "2Mi"}}}]
    added = facts(
        containers=containers, initContainers=first, annotations={"kubernetes.io/limit-ranger": text}
    )
    assert added.container_defaults == expected
