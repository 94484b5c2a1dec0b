"""What labels and owners say of a pod's part: client mode, daemons, resource profiles."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from extender.adapters.spark.identify import identify
from extender.core.facts import OwnerRef
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod


def executor(**metadata: Any) -> bytes:
    labels = {"spark-role": "executor", "spark-app-selector": "spark-1"}
    return msgspec.json.encode({"metadata": {"name": "e", "uid": "u", "labels": labels} | metadata})


def owner(kind: str, uid: str, controller: bool | None = True) -> dict[str, Any]:
    return {"kind": kind, "name": f"the-{uid}", "uid": uid, "controller": controller}


@pytest.mark.parametrize(
    ("owners", "expected"),
    [
        ([], None),
        ([owner("Pod", "d")], OwnerRef("Pod", "the-d", "d")),
        ([owner("Pod", "d", None)], OwnerRef("Pod", "the-d", "d")),
        ([owner("ConfigMap", "c", None)], None),
        ([owner("ConfigMap", "c", None), owner("Pod", "d", False)], OwnerRef("Pod", "the-d", "d")),
        ([owner("Pod", "d", False), owner("StatefulSet", "s")], OwnerRef("StatefulSet", "the-s", "s")),
    ],
)
def test_an_executor_goes_with_its_controller_else_with_the_pod_that_owns_it(
    owners: list[dict[str, Any]], expected: OwnerRef | None
) -> None:
    facts = PodProjector(identify).facts(decode_pod(executor(ownerReferences=owners)))
    assert facts.owner_ref == expected
    assert facts.leader_optional


def test_owners_of_pods_outside_gangs_are_not_kept() -> None:
    raw = executor(labels={}, ownerReferences=[owner("ReplicaSet", "r")])
    assert PodProjector(identify).facts(decode_pod(raw)).owner_ref is None


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
