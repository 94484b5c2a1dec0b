"""Real spark-submit in cluster mode."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import E2E, ControlPlane
from tests.e2e.harness.processes import Process
from tests.e2e.harness.sandbox import JAVA_OPTIONS
from tests.e2e.harness.sparks import SparkHome
from tests.e2e.harness.waiting import wait_for

APPS = E2E / "apps"
WORDCOUNT = APPS / "wordcount.py"
ACCOUNT = "spark"
SECRETS = "/var/run/secrets/kubernetes.io/serviceaccount"
# small JVMs that start quickly: about 0.4 GB for a driver and 0.2 GB for an executor
SMALL = {
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.executor.instances": "2",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
}


@dataclass
class Submission:
    """One spark-submit and the application it made."""

    cluster: ControlPlane
    name: str
    namespace: str
    process: Process

    def wait(self, timeout_s: float = 400.0) -> int:
        """Exit code of spark-submit; with waitAppCompletion that is the end of the application."""
        return self.process.wait(timeout_s)

    def log(self) -> str:
        return self.process.log.read_text(errors="replace")

    def driver(self) -> Object | None:
        pods = self.cluster.admin.list("pods", self.namespace, f"spark-role=driver,e2e-app={self.name}")
        return pods[0] if pods else None

    def executors(self) -> list[Object]:
        return self.cluster.admin.list("pods", self.namespace, f"spark-role=executor,e2e-app={self.name}")

    def await_driver(self, timeout_s: float = 240.0) -> Object:
        """The driver pod, as soon as it exists."""

        def found() -> Object | None:
            assert self.process.running() or self.process.exit_code == 0, self.process.log_tail()
            return self.driver()

        driver = wait_for(found, f"driver pod of {self.name}", timeout_s, self.process.log_tail)
        assert driver is not None
        return driver

    def await_phase(self, phase: str, timeout_s: float = 400.0) -> Object:
        """The driver pod, once it is in this phase."""

        def reached() -> Object | None:
            driver = self.driver()
            return driver if driver and driver["status"]["phase"] == phase else None

        driver = wait_for(reached, f"driver of {self.name} {phase}", timeout_s, self.process.log_tail)
        assert driver is not None
        return driver


def prepare_namespace(cluster: ControlPlane, namespace: str) -> None:
    """A namespace in which applications may be submitted, with Spark's usual rights."""
    cluster.create_namespace(namespace)
    cluster.create_service_account(namespace, ACCOUNT, "edit")


def credentials(cluster: ControlPlane, namespace: str) -> dict[str, str]:
    """Confs for spark-submit outside and for the driver inside the cluster."""
    token = cluster.work / f"{namespace}-{ACCOUNT}.token"
    token.write_text(cluster.service_account_token(namespace, ACCOUNT))
    token.chmod(0o600)
    authenticate = "spark.kubernetes.authenticate"
    return {
        f"{authenticate}.submission.oauthTokenFile": str(token),
        f"{authenticate}.submission.caCertFile": str(cluster.ca_file),
        f"{authenticate}.driver.serviceAccountName": ACCOUNT,
        f"{authenticate}.driver.mounted.oauthTokenFile": f"{SECRETS}/token",
        f"{authenticate}.driver.mounted.caCertFile": f"{SECRETS}/ca.crt",
        # the driver's main program runs in client mode, which reads these
        f"{authenticate}.oauthTokenFile": f"{SECRETS}/token",
        f"{authenticate}.caCertFile": f"{SECRETS}/ca.crt",
        "spark.kubernetes.driver.master": cluster.url,
    }


def submit(
    cluster: ControlPlane,
    spark: SparkHome,
    name: str,
    *,
    namespace: str,
    app: Path = WORDCOUNT,
    args: Sequence[str | Path] = (),
    scheduler: str = "",
    conf: Mapping[str, str] | None = None,
    driver_template: Object | None = None,
    executor_template: Object | None = None,
    wait_completion: bool = True,
) -> Submission:
    """Starts spark-submit and returns at once. `name` must be unique; pods are labelled with it."""
    settings = SMALL | credentials(cluster, namespace)
    settings |= {
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.container.image": "no-image",
        "spark.kubernetes.submission.waitAppCompletion": str(wait_completion).lower(),
        "spark.kubernetes.driver.label.e2e-app": name,
        "spark.kubernetes.executor.label.e2e-app": name,
    }
    if scheduler:
        settings["spark.kubernetes.scheduler.name"] = scheduler
    for role, template in (("driver", driver_template), ("executor", executor_template)):
        if template is not None:
            path = cluster.work / f"{name}-{role}-template.yaml"
            path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod"} | template))
            settings[f"spark.kubernetes.{role}.podTemplateFile"] = str(path)
    settings |= dict(conf or {})
    command = [
        str(spark.submit),
        "--master",
        f"k8s://{cluster.url}",
        "--deploy-mode",
        "cluster",
        "--name",
        name,
    ]
    for key, value in settings.items():
        command += ["--conf", f"{key}={value}"]
    command += [f"local://{app}", *map(str, args)]
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(cluster.work),
        "SPARK_HOME": str(spark.home),
        "PYSPARK_PYTHON": str(spark.python),
        "KUBECONFIG": str(cluster.work / "none"),  # the user's own cluster is none of our business
        "JAVA_TOOL_OPTIONS": " ".join(JAVA_OPTIONS),
        "SPARK_LOCAL_IP": "127.0.0.1",
    } | {key: os.environ[key] for key in ("JAVA_HOME",) if key in os.environ}
    process = Process(f"spark-submit {name}", command, cluster.log(f"submit-{name}"), env)
    return Submission(cluster, name, namespace, process)
