"""A stock Kubernetes control plane as child processes: etcd, kube-apiserver, kube-controller-manager."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.client import Client, Object
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.waiting import wait_for
from tests.e2e.setup_tools import NEWEST, kubernetes_bin

E2E = Path(__file__).resolve().parents[1]
TOOLS = E2E / ".bin"
VERSION = os.environ.get("E2E_KUBERNETES") or NEWEST
BIN = kubernetes_bin(VERSION)
ADMIN_TOKEN = "e2e-admin"
SCHEDULER_TOKEN = "e2e-kube-scheduler"
ISSUER = "https://kubernetes.default.svc"
TOKEN_S = 6 * 3600
# without cloud and network there is nothing for these to do; 1.37 does not know those of clouds any more
CONTROLLERS = "*,-nodeipam" + (",-cloud-node-lifecycle,-route,-service" if VERSION == "1.36" else "")


def service_account_user(namespace: str, name: str) -> str:
    """How RBAC and audit logs name a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


class ControlPlane:
    """One cluster. `admin` may do everything; everything else gets the token of a ServiceAccount."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.pki = work / "pki"
        self.ca_file = self.pki / "ca.crt"
        self.etcd_port, self.etcd_peer_port, self.port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.etcd: Process | None = None
        self.apiserver: Process | None = None
        self.controllers: Process | None = None
        self._admin: Client | None = None
        self._clients: list[Client] = []

    @property
    def admin(self) -> Client:
        assert self._admin is not None, "the control plane was not started"
        return self._admin

    def start(self) -> None:
        """Returns when the API answers, default namespaces are there and ServiceAccounts are made."""
        self.pki.mkdir(parents=True)
        subprocess.run([str(BIN / "pki"), str(self.pki)], check=True)
        tokens = f'{ADMIN_TOKEN},admin,admin,"system:masters"\n'
        tokens += f"{SCHEDULER_TOKEN},system:kube-scheduler,kube-scheduler\n"
        (self.pki / "tokens.csv").write_text(tokens)
        self._admin = self.client(ADMIN_TOKEN)
        self.start_etcd()
        self.start_apiserver()
        controllers = self.start_controllers()
        wait_for(
            lambda: self.admin.find("serviceaccounts", "default", "default") or not controllers.running(),
            "default ServiceAccount",
            60,
            controllers.log_tail,
        )
        assert controllers.running(), controllers.log_tail()

    def start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.etcd_peer_port))
        flags = {
            "name": "e2e",
            "data-dir": self.work / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"e2e={peer}",
            "log-level": "warn",
        }
        # the data is thrown away, so nothing is gained by waiting for the disk
        command = [BIN / "etcd", "--unsafe-no-fsync", *arguments(flags)]
        self.etcd = Process("etcd", command, self.log("etcd"))

    def start_apiserver(self) -> None:
        """Also used to start it again after `stop_apiserver`."""
        key = self.pki / "tokens.key"
        flags = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.port,
            "cert-dir": self.work / "apiserver",
            "tls-cert-file": self.pki / "apiserver.crt",
            "tls-private-key-file": self.pki / "apiserver.key",
            # also fills the ConfigMap by which other components check who asks them
            "client-ca-file": self.ca_file,
            "requestheader-client-ca-file": self.ca_file,
            "requestheader-allowed-names": "front-proxy",
            "token-auth-file": self.pki / "tokens.csv",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.0.0.0/24",
            "service-account-issuer": ISSUER,
            "service-account-key-file": self.pki / "tokens.pub",
            "service-account-signing-key-file": key,
            "endpoint-reconciler-type": "none",
        }
        process = Process(
            "kube-apiserver", [BIN / "kube-apiserver", *arguments(flags)], self.log("apiserver")
        )
        self.apiserver = process
        wait_for(
            lambda: self.admin.ready() or not process.running(),
            "kube-apiserver ready",
            60,
            process.log_tail,
        )
        assert process.running(), process.log_tail()

    def stop_apiserver(self) -> None:
        """Gone when this returns, so that its port is free again."""
        if self.apiserver:
            self.apiserver.stop(grace_s=3)

    def start_controllers(self) -> Process:
        flags = {
            "kubeconfig": self.kubeconfig(ADMIN_TOKEN, "controllers"),
            "leader-elect": "false",
            "root-ca-file": self.ca_file,
            "service-account-private-key-file": self.pki / "tokens.key",
            "use-service-account-credentials": "false",
            "controllers": CONTROLLERS,
            "secure-port": 0,
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
        }
        command = [BIN / "kube-controller-manager", *arguments(flags)]
        self.controllers = Process("kube-controller-manager", command, self.log("controllers"))
        return self.controllers

    def stop(self) -> None:
        """Clients first, store last; the data is thrown away, so nobody needs much time."""
        for client in self._clients:
            client.close()
        for process in (self.controllers, self.apiserver, self.etcd):
            if process:
                process.kill()

    def log(self, name: str) -> Path:
        return self.work / "logs" / f"{name}.log"

    def client(self, token: str) -> Client:
        """A client with another identity; closed with the control plane."""
        client = Client(self.url, token, self.ca_file)
        self._clients.append(client)
        return client

    def kubeconfig(self, token: str, name: str) -> Path:
        """A kubeconfig file for one identity."""
        path = self.work / f"{name}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "e2e", "user": name}}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def kubectl(self, *args: str | Path, token: str = ADMIN_TOKEN, stdin: str | None = None) -> str:
        """Output of kubectl; raises with its message when it fails."""
        config = self.kubeconfig(token, "kubectl" if token == ADMIN_TOKEN else "kubectl-other")
        done = subprocess.run(
            [str(BIN / "kubectl"), "--kubeconfig", str(config), *map(str, args)],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            env=os.environ | {"HOME": str(self.work)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))}: {done.stderr.strip()}")
        return done.stdout

    def service_account_token(self, namespace: str, name: str, duration_s: int = TOKEN_S) -> str:
        """A token as a pod with this ServiceAccount would get it; the account must exist."""
        body: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": duration_s},
        }
        answer = self.admin.create("serviceaccounts", body, namespace, name, "token")
        return answer["status"]["token"]

    def create_namespace(self, name: str) -> None:
        """Usable when this returns: pods need the default ServiceAccount and the root certificate."""
        self.admin.ensure("namespaces", {"metadata": {"name": name}})
        wait_for(
            lambda: (
                self.admin.find("serviceaccounts", "default", name)
                and self.admin.find("configmaps", "kube-root-ca.crt", name)
            ),
            f"namespace {name} filled",
        )

    def create_service_account(self, namespace: str, name: str, cluster_role: str = "") -> None:
        """With a role it may do in its namespace what that ClusterRole allows (Spark needs `edit`)."""
        self.admin.ensure("serviceaccounts", {"metadata": {"name": name}}, namespace)
        if not cluster_role:
            return
        binding: Object = {
            "metadata": {"name": f"{name}-{cluster_role}"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": cluster_role,
            },
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        self.admin.ensure("rolebindings", binding, namespace)

    def may(self, token: str, verb: str, kind: str, namespace: str = "") -> bool:
        """Whether an identity holds a permission, asked of the server itself."""
        group = Client.path(kind).split("/")[1] if Client.path(kind).startswith("apis/") else ""
        attributes = {"verb": verb, "resource": kind, "group": group, "namespace": namespace}
        body: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        client = self.client(token)
        path = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(json.loads(client.request("POST", path, body))["status"]["allowed"])


def arguments(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
