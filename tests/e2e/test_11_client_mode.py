"""Real Spark in client mode inside pods: its executors have that pod as owner, and it leads no gang."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.sandbox import JAVA_OPTIONS
from tests.e2e.harness.schedulers import default_scheduler
from tests.e2e.harness.spark import ACCOUNT, APPS, SECRETS, SMALL, WORDCOUNT
from tests.e2e.harness.sparks import SPARK_4
from tests.e2e.harness.waiting import wait_for

EXECUTORS = 2
QUERY = "select id % 3, count(*) from range(0, 12, 1, 4) group by 1"
COUNTS = {"wind": 1100} | dict.fromkeys(("coal", "gas", "sun", "water"), 600)


def confs(installed: ControlPlane, namespace: str, **more: str) -> list[str]:
    """What Spark's documentation has a driver in a pod set, and our scheduler for its executors."""
    settings = SMALL | {
        "spark.kubernetes.namespace": namespace,
        "spark.kubernetes.container.image": "no-image",
        "spark.kubernetes.authenticate.oauthTokenFile": f"{SECRETS}/token",
        "spark.kubernetes.authenticate.caCertFile": f"{SECRETS}/ca.crt",
        "spark.kubernetes.driver.pod.name": "$(POD_NAME)",
        "spark.driver.host": "$(POD_IP)",
        "spark.driver.bindAddress": "$(POD_IP)",
        "spark.kubernetes.scheduler.name": "carbon-scheduler",
        **more,
    }
    words = ["--master", f"k8s://{installed.url}", "--deploy-mode", "client"]
    return words + [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]


def host_spec(scheduler: str, command: list[str], submit_args: str = "") -> Object:
    """Spec of a pod that runs a driver. Nothing in it says so to a scheduler."""

    def field(name: str, path: str) -> Object:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    plain = {
        "SPARK_HOME": str(SPARK_4.home),
        "PYSPARK_PYTHON": str(SPARK_4.python),
        "PYSPARK_DRIVER_PYTHON": str(SPARK_4.python),
        "JAVA_TOOL_OPTIONS": " ".join(JAVA_OPTIONS),
        "KUBECONFIG": "/none",
        "SPARK_LOCAL_IP": "$(POD_IP)",
        "PYSPARK_SUBMIT_ARGS": submit_args,
    }
    env = [field("POD_IP", "status.podIP"), field("POD_NAME", "metadata.name")]
    container = {
        "name": "main",
        "image": "no-image",
        "command": command,
        "env": [*env, *({"name": name, "value": value} for name, value in plain.items())],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
    }
    return {
        "schedulerName": scheduler,
        "serviceAccountName": ACCOUNT,
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
    }


def await_placed(installed: ControlPlane, watching: Observer, namespace: str, host: str) -> list[Object]:
    """The executors, once all have a node; each has the pod of its driver as controller."""

    def executors() -> list[Object]:
        return installed.admin.list("pods", namespace, "spark-role=executor")

    wait_for(lambda: len(executors()) == EXECUTORS, "executors posted", 120)
    watching.await_bound([pod["metadata"]["name"] for pod in executors()], 60)
    for pod in executors():
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", host, True)
    return executors()


def test_the_executors_of_a_notebook_are_placed_one_by_one(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    start_scheduler,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """A pod of the default scheduler; Python makes the session as a kernel of a notebook does."""
    kubelet = real_nodes(2, cpu="2", memory="4Gi")
    watching = observer()
    start_scheduler(default_scheduler(installed))
    extender = start_pair().extender
    result_file = tmp_path / "result.json"
    arguments = " ".join([*confs(installed, namespace), "pyspark-shell"])
    # long enough that Spark waits for both executors before its first job
    command = [str(SPARK_4.python), str(WORDCOUNT), str(result_file), "500"]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "labels": {"app": "notebook"}},
        "spec": host_spec("default-scheduler", command, arguments) | {"restartPolicy": "Never"},
    }
    installed.admin.create("pods", body, namespace)
    await_placed(installed, watching, namespace, "notebook")
    wait_for(
        lambda: installed.admin.get("pods", "notebook", namespace)["status"]["phase"] == "Succeeded",
        "the notebook's work is done",
        180,
        lambda: kubelet.container_log("notebook")[-3000:],
    )
    result: dict[str, Any] = json.loads(result_file.read_text())
    assert result["counts"] == COUNTS
    assert result["version"] == SPARK_4.version
    wait_for(lambda: not extender.held(), "nothing held afterwards", 120, lambda: str(extender.held()))
    watching.assert_kept()


def test_the_executors_of_a_connect_server_in_a_stateful_set_are_placed_one_by_one(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """Spark Connect in client mode: server and executors name our scheduler, the set owns the server."""
    kubelet = real_nodes(2, cpu="2", memory="4Gi")
    watching = observer()
    extender = start_pair().extender
    port = free_port()
    address = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    main = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command = [str(SPARK_4.submit), *main, *confs(installed, namespace, **address), "spark-internal"]
    labels = {"app": "connect", "spark-role": "connect-server"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "connect"},
        "spec": {
            "serviceName": "connect",
            "replicas": 1,
            "selector": {"matchLabels": {"app": "connect"}},
            "template": {"metadata": {"labels": labels}, "spec": host_spec("carbon-scheduler", command)},
        },
    }
    installed.admin.create("statefulsets", body, namespace)
    await_placed(installed, watching, namespace, "connect-0")
    log = tmp_path / "client.log"
    jars = SPARK_4.home / "jars"
    java = ["java", "--add-opens=java.base/java.nio=ALL-UNNAMED"]
    classes = ["--class-path", f"{jars / 'connect-repl'}/*:{jars}/*", str(APPS / "ConnectClient.java")]
    client = Process("connect client", [*java, *classes, f"sc://127.0.0.1:{port}", QUERY], log)
    assert client.wait(120) == 0, client.log_tail() + kubelet.container_log("connect-0")[-3000:]
    rows = sorted(line for line in log.read_text().splitlines() if line.startswith("row "))
    assert rows == ["row 0 4", "row 1 4", "row 2 4"]
    gangs = extender.get("/v1/applications")
    assert [gang["state"] for gang in gangs] == ["leaderless"]
    installed.admin.delete("statefulsets", "connect", namespace)
    wait_for(lambda: not installed.admin.list("pods", namespace), "all pods went with the set", 400)
    wait_for(lambda: not extender.held(), "nothing held afterwards", 120, lambda: str(extender.held()))
    watching.assert_kept()
