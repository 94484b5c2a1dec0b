"""Fake nodes: KWOK plays their kubelets, so thousands of them cost nothing and their pods run at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import yaml

from tests.e2e.harness.client import Client, Object, WatchEnded
from tests.e2e.harness.controlplane import ADMIN_TOKEN, TOOLS, ControlPlane
from tests.e2e.harness.processes import Process

FAKE = {"kwok.x-k8s.io/node": "fake"}
RUN_FOR = "e2e.carbon-scheduler/run-for"  # annotation of a pod: it succeeds that long after it started ("5s")
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
GPU = "nvidia.com/gpu"
CONNECTIONS = 16

NODE_STATUS = """
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
addresses:
- type: InternalIP
  address: {{ NodeIP | Quote }}
phase: Running
"""

POD_RUNNING = """
{{ $now := Now | Quote }}
phase: Running
startTime: {{ $now }}
hostIP: {{ NodeIP | Quote }}
podIP: {{ PodIP | Quote }}
conditions:
{{ range $type := list "Initialized" "ContainersReady" "Ready" }}
- type: {{ $type }}
  status: "True"
  lastTransitionTime: {{ $now }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now }}}}
{{ end }}
"""

POD_SUCCEEDED = """
{{ $now := Now | Quote }}
phase: Succeeded
conditions:
{{ range $type := list "ContainersReady" "Ready" }}
- type: {{ $type }}
  status: "False"
  reason: PodCompleted
  lastTransitionTime: {{ $now }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  ready: false
  started: false
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}
{{ end }}
"""

READY = '.status.conditions.[] | select( .type == "Ready" ) | .status'
GONE = ".metadata.deletionTimestamp"
PHASE = ".status.phase"


def where(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator} | ({"values": list(values)} if values else {})


def stage(
    name: str,
    kind: str,
    conditions: Sequence[Mapping[str, Any]],
    then: Mapping[str, Any],
    delay: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": list(conditions)},
        "next": dict(then),
    }
    if delay:
        spec["delay"] = dict(delay)
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def stages() -> list[dict[str, Any]]:
    """What KWOK does to nodes and pods, and when. Without stages it does nothing."""
    alive = where(GONE, "DoesNotExist")
    run_for = f'.metadata.annotations["{RUN_FOR}"]'
    return [
        stage("node-initialize", "Node", [where(READY, "NotIn", "True")], {"statusTemplate": NODE_STATUS}),
        stage(
            "node-heartbeat",
            "Node",
            [where(READY, "In", "True"), where(PHASE, "In", "Running")],
            {"statusTemplate": NODE_STATUS},
            {"durationMilliseconds": 600_000, "jitterDurationMilliseconds": 610_000},
        ),
        stage(
            "pod-run",
            "Pod",
            [alive, where(PHASE, "In", "Pending")],
            {"statusTemplate": POD_RUNNING},
        ),
        stage(
            "pod-complete",
            "Pod",
            [alive, where(PHASE, "In", "Running"), where(run_for, "Exists")],
            {"statusTemplate": POD_SUCCEEDED},
            {"durationMilliseconds": 1000, "durationFrom": {"expressionFrom": run_for}},
        ),
        stage("pod-delete", "Pod", [where(GONE, "Exists")], {"delete": True}),
    ]


def node_body(
    name: str,
    cpu: str = "4",
    memory: str = "16Gi",
    pods: int = 110,
    gpu: int = 0,
    zone: str = "zone-a",
    labels: Mapping[str, str] | None = None,
    taints: Sequence[Mapping[str, str]] = (),
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """A node object; also used for the nodes of the process kubelet, which passes no annotations."""
    room = {"cpu": cpu, "memory": memory, "pods": str(pods)} | ({GPU: str(gpu)} if gpu else {})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {HOSTNAME: name, ZONE: zone, "kubernetes.io/os": "linux"} | dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "spec": {"taints": [dict(taint) for taint in taints]} if taints else {},
        "status": {"allocatable": room, "capacity": room},
    }


class Kwok:
    """The KWOK process. It touches only nodes made by `fake_node`, and the pods on them."""

    def __init__(self, cluster: ControlPlane) -> None:
        self.cluster = cluster
        self.process: Process | None = None

    def start(self) -> None:
        config = self.cluster.work / "kwok-stages.yaml"
        workers = ("nodePlayStageParallelism", "nodeLeaseParallelism", "podPlayStageParallelism")
        options = {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": dict.fromkeys(workers, CONNECTIONS),
        }
        config.write_text(yaml.safe_dump_all([options, *stages()], sort_keys=False))
        command = [
            TOOLS / "kwok",
            f"--kubeconfig={self.cluster.kubeconfig(ADMIN_TOKEN, 'kwok')}",
            f"--config={config}",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
            "--node-ip=192.0.2.1",
            "--cidr=198.18.0.0/15",  # for benchmarks: nobody answers there
        ]
        self.process = Process("kwok", command, self.cluster.log("kwok"))

    def stop(self) -> None:
        if self.process:
            self.process.kill()


def in_parallel(bodies: Sequence[Object], do: Callable[[Object], object]) -> None:
    with ThreadPoolExecutor(min(CONNECTIONS, max(1, len(bodies)))) as pool:
        list(pool.map(do, bodies))


def create_nodes(client: Client, bodies: Sequence[Object], timeout_s: float = 240.0) -> list[str]:
    """Posts fake nodes and returns their names when all are Ready and free of the not-ready taint."""
    for body in bodies:
        body["metadata"]["annotations"] |= FAKE
    in_parallel(bodies, lambda body: client.create("nodes", body))
    names = [body["metadata"]["name"] for body in bodies]
    await_ready(client, names, timeout_s)
    return names


def await_ready(client: Client, names: Sequence[str], timeout_s: float = 240.0) -> None:
    """A node takes pods when it is Ready and the node controller removed its initial taint.

    Watched, not polled: listing thousands of nodes again and again would slow down what is waited for.
    """
    missing = set(names)

    def last_one(_: str, node: Object) -> bool:
        if takes_pods(node):
            missing.discard(node["metadata"]["name"])
        return not missing

    deadline_s = time.monotonic() + timeout_s
    while missing:
        left_s = deadline_s - time.monotonic()
        # a server under load ends the watches of slow readers; then it starts over
        with client.watch("nodes") as watch, suppress(WatchEnded):
            watch.until(last_one, f"{len(names)} nodes ready", left_s)


def takes_pods(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    taints = node["spec"].get("taints", [])
    return ready and not any(taint["key"] == "node.kubernetes.io/not-ready" for taint in taints)


def delete_nodes(client: Client, names: Sequence[str]) -> None:
    """Nodes and whatever still lies on them."""
    gone = set(names)
    for pod in client.list("pods"):
        if pod["spec"].get("nodeName") in gone:
            meta = pod["metadata"]
            client.delete("pods", meta["name"], meta["namespace"], grace_s=0)
    in_parallel(
        [{"metadata": {"name": name}} for name in names],
        lambda body: client.delete("nodes", body["metadata"]["name"]),
    )
