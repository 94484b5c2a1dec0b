"""The extender as users run it, under the rights of its ServiceAccount, and its second kube-scheduler."""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.controlplane import E2E, ControlPlane
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.schedulers import ExtenderAddress, Scheduler, load_config
from tests.e2e.harness.waiting import wait_for

ROOT = E2E.parents[1]
RBAC = ROOT / "manifests" / "rbac"
AGENT_RIGHTS = ROOT / "manifests" / "components" / "driver-agent" / "rights.yaml"
CONFIG = ROOT / "scheduler-config" / "carbon-scheduler.yaml"
HOME = "carbon-scheduler"
EXTENDER_ACCOUNT = "carbon-scheduler-extender"
SCHEDULER_ACCOUNT = "carbon-scheduler"
RESERVATION = "carbon-scheduler/reservation"


@dataclass
class Extender:
    """One `carbon-scheduler serve` that can be killed and started again at the same address."""

    cluster: ControlPlane
    name: str
    token: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = field(default_factory=free_port)
    process: Process | None = None

    def start(self, crash_at: str = "", *, await_ready: bool = True) -> Extender:
        """Returns when its caches are synced. `crash_at` names the point at which it kills itself."""
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.cluster.work)}
        for key, value in {"http.port": str(self.port), **self.options}.items():
            environment[f"CARBON_SCHEDULER_{key.replace('.', '__').upper()}"] = value
        if crash_at:
            environment["CARBON_SCHEDULER_CRASH_AT"] = crash_at
        kubeconfig = self.cluster.kubeconfig(self.token, self.name)
        command = [
            Path(sys.executable).with_name("carbon-scheduler"),
            "serve",
            "--kubernetes.kubeconfig",
            kubeconfig,
        ]
        self.process = Process(self.name, command, self.cluster.log(self.name), environment)
        if await_ready:
            self.await_ready()
        return self

    def await_ready(self) -> None:
        """Wait until its caches are synced."""
        process = self.process
        assert process is not None
        wait_for(lambda: self.ready() or not process.running(), f"{self.name} ready", 60, process.log_tail)
        assert process.running(), process.log_tail()

    def ready(self) -> bool:
        """Whether it says that it can be asked."""
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call on a connection of its own; status and decoded JSON (or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            payload = json.dumps(body) if body is not None else None
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    def get(self, path: str) -> Any:
        """A page of its API."""
        status, body = self.request("GET", path)
        assert status == 200, (status, body)
        return body

    def held(self) -> dict[str, dict[str, int]]:
        """What is held for pods not bound yet, by node; nodes on which nothing is held are left out."""
        held = {
            node["name"]: {k: v for k, v in node["reserved"].items() if v} for node in self.get("/v1/nodes")
        }
        return {name: amounts for name, amounts in held.items() if amounts}

    def filter_calls(self, outcome: str = "") -> float:
        """Calls of filter so far, of all outcomes or of one."""
        pattern = r'^carbon_scheduler_requests_total\{outcome="([^"]*)",verb="filter"\} (\S+)$'
        samples = re.findall(pattern, self.get("/metrics"), re.M)
        assert samples, "filter was called"
        return sum(float(count) for name, count in samples if outcome in ("", name))

    def kill(self) -> None:
        """As a crash."""
        if self.process:
            self.process.kill()

    def stop(self) -> None:
        """As its kubelet stops it."""
        if self.process:
            self.process.stop()

    def log_text(self) -> str:
        """Everything it logged."""
        log = self.cluster.log(self.name)
        return log.read_text(errors="replace") if log.exists() else ""


@dataclass
class Pair:
    """A second kube-scheduler and its extender, as one pod of the Deployment runs them."""

    extender: Extender
    scheduler: Scheduler

    def start(self, crash_at: str = "") -> Pair:
        """Start both; the scheduler is ready, not necessarily leader."""
        self.extender.start(crash_at)
        self.scheduler.start()
        return self

    def kill(self) -> None:
        """Both die, as with their node."""
        self.extender.kill()
        self.scheduler.kill()


def install(cluster: ControlPlane) -> None:
    """The repository's roles and ServiceAccounts, by kubectl, as an administrator does it.

    With what `drivers.port` needs: scenarios set it like any other option.
    """
    cluster.kubectl("apply", "--kustomize", RBAC)
    cluster.kubectl("apply", "--filename", AGENT_RIGHTS)


def shipped_flags() -> tuple[str, ...]:
    """Flags that the Deployment of the base starts kube-scheduler with, but for file, port and verbosity."""
    deployment = yaml.safe_load((ROOT / "manifests" / "base" / "deployment.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ours = ("--config=", "--secure-port=", "--v=")
    return tuple(flag for flag in container["args"] if not flag.startswith(ours))


def make_pair(cluster: ControlPlane, name: str, *, leader_elect: bool = False, **options: str) -> Pair:
    """Extender and scheduler under their ServiceAccounts, with the repository's own file and flags."""
    token = cluster.service_account_token(HOME, EXTENDER_ACCOUNT)
    extender = Extender(cluster, f"{name}-extender", token, options)
    address = ExtenderAddress(f"http://127.0.0.1:{extender.port}")
    scheduler = Scheduler(
        cluster,
        f"{name}-scheduler",
        load_config(CONFIG, address, leader_elect),
        token=cluster.service_account_token(HOME, SCHEDULER_ACCOUNT),
        flags=shipped_flags(),
    )
    return Pair(extender, scheduler)
