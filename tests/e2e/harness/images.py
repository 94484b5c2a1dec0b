"""Containers of this repository's manifests as processes: its own image, and kube-scheduler's.

Arguments, environment, mounted files and identity are those that the API server has for the pod. A real
container would differ in three things. Pods share one network here, so addresses that mean "this pod" become
the pod's own loopback address, and names of Services the address of a pod behind them. The service account
has its token elsewhere, so a kubeconfig tells its place. There is no read-only root: where the tests run as
root, the process runs as the pod's user, who can write nothing but its volumes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.e2e.harness.client import Client, Object
from tests.e2e.harness.controlplane import BIN

USER = 65532
WEBHOOK_PORT = 8420
TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
PROGRAMS = {
    "carbon-scheduler": Path(sys.executable).with_name("carbon-scheduler"),
    "kube-scheduler": BIN / "kube-scheduler",
}
SERVICE = re.compile(r"\b([a-z0-9-]+)\.([a-z0-9-]+)\.svc\b(?=[:/])")


class NoPodYet(Exception):
    """No pod is behind a Service that a container names."""


def image_name(container: Object) -> str:
    """The last part of an image's name, without tag and digest."""
    return container.get("image", "").rpartition("/")[2].partition("@")[0].partition(":")[0]


def is_ours(container: Object) -> bool:
    """Whether a container runs a program of this repository's manifests."""
    return image_name(container) in PROGRAMS


@dataclass(frozen=True)
class OurImage:
    """One pod's view of this machine."""

    container: Object
    directory: Path
    ip: str
    client: Client
    service_address: Callable[[str, str], str | None]

    def here(self, text: str) -> str:
        """Addresses as they are on this machine. Raises `NoPodYet`."""
        text = text.replace("0.0.0.0", self.ip)
        text = text.replace(f"127.0.0.1:{WEBHOOK_PORT}", f"{self.ip}:{WEBHOOK_PORT}")

        def address(match: re.Match[str]) -> str:
            found = self.service_address(match[2], match[1])
            if found is None and self.client.find("services", match[1], match[2]) is None:
                return match[0]  # as a name that the cluster's DNS does not know
            if found is None:
                raise NoPodYet(f"no pod behind the Service {match[2]}/{match[1]}")
            return found

        return SERVICE.sub(address, text)

    def file(self, name: str, text: str, mounts: Mapping[str, str]) -> str:
        """A mounted configuration file that the arguments name; kube-scheduler's names its kubeconfig."""
        if not any(argument.endswith(f"/{name}") for argument in self.container.get("args", [])):
            return text
        document = yaml.safe_load(text) or {}
        if document.get("kind") == "KubeSchedulerConfiguration":
            document["clientConnection"]["kubeconfig"] = str(self.kubeconfig(mounts))
            text = yaml.safe_dump(document)
        return self.here(text)

    def environment(self, env: Mapping[str, str], mounts: Mapping[str, str]) -> dict[str, str]:
        """What the extender needs to find this pod's address and token; nothing that a pod would not have."""
        own = {name: self.here(text) if name.startswith("CARBON_") else text for name, text in env.items()}
        own["HOME"] = "/"  # as container runtimes set it for a user who is in no file
        if TOKEN_MOUNT in mounts:
            own["CARBON_SCHEDULER_KUBERNETES__KUBECONFIG"] = str(self.kubeconfig(mounts))
            own.setdefault("CARBON_SCHEDULER_HTTP__ADDRESS", self.ip)
        return own

    def kubeconfig(self, mounts: Mapping[str, str]) -> Path:
        """The pod's own token and authority, where they are mounted."""
        path, mounted = self.directory / "kubeconfig", mounts[TOKEN_MOUNT]
        cluster = {"server": self.client.url, "certificate-authority": f"{mounted}/ca.crt"}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": f"{mounted}/token"}}],
            "contexts": [{"name": "pod", "context": {"cluster": "e2e", "user": "pod"}}],
            "current-context": "pod",
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def command(self, args: list[str]) -> list[str]:
        """The program with its arguments, as the pod's user where that is possible."""
        name = image_name(self.container)
        argv = [str(PROGRAMS[name]), *args]
        if name == "kube-scheduler":
            kubeconfig = self.directory / "kubeconfig"
            argv += [f"--bind-address={self.ip}"]
            argv += [f"--{kind}-kubeconfig={kubeconfig}" for kind in ("authentication", "authorization")]
        return [*self.as_user(), *argv]

    def as_user(self) -> list[str]:
        """Nothing unless the tests run as root and others may read the repository."""
        readable = all(parent.stat().st_mode & 0o005 == 0o005 for parent in self.directory.parents)
        setpriv = shutil.which("setpriv")
        if os.geteuid() != 0 or setpriv is None or not readable:
            return []
        volumes = self.directory / "volumes"
        for path in [volumes, *volumes.rglob("*")]:
            os.chown(path, USER if path.is_dir() else -1, USER)
        return [setpriv, f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig", "KILL"]
