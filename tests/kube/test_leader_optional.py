"""Executors without a driver pod: Spark in client mode."""

from __future__ import annotations

from typing import Any

import msgspec

from extender.kube.objects import decode_pod
from extender.kube.projection import PodProjector
from extender.spark.identify import identify


def executor(**metadata: Any) -> bytes:
    labels = {"spark-role": "executor", "spark-app-selector": "spark-1"}
    return msgspec.json.encode({"metadata": {"name": "e", "uid": "u", "labels": labels, **metadata}})


def test_an_executor_without_controller_may_run_without_a_driver_pod() -> None:
    assert PodProjector(identify).facts(decode_pod(executor())).leader_optional


def test_an_executor_of_a_driver_pod_needs_its_driver() -> None:
    owners = [{"kind": "Pod", "name": "driver", "uid": "d", "controller": True}]
    assert not PodProjector(identify).facts(decode_pod(executor(ownerReferences=owners))).leader_optional
