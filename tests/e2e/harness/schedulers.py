"""kube-schedulers: the cluster's default one, and a second one with this repository's configuration."""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.controlplane import BIN, SCHEDULER_TOKEN, ControlPlane
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.waiting import wait_for

PLAIN = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


@dataclass(frozen=True)
class ExtenderAddress:
    """Where this test's extender listens; TLS files only when it serves https."""

    url_prefix: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def https(self) -> bool:
        return self.url_prefix.startswith("https:")


def plain_config(scheduler_name: str, **overrides: Any) -> dict[str, Any]:
    """A scheduler without extender."""
    election = {"leaderElect": False}
    return PLAIN | {"leaderElection": election, "profiles": [{"schedulerName": scheduler_name}]} | overrides


def load_config(
    path: Path, extender: ExtenderAddress | None = None, leader_elect: bool | None = None, **overrides: Any
) -> dict[str, Any]:
    """A configuration file of the repository, with the addresses of this test in place of the real ones.

    Only addresses are replaced (urlPrefix and TLS files of every extender); verbs, weights, timeouts and
    profiles stay as the file has them, because they are what is tested. `overrides` replace top-level keys.
    """
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    for entry in document.get("extenders", []) if extender else []:
        assert extender is not None
        entry["urlPrefix"] = extender.url_prefix
        entry["enableHTTPS"] = extender.https
        entry.pop("tlsConfig", None)
        if extender.https:
            files = {"caFile": extender.ca_file, "certFile": extender.cert_file, "keyFile": extender.key_file}
            entry["tlsConfig"] = {name: str(file) for name, file in files.items() if file}
    if leader_elect is not None:
        document["leaderElection"] = document.get("leaderElection", {}) | {"leaderElect": leader_elect}
    return document | overrides


@dataclass
class Scheduler:
    """One kube-scheduler that can be killed and started again with the same configuration and identity."""

    cluster: ControlPlane
    name: str
    config: dict[str, Any]
    token: str = SCHEDULER_TOKEN
    flags: tuple[str, ...] = ()
    verbosity: int = 2
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def start(self) -> Scheduler:
        """Returns when its caches are filled; not necessarily as leader."""
        kubeconfig = self.cluster.kubeconfig(self.token, self.name)
        connection = self.config.get("clientConnection", {}) | {"kubeconfig": str(kubeconfig)}
        path = self.cluster.work / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(self.config | {"clientConnection": connection}, sort_keys=False))
        command = [
            BIN / "kube-scheduler",
            f"--config={path}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.cluster.work / self.name}",
            f"--v={self.verbosity}",
            *self.flags,
        ]
        self.process = Process(self.name, command, self.cluster.log(self.name))
        process = self.process
        wait_for(
            lambda: self.ready() or not process.running(), f"{self.name} ready", 60, self.process.log_tail
        )
        assert self.process.running(), self.process.log_tail()
        return self

    def ready(self) -> bool:
        """Health is open to all; the certificate is one it made itself, so it is not checked here."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """As a crash: a held lease is not given back."""
        if self.process:
            self.process.kill()

    def stop(self) -> None:
        if self.process:
            self.process.stop()

    def log_text(self) -> str:
        log = self.cluster.log(self.name)
        return log.read_text(errors="replace") if log.exists() else ""


def default_scheduler(cluster: ControlPlane) -> Scheduler:
    """The cluster's own scheduler, as an unsuspecting administrator runs it."""
    return Scheduler(cluster, "default-scheduler", plain_config("default-scheduler"))
