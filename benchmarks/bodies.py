"""Pods and nodes as a cluster shows them, and the bodies kube-scheduler sends, of realistic size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]

NAMESPACE = "spark"
ZONES = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
TIME = "2026-11-24T08:00:00Z"
FOREIGN = "default-scheduler"
OURS = "carbon-scheduler"


def node_name(number: int) -> str:
    """34 characters, as cloud providers name nodes; 5,000 of them are 185 kB of JSON."""
    return f"ip-10-{number >> 16 & 255:03d}-{number >> 8 & 255:03d}-{number & 255:03d}.eu-west-1.compute"


def uid_of(name: str) -> str:
    """The uid of a pod of this name; the API server of the benchmarks derives it in the same way."""
    return f"uid-{name}"


def pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    cpu: str = "500m",
    memory: str = "256Mi",
    node: str = "",
    phase: str = "Pending",
    scheduler: str = OURS,
    created: str = TIME,
    settings: int = 18,
) -> Object:
    """A pod: one container with environment, token volume, managed fields, tolerations.

    `settings` environment variables make its size: 8 give about 3 kB, 18 about 4.5 kB.
    """
    environment = [
        {"name": f"SPARK_SETTING_{number}", "value": f"/opt/spark/work-dir/value-{number}"}
        for number in range(settings)
    ]
    container = {
        "name": "spark-kubernetes-driver",
        "image": "registry.example.com/data/spark:4.0.1-python",
        "imagePullPolicy": "IfNotPresent",
        "args": ["driver", "--properties-file", "/opt/spark/conf/spark.properties", "--class", "org.App"],
        "env": environment,
        "ports": [{"containerPort": port, "protocol": "TCP"} for port in (7078, 7079, 4040)],
        "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
        "volumeMounts": [
            {"name": "spark-local-dir-1", "mountPath": "/var/data/spark-local"},
            {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    token = {
        "defaultMode": 420,
        "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}],
    }
    fields = {
        f"f:{part}": {
            f"k:{json.dumps({'name': key})}": {".": {}, "f:name": {}, "f:value": {}} for key in keys
        }
        for part, keys in (("env", [each["name"] for each in environment]), ("ports", ["7078", "7079"]))
    }
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": uid_of(name),
            "resourceVersion": "1",
            "creationTimestamp": created,
            "labels": {"app.kubernetes.io/name": "spark", "team": "data", **(labels or {})},
            "annotations": dict(annotations or {}),
            "managedFields": [
                {
                    "manager": "spark",
                    "operation": "Update",
                    "apiVersion": "v1",
                    "fieldsV1": {"f:spec": fields},
                }
            ],
        },
        "spec": {
            "schedulerName": scheduler,
            "nodeName": node,
            "serviceAccountName": "spark",
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": "spark-local-dir-1", "emptyDir": {}},
                {"name": "kube-api-access", "projected": token},
            ],
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{key}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for key in ("not-ready", "unreachable")
            ],
        },
        "status": {"phase": phase, "qosClass": "Burstable"},
    }


def driver(
    app: str,
    executors: int,
    *,
    cpu: str = "500m",
    executor_cpu: str = "500m",
    executor_memory: str = "256Mi",
    **more: Any,
) -> Object:
    """A Spark driver whose annotations say what its executors ask for."""
    annotations = {
        "carbon-scheduler/executor-count": str(executors),
        "carbon-scheduler/executor-cpu": executor_cpu,
        "carbon-scheduler/executor-memory": executor_memory,
        **more.pop("annotations", {}),
    }
    labels = {"spark-role": "driver", "spark-app-selector": app}
    return pod(f"{app}-driver", labels=labels, annotations=annotations, cpu=cpu, **more)


def executor(app: str, number: int, **more: Any) -> Object:
    """An executor of that application."""
    labels = {"spark-role": "executor", "spark-app-selector": app, "spark-exec-id": str(number)}
    return pod(f"{app}-exec-{number}", labels=labels, **more)


def node(number: int, cpu: str = "16050m", memory: str = "66Gi", pods: int = 250) -> Object:
    """A node of about 1.2 kB that is ready."""
    name = node_name(number)
    room = {"cpu": cpu, "memory": memory, "pods": str(pods), "ephemeral-storage": "100Gi"}
    conditions = {"MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False", "Ready": "True"}
    return {
        "metadata": {
            "name": name,
            "uid": uid_of(name),
            "resourceVersion": "1",
            "creationTimestamp": TIME,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "m6i.4xlarge",
                "topology.kubernetes.io/region": "eu-west-1",
                "topology.kubernetes.io/zone": ZONES[number % len(ZONES)],
            },
        },
        "spec": {"providerID": f"cloud:///{name}"},
        "status": {
            "capacity": room,
            "allocatable": room,
            "conditions": [
                {"type": kind, "status": status, "lastHeartbeatTime": TIME, "reason": "Kubelet"}
                for kind, status in conditions.items()
            ],
            "nodeInfo": {"kubeletVersion": "v1.36.3", "osImage": "Linux", "kernelVersion": "6.1"},
        },
    }


def encoded(value: object) -> bytes:
    """JSON without spaces, as Go writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


class Offer:
    """Bodies that offer the same nodes again and again: the names are encoded once."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = encoded(list(names))

    def args(self, made: Object) -> bytes:
        """ExtenderArgs: what filter and prioritize receive with `nodeCacheCapable: true`."""
        return b'{"Pod":%b,"Nodes":null,"NodeNames":%b}' % (encoded(made), self._names)


def bind_args(made: Object, node_name: str) -> bytes:
    """ExtenderBindingArgs."""
    metadata = made["metadata"]
    return encoded(
        {
            "PodName": metadata["name"],
            "PodNamespace": metadata["namespace"],
            "PodUID": metadata["uid"],
            "Node": node_name,
        }
    )
