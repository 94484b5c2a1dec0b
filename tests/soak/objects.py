"""Objects that users and the cluster make in a run."""

from __future__ import annotations

import json
from typing import Any, Final

from extender.lab.registry import Object

OURS: Final = "carbon-scheduler"
TEAM: Final = "team"
NODES: Final = 6
TAINTED: Final = f"n{NODES - 1}"
FEW_PODS: Final = 6
"""The last node without a taint takes no more pods than this: room is not only cores."""

GATE: Final = "example.com/later"
URGENT: Final = 1000


def node(name: str) -> Object:
    """A node as it is while nothing is wrong with it."""
    taints = [{"key": "secure", "value": "", "effect": "NoSchedule"}] if name == TAINTED else []
    pods = FEW_PODS if name == f"n{NODES - 2}" else 110
    return {
        "metadata": {"name": name, "labels": {"carbon-scheduler/carbon-zone": "DE" if name < "n3" else "FR"}},
        "spec": {"taints": taints},
        "status": {
            "allocatable": {"cpu": "8" if name == "n0" else "4", "memory": "64Gi", "pods": str(pods)},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(
    name: str, *, cpu: int = 1, scheduler: str = OURS, app: str = "", role: str = "", priority: int = 0
) -> Object:
    """A pod of some cores."""
    labels = {"spark-role": role, "spark-app-selector": app} if app else {}
    requests = {"cpu": str(cpu), "memory": "1Gi"}
    return {
        "metadata": {"name": name, "namespace": TEAM, "labels": labels, "annotations": {}},
        "spec": {
            "schedulerName": scheduler,
            "priority": priority,
            "containers": [{"name": "c", "resources": {"requests": requests}}],
        },
    }


def driver(
    app: str,
    executors: int,
    most: int,
    *,
    forged: bool = False,
    gated: bool = False,
    max_delay_s: float = 0.0,
) -> Object:
    """A Spark driver. `forged`: its user wrote a reservation on it. `max_delay_s`: it may wait for carbon."""
    made = pod(f"{app}-driver", app=app, role="driver")
    annotations = made["metadata"]["annotations"]
    annotations |= {
        "carbon-scheduler/executor-min-count": str(executors),
        "carbon-scheduler/executor-max-count": str(most),
        "carbon-scheduler/executor-cpu": "1",
        "carbon-scheduler/executor-memory": "1Gi",
    }
    if forged:
        text = '{"v":1,"n":9000,"min":1,"max":1,"packer":"","worker":{"cpu":1},"slots":[["n0",1]]}'
        annotations["carbon-scheduler/reservation"] = text
    if max_delay_s:
        annotations["carbon-scheduler/max-delay"] = f"{max_delay_s:.0f}s"
        annotations["carbon-scheduler/runtime-estimate"] = "60s"
        annotations["carbon-scheduler/carbon-policy"] = "threshold"
    if gated:
        made["spec"]["schedulingGates"] = [{"name": GATE}]
    return made


def labels_of(made: Object) -> dict[str, str]:
    """The labels of an object."""
    return made["metadata"].get("labels") or {}


def annotation(made: Object, key: str) -> str:
    """An annotation of an object, or nothing."""
    return (made["metadata"].get("annotations") or {}).get(key, "")


def app_of(made: Object) -> str:
    """The application of a pod, or nothing."""
    return labels_of(made).get("spark-app-selector", "")


def role_of(made: Object) -> str:
    """Whether a pod is a driver, an executor, or nothing of the kind."""
    return labels_of(made).get("spark-role", "")


def cores_of(made: Object) -> int:
    """What a pod requests."""
    return sum(int(each["resources"]["requests"]["cpu"]) for each in made["spec"]["containers"])


def gated(made: Object) -> bool:
    """Whether kube-scheduler must not try a pod."""
    return bool(made["spec"].get("schedulingGates"))


def filter_args(made: Object, names: list[str]) -> bytes:
    """ExtenderArgs as kube-scheduler writes them."""
    return json.dumps({"Pod": made, "Nodes": None, "NodeNames": names}, separators=(",", ":")).encode()


def bind_args(made: Object, where: str) -> bytes:
    """ExtenderBindingArgs."""
    metadata = made["metadata"]
    args = {"PodName": metadata["name"], "PodNamespace": metadata["namespace"]}
    return json.dumps({**args, "PodUID": metadata["uid"], "Node": where}).encode()


def preempt_args(made: Object, victims: dict[str, list[str]]) -> bytes:
    """ExtenderPreemptionArgs, victims by uid as `nodeCacheCapable` has them."""
    meta: dict[str, Any] = {
        where: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": 0}
        for where, uids in victims.items()
    }
    return json.dumps({"Pod": made, "NodeNameToMetaVictims": meta}).encode()
