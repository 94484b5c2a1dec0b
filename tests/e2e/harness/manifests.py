"""The repository's manifests, applied with kubectl as users do it, and the pods that come of them."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import E2E, ControlPlane
from tests.e2e.harness.kubelet import Kubelet
from tests.e2e.harness.waiting import wait_for

ROOT = E2E.parents[1]
MANIFESTS = ROOT / "manifests"
HOME = "carbon-scheduler"
PART_OF = "app.kubernetes.io/part-of=carbon-scheduler"
API_PORT = 8421


@dataclass
class Overlay:
    """A user's overlay: a base, components, and what the user adds."""

    cluster: ControlPlane
    base: str = "base"
    components: Sequence[str] = ()

    def folder(self) -> Path:
        """Written anew; kustomize takes relative paths only."""
        folder = self.cluster.work / f"overlay-{self.base}"
        folder.mkdir(exist_ok=True)
        up = "/".join([".."] * len(folder.relative_to(ROOT).parts))
        content: Object = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{up}/manifests/{self.base}"],
            "components": [f"{up}/manifests/components/{name}" for name in self.components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return folder

    def rendered(self) -> list[Object]:
        """All objects, as kubectl makes them."""
        return list(yaml.safe_load_all(self.cluster.kubectl("kustomize", self.folder())))

    def apply(self) -> None:
        """As an administrator does it."""
        self.cluster.kubectl("apply", "--kustomize", self.folder())


WORKLOAD = (
    "deployments",
    "services",
    "networkpolicies",
    "poddisruptionbudgets",
    "persistentvolumeclaims",
    "secrets",
    "configmaps",
)
RIGHTS = ("rolebindings", "roles", "serviceaccounts")
CLUSTER_WIDE = (
    "clusterrolebindings",
    "clusterroles",
    "mutatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingadmissionpolicies",
)


def undeploy(cluster: ControlPlane) -> None:
    """Takes away all but the namespace. `install` brings the plain roles back for other scenarios."""
    for kind in WORKLOAD:
        cluster.admin.delete_all(kind, HOME)
    cluster.admin.delete_all("pods", HOME, grace_s=0)
    cluster.admin.delete_all("leases", HOME)
    for kind in RIGHTS:
        cluster.admin.delete_all(kind, HOME, labels=PART_OF)
    for kind in CLUSTER_WIDE:
        cluster.admin.delete_all(kind, labels=PART_OF)
    cluster.admin.delete_all("rolebindings", "kube-system", labels=PART_OF)
    wait_for(lambda: not cluster.admin.list("pods", HOME), "pods gone", 30)


class RunningPods:
    """Pods of the namespace on a process kubelet."""

    def __init__(self, cluster: ControlPlane, kubelet: Kubelet) -> None:
        self._cluster, self._kubelet = cluster, kubelet

    def of(self, component: str) -> list[Object]:
        """Pods with this `app.kubernetes.io/component` that run."""
        labels = f"app.kubernetes.io/component={component}"
        pods = self._cluster.admin.list("pods", HOME, labels=labels)
        return [pod for pod in pods if pod["status"]["phase"] == "Running"]

    def await_ready(self, timeout_s: float = 300) -> None:
        """Returns when there are as many pods as Deployments want, and all readiness probes say yes."""

        def ready() -> bool:
            deployments = self._cluster.admin.list("deployments", HOME)
            pods = self._cluster.admin.list("pods", HOME)
            running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
            wanted = sum(each["spec"]["replicas"] for each in deployments)
            return wanted == len(pods) == len(running) and all(map(all_probes_pass, running))

        wait_for(ready, "all pods ready", timeout_s, self.explain)

    def explain(self) -> str:
        """What the containers said last, and why pods were not made."""
        lines = [
            f"{event['reason']}: {event['message']}"
            for event in self._cluster.admin.list("events", HOME)
            if event.get("type") == "Warning"
        ]
        for local in list(self._kubelet.pods.values()):
            lines += [process.log_tail(15) for process in local.processes.values()]
        return "\n".join(lines)


def all_probes_pass(pod: Object) -> bool:
    """Whether each container answers its readiness probe, asked as a kubelet asks it."""
    containers = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return all(probe_passes(pod["status"]["podIP"], each) for each in containers)


def probe_passes(ip: str, container: Object) -> bool:
    """One container's readiness probe."""
    probe = container["readinessProbe"]["httpGet"]
    port = probe["port"]
    if isinstance(port, str):
        (port,) = [each["containerPort"] for each in container["ports"] if each["name"] == port]
    try:
        return request(ip, port, probe["path"], tls=probe.get("scheme") == "HTTPS")[0] == 200
    except OSError:
        return False


def request(ip: str, port: int, path: str, *, tls: bool = False) -> tuple[int, str]:
    """Status and body. Like a kubelet's probe it does not check certificates."""
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: Any = http.client.HTTPSConnection(ip, port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(ip, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ask(pod: Object, path: str, port: int = API_PORT) -> Any:
    """A page of a pod's API."""
    status, text = request(pod["status"]["podIP"], port, path)
    assert status == 200, (status, text)
    return json.loads(text)
