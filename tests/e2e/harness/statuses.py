"""Statuses that a kubelet writes: of nodes and of pods."""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from datetime import UTC, datetime

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import VERSION
from tests.e2e.setup_tools import KUBERNETES

NODE_INFO = {
    "architecture": "amd64" if platform.machine() in ("x86_64", "AMD64") else platform.machine(),
    "operatingSystem": "linux",
    "osImage": "processes of this machine",
    "containerRuntimeVersion": "process://1",
    "kubeletVersion": KUBERNETES[VERSION][0],
    "kubeProxyVersion": "",
    "kernelVersion": platform.release(),
    "bootID": "",
    "machineID": "",
    "systemUUID": "",
}


def machine_name() -> str:
    return socket.gethostname()


def now(precise: bool = False) -> str:
    """RFC 3339; leases want microseconds, everything else seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ" if precise else "%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, true: bool, reason: str = "") -> Object:
    status = "True" if true else "False"
    return {"type": kind, "status": status, "lastTransitionTime": now()} | (
        {"reason": reason} if reason else {}
    )


def node_conditions() -> list[Object]:
    """Ready, and none of the pressures."""
    states = {"MemoryPressure": False, "DiskPressure": False, "PIDPressure": False, "Ready": True}
    return [
        condition(kind, true, "KubeletReady" if true else "KubeletHasNoPressure")
        | {"lastHeartbeatTime": now(), "message": "process kubelet"}
        for kind, true in states.items()
    ]


def container_status(container: Object, running: bool, state: Object) -> Object:
    return {
        "name": container["name"],
        "image": container.get("image", ""),
        "imageID": "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
    }


def running(pod: Object, ip: str, host_ip: str, started_at: str) -> Object:
    containers = pod["spec"]["containers"]
    return {
        "phase": "Running",
        "startTime": started_at,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "conditions": [condition(kind, True) for kind in ("Initialized", "ContainersReady", "Ready")],
        "containerStatuses": [
            container_status(each, True, {"running": {"startedAt": started_at}}) for each in containers
        ],
    }


def ended(pod: Object, exit_codes: Mapping[str, int], started_at: str) -> Object:
    """Succeeded only if every container ended with 0."""
    finished_at = now()
    phase = "Failed" if any(exit_codes.values()) else "Succeeded"

    def terminated(name: str) -> Object:
        code = exit_codes.get(name, 0)
        reason = "Error" if code else "Completed"
        times = {"startedAt": started_at or finished_at, "finishedAt": finished_at}
        return {"terminated": {"exitCode": code, "reason": reason} | times}

    return {
        "phase": phase,
        "conditions": [condition(kind, False, "PodCompleted") for kind in ("ContainersReady", "Ready")],
        "containerStatuses": [
            container_status(each, False, terminated(each["name"])) for each in pod["spec"]["containers"]
        ],
    }


def failed(reason: str, message: str) -> Object:
    """A pod that never ran."""
    return {"phase": "Failed", "reason": reason, "message": message, "startTime": now()}
