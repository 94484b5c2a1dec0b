"""What labels and owners say of a pod's part: client mode, daemons, resource profiles."""

from __future__ import annotations

from typing import Any

import msgspec

from extender.adapters.spark.identify import identify
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod


def executor(**metadata: Any) -> bytes:
    labels = {"spark-role": "executor", "spark-app-selector": "spark-1"}
    return msgspec.json.encode({"metadata": {"name": "e", "uid": "u", "labels": labels} | metadata})


def test_an_executor_without_controller_may_run_without_a_driver_pod() -> None:
    assert PodProjector(identify).facts(decode_pod(executor())).leader_optional


def test_an_executor_of_a_driver_pod_needs_its_driver() -> None:
    owners = [{"kind": "Pod", "name": "driver", "uid": "d", "controller": True}]
    assert not PodProjector(identify).facts(decode_pod(executor(ownerReferences=owners))).leader_optional


def test_pods_of_daemon_sets_and_static_pods_run_for_good() -> None:
    for kind, daemon in (("DaemonSet", True), ("Node", True), ("ReplicaSet", False)):
        owners = [{"kind": kind, "name": "owner", "uid": "o", "controller": True}]
        assert PodProjector(identify).facts(decode_pod(executor(ownerReferences=owners))).daemon is daemon


def test_executors_of_another_resource_profile_are_of_an_odd_size() -> None:
    for profile, odd in (("0", False), ("1", True)):
        labels = {
            "spark-role": "executor",
            "spark-app-selector": "s",
            "spark-exec-resourceprofile-id": profile,
        }
        assert PodProjector(identify).facts(decode_pod(executor(labels=labels))).odd_size is odd
