"""A kubelet whose containers are local processes: bound pods really run, and fail when they do not fit.

One loop thread owns all state and starts all processes. What the API server cannot be told now is told later:
every pod keeps the status it should have and whether that was delivered.
"""

from __future__ import annotations

import http.client
import queue
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from fractions import Fraction

from tests.e2e.harness import statuses
from tests.e2e.harness.client import ApiError, Client, Object, Watch
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.kwok import await_ready
from tests.e2e.harness.localpods import LocalPod, Stage, loopback_address
from tests.e2e.harness.processes import Process
from tests.e2e.harness.quantities import amounts, pod_requests
from tests.e2e.harness.sandbox import CannotRunError, NotYetError, Sandbox, decommissions

HOST_IP = "127.0.0.1"
TICK_S = 0.1
LEASE_EVERY_S = 8.0
RETRY_START_S = 0.3
DEFAULT_GRACE_S = 30
TROUBLE = (ApiError, OSError, http.client.HTTPException)
SIGPWR = getattr(signal, "SIGPWR", signal.SIGTERM)  # Spark's signal for decommissioning; Linux only


class Kubelet:
    """All real nodes of a test."""

    def __init__(self, cluster: ControlPlane, nodes: Sequence[Object], name: str = "kubelet") -> None:
        self.cluster = cluster
        self.client: Client = cluster.client(cluster.admin.token)
        self.bodies = {body["metadata"]["name"]: body for body in nodes}
        self.live = set(self.bodies)
        self.directory = cluster.work / name
        self.hosts_file = self.directory / "hosts"
        self.pods: dict[str, LocalPod] = {}
        self._log = cluster.log(name)
        self._stop = threading.Event()
        self._leases_at_s = 0.0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Returns when the nodes take pods."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.write_hosts([])
        for body in self.bodies.values():
            self.register(body)
        self._thread.start()
        await_ready(self.client, list(self.bodies))

    def stop(self) -> None:
        """Ends all its processes; nodes and pods stay in the API."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(15)
        for local in self.pods.values():
            for process in local.processes.values():
                process.kill()

    def lose_node(self, name: str) -> None:
        """The machine is gone: its processes die, nobody reports anything, its lease is not renewed."""
        with self._lock:
            self.live.discard(name)
            for local in self.on_node(name):
                for process in local.processes.values():
                    process.kill()
                del self.pods[local.uid]

    def container_log(self, pod: str) -> str:
        """Everything the containers of a pod wrote, also after the pod is gone."""
        files = sorted(self.directory.glob(f"pods/{pod}_*/*.log"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    def process(self, pod: str) -> Process:
        """The first process of a running pod: for killing it."""
        for local in list(self.pods.values()):
            if local.name == pod and local.processes:
                return next(iter(local.processes.values()))
        raise LookupError(f"no process of pod {pod}")

    def on_node(self, name: str) -> list[LocalPod]:
        return [local for local in self.pods.values() if local.node == name]

    def note(self, text: str) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a") as out:
            out.write(f"{statuses.now()} {text}\n")

    # --- nodes

    def register(self, body: Object) -> None:
        name = body["metadata"]["name"]
        self.client.ensure("nodes", body)
        status = body["status"] | {
            "conditions": statuses.node_conditions(),
            "addresses": [{"type": "InternalIP", "address": HOST_IP}, {"type": "Hostname", "address": name}],
            "nodeInfo": statuses.NODE_INFO,
        }
        self.client.patch("nodes", name, {"status": status}, sub="status")
        self.renew(name)

    def renew(self, name: str) -> None:
        """Without a fresh lease the node controller marks the node Unknown."""
        body: Object = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name},
            "spec": {
                "holderIdentity": name,
                "leaseDurationSeconds": 40,
                "renewTime": statuses.now(precise=True),
            },
        }
        self.client.apply("leases", body, "kube-node-lease")

    # --- loop

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except TROUBLE as error:
                self.note(f"again after {error}")
                self._stop.wait(TICK_S)
                self._guarded_tick()
            except Exception:
                self.note(traceback.format_exc())
                raise

    def _follow(self) -> None:
        """One list and the watch that continues it."""
        listed, version = self.client.list_with_version("pods")
        mine = {pod["metadata"]["uid"] for pod in listed}
        with self._lock:
            for pod in listed:
                self.observe("ADDED", pod)
            for local in [local for uid, local in self.pods.items() if uid not in mine]:
                self.observe("DELETED", local.pod)
        with self.client.watch("pods", version=version) as watch:
            while not self._stop.is_set():
                if not self._next(watch):
                    return
                self._guarded_tick()

    def _next(self, watch: Watch) -> bool:
        """Takes the events that are there; false when the watch ended."""
        patience_s = TICK_S
        while True:
            try:
                event = watch.next(patience_s)
            except queue.Empty:
                return True
            if event is None or event[0] == "ERROR":
                return False
            with self._lock:
                self.observe(*event)
            patience_s = 0.001

    def _guarded_tick(self) -> None:
        """Trouble with one pod must not stop the others."""
        with self._lock:
            for local in list(self.pods.values()):
                try:
                    self.advance(local)
                except TROUBLE as error:
                    self.note(f"{local.name}: {error}")
            try:
                self.renew_leases()
            except TROUBLE as error:
                self.note(f"leases: {error}")

    def renew_leases(self) -> None:
        if time.monotonic() < self._leases_at_s:
            return
        for name in self.live:
            self.renew(name)
        self._leases_at_s = time.monotonic() + LEASE_EVERY_S

    # --- pods

    def observe(self, kind: str, pod: Object) -> None:
        """Takes in what the API says about a pod."""
        if pod["spec"].get("nodeName") not in self.live:
            return
        local = self.pods.get(pod["metadata"]["uid"])
        if kind == "DELETED":
            if local:
                self.forget(local)
        elif local:
            local.pod = local.sandbox.pod = pod
            # A pod that ended a moment before it was deleted has to be removed as well.
            if "deletionTimestamp" in pod["metadata"] and not (
                local.stage is Stage.STOPPING or local.removed
            ):
                self.begin_stop(local)
        elif pod.get("status", {}).get("phase") in ("Pending", "Running"):
            self.admit(pod)

    def forget(self, local: LocalPod) -> None:
        """Removed by force: a kubelet kills what it then no longer finds in the API."""
        self.note(f"{local.name}: gone")
        for process in local.processes.values():
            process.kill()
        del self.pods[local.uid]

    def admit(self, pod: Object) -> None:
        """A pod that does not fit fails for good, whoever bound it: schedulers must not overcommit."""
        meta = pod["metadata"]
        directory = self.directory / "pods" / f"{meta['name']}_{meta['uid'][:8]}"
        sandbox = Sandbox(
            pod, directory, loopback_address(), HOST_IP, self.hosts_file, self.client, self.service_address
        )
        local = LocalPod(pod, sandbox)
        short = self.shortage(pod)
        self.pods[local.uid] = local
        if "deletionTimestamp" in meta:
            self.begin_stop(local)
        elif pod["status"]["phase"] == "Running":
            self.finish(local, statuses.failed("ContainersLost", "the kubelet was started again"))
        elif short:
            resource, requested, used, capacity = short
            text = "Pod was rejected: Node didn't have enough resource: "
            text += f"{resource}, requested: {requested}, used: {used}, capacity: {capacity}"
            self.finish(local, statuses.failed(f"OutOf{resource}", text))

    def shortage(self, pod: Object) -> tuple[str, int, int, int] | None:
        """First resource of which the node has too little, in the kubelet's own units."""
        node = pod["spec"]["nodeName"]
        capacity = amounts(self.bodies[node]["status"]["allocatable"])
        used: dict[str, Fraction] = {}
        for local in self.on_node(node):
            if local.stage is not Stage.FINISHED:
                for resource, amount in pod_requests(local.pod).items():
                    used[resource] = used.get(resource, Fraction(0)) + amount
        for resource, amount in pod_requests(pod).items():
            before, limit = used.get(resource, Fraction(0)), capacity.get(resource, Fraction(0))
            if before + amount > limit:
                unit = 1000 if resource == "cpu" else 1
                return resource, int(amount * unit), int(before * unit), int(limit * unit)
        return None

    def finish(self, local: LocalPod, status: Object) -> None:
        local.stage, local.status = Stage.FINISHED, status
        self.note(f"{local.name}: {status['phase']} {status.get('reason', '')} {status.get('message', '')}")

    def advance(self, local: LocalPod) -> None:
        """Next step of one pod, if there is one."""
        now_s = time.monotonic()
        if local.stage is Stage.WAITING and now_s >= local.retry_at_s:
            self.try_start(local)
        elif local.stage is Stage.RUNNING and local.ended():
            self.finish(local, statuses.ended(local.pod, self.exit_codes(local), local.started_at))
        self.deliver(local)
        if local.stage is Stage.STOPPING:
            self.go_on_stopping(local, now_s)

    def try_start(self, local: LocalPod) -> None:
        local.retry_at_s = time.monotonic() + RETRY_START_S
        local.sandbox.directory.mkdir(parents=True, exist_ok=True)
        try:
            commands = local.sandbox.prepare()
        except NotYetError as missing:
            self.note(f"{local.name}: waits for {missing}")
            return
        except CannotRunError as error:
            self.finish(local, statuses.failed("CannotRun", str(error)))
            return
        self.write_hosts(self.client.list("services"))
        local.started_at = statuses.now()
        for command in commands:
            log = local.sandbox.directory / f"{command.container}.log"
            label = f"{local.name}/{command.container}"
            local.processes[command.container] = Process(
                label, command.argv, log, command.env, local.sandbox.directory
            )
        local.stage = Stage.RUNNING
        local.status = statuses.running(local.pod, local.sandbox.ip, HOST_IP, local.started_at)
        self.note(f"{local.name}: runs at {local.sandbox.ip}")

    def exit_codes(self, local: LocalPod) -> dict[str, int]:
        return {name: process.exit_code or 0 for name, process in local.processes.items()}

    def deliver(self, local: LocalPod) -> None:
        if local.status is None:
            return
        # the uid makes sure that a new pod of the same name is not given the old one's status
        body: Object = {"metadata": {"uid": local.uid}, "status": local.status}
        try:
            self.client.patch("pods", local.name, body, local.sandbox.namespace, "status")
        except ApiError as error:
            if error.status not in (404, 409):
                raise
        local.status = None

    # --- stopping

    def begin_stop(self, local: LocalPod) -> None:
        """The grace period starts. Spark's decommissioning hook, if there is one, runs before SIGTERM."""
        grace_s = local.pod["metadata"].get("deletionGracePeriodSeconds")
        now_s = time.monotonic()
        local.kill_at_s = now_s + (DEFAULT_GRACE_S if grace_s is None else grace_s)
        local.terminate_at_s = now_s
        for container in local.pod["spec"]["containers"]:
            process = local.processes.get(container["name"])
            if process and decommissions(container):
                process.signal(SIGPWR)
                local.terminate_at_s = local.kill_at_s - 1
        local.stage = Stage.STOPPING
        self.note(f"{local.name}: stops")

    def go_on_stopping(self, local: LocalPod, now_s: float) -> None:
        if local.ended():
            status = statuses.ended(local.pod, self.exit_codes(local), local.started_at)
            local.status = status if local.processes else None
            self.deliver(local)
            self.client.delete("pods", local.name, local.sandbox.namespace, grace_s=0, uid=local.uid)
            local.stage, local.removed = Stage.FINISHED, True
            return
        if now_s >= local.kill_at_s:
            number: int = signal.SIGKILL
        elif now_s >= local.terminate_at_s:
            number = signal.SIGTERM
            local.terminate_at_s = float("inf")
        else:
            return
        for process in local.processes.values():
            if process.running():
                process.signal(number)

    # --- names

    def service_address(self, namespace: str, name: str) -> str | None:
        """Address of a pod of this kubelet that a Service selects; None if there is none."""
        service = self.client.find("services", name, namespace)
        for local in self.pods.values() if service else ():
            assert service is not None
            labels = local.pod["metadata"].get("labels", {})
            same = local.sandbox.namespace == namespace
            if (
                same
                and local.stage is not Stage.FINISHED
                and service["spec"]["selector"].items() <= labels.items()
            ):
                return local.sandbox.ip
        return None

    def write_hosts(self, services: Iterable[Object]) -> None:
        """Name service for the Java processes: headless services to pod addresses, no root rights needed.

        Java then knows no other names, so the machine's own are listed too.
        """
        lines = {"127.0.0.1 localhost", f"127.0.0.1 {statuses.machine_name()}"}
        for service in services:
            namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
            selector = service["spec"].get("selector") or {}
            for local in self.pods.values():
                labels = local.pod["metadata"].get("labels", {})
                if selector and local.sandbox.namespace == namespace and selector.items() <= labels.items():
                    lines.add(
                        f"{local.sandbox.ip} {name}.{namespace}.svc {name}.{namespace}.svc.cluster.local"
                    )
        fresh = self.hosts_file.with_suffix(".new")
        fresh.write_text("\n".join(sorted(lines)) + "\n")
        fresh.replace(self.hosts_file)
