"""The harness itself: if these fail, nothing that the other end-to-end tests say means anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.e2e.harness.bodies import SPARK_3_VERSION, SPARK_4_VERSION, SimulatedDriver, SparkApp
from tests.e2e.harness.client import MERGE, ApiError
from tests.e2e.harness.controlplane import VERSION, ControlPlane
from tests.e2e.harness.kwok import RUN_FOR
from tests.e2e.harness.schedulers import ExtenderAddress, Scheduler, default_scheduler, load_config
from tests.e2e.harness.spark import submit
from tests.e2e.harness.sparks import SPARK_3, SPARK_4, SparkHome
from tests.e2e.harness.waiting import holds_for, wait_for
from tests.e2e.setup_tools import KUBERNETES


def program(name: str, *command: str, node: str = "", **spec) -> dict:
    """A pod with one small local program."""
    requests = spec.pop("requests", {"cpu": "100m", "memory": "64Mi"})
    container = {
        "name": "main",
        "image": "none",
        "command": list(command),
        "resources": {"requests": requests},
    }
    body = {"containers": [container], "restartPolicy": "Never", "schedulerName": "carbon-scheduler"} | spec
    return {"metadata": {"name": name}, "spec": body | ({"nodeName": node} if node else {})}


def phase(cluster: ControlPlane, name: str, namespace: str) -> str:
    pod = cluster.admin.find("pods", name, namespace)
    return pod["status"]["phase"] if pod else "gone"


def test_control_plane_answers(cluster: ControlPlane) -> None:
    version = json.loads(cluster.kubectl("version", "-o", "json"))
    assert version["serverVersion"]["gitVersion"] == KUBERNETES[VERSION][0]
    assert version["clientVersion"]["gitVersion"] == KUBERNETES[VERSION][0]


def test_service_accounts_hold_only_their_roles(cluster: ControlPlane, namespace: str) -> None:
    cluster.create_service_account(namespace, "nobody")
    token = cluster.service_account_token(namespace, "nobody")
    with pytest.raises(ApiError) as refused:
        cluster.client(token).list("pods", namespace)
    assert refused.value.status == 403
    assert cluster.may(cluster.service_account_token(namespace, "spark"), "create", "pods", namespace)
    assert not cluster.may(token, "create", "pods", namespace)


def test_fake_nodes_get_ready_and_run_pods(
    cluster: ControlPlane, namespace: str, fake_nodes, plain_scheduler: Scheduler
) -> None:
    names = fake_nodes(3, cpu="2", gpu=1, zone="zone-b")
    node = cluster.admin.get("nodes", names[0])
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1"
    body = program("quick", "none", nodeSelector={"topology.kubernetes.io/zone": "zone-b"})
    body["metadata"]["annotations"] = {RUN_FOR: "300ms"}
    cluster.admin.create("pods", body, namespace)
    wait_for(lambda: phase(cluster, "quick", namespace) == "Succeeded", "short pod succeeded")
    pod = cluster.admin.get("pods", "quick", namespace)
    assert pod["spec"]["nodeName"] in names
    assert pod["status"]["podIP"]


@pytest.mark.parametrize("version", [SPARK_3_VERSION, SPARK_4_VERSION])
def test_simulated_driver_posts_its_executors(
    cluster: ControlPlane, namespace: str, fake_nodes, plain_scheduler: Scheduler, version: str
) -> None:
    fake_nodes(2, cpu="8", memory="32Gi")
    app = SparkApp("simulated", namespace, executors=6, version=version)
    driver = SimulatedDriver(cluster.admin, app).submit()
    driver.await_driver_running()
    driver.await_bound(6)
    wait_for(lambda: len(driver.posted) == 6, "all posted")
    driver.delete()
    wait_for(lambda: not driver.executors(), "executors collected with their driver")


def test_processes_report_their_exit_codes(
    cluster: ControlPlane, namespace: str, real_nodes, plain_scheduler: Scheduler
) -> None:
    kubelet = real_nodes(1)
    cluster.admin.create("pods", program("good", "sh", "-c", "echo hello from $HOSTNAME"), namespace)
    cluster.admin.create("pods", program("bad", "sh", "-c", "exit 7"), namespace)
    wait_for(lambda: phase(cluster, "good", namespace) == "Succeeded", "good program ended")
    wait_for(lambda: phase(cluster, "bad", namespace) == "Failed", "bad program ended")
    assert "hello from good" in kubelet.container_log("good")
    state = cluster.admin.get("pods", "bad", namespace)["status"]["containerStatuses"][0]["state"]
    assert state["terminated"]["exitCode"] == 7


def test_pods_that_do_not_fit_their_node_fail(cluster: ControlPlane, namespace: str, real_nodes) -> None:
    real_nodes(1, cpu="1", memory="1Gi")
    half = {"cpu": "600m", "memory": "100Mi"}
    for name in ("first", "second"):
        cluster.admin.create(
            "pods", program(name, "sleep", "60", node="real-0", requests=half, schedulerName="x"), namespace
        )
    wait_for(lambda: phase(cluster, "first", namespace) == "Running", "first runs")
    wait_for(lambda: phase(cluster, "second", namespace) == "Failed", "second fails")
    assert cluster.admin.get("pods", "second", namespace)["status"]["reason"] == "OutOfcpu"
    big = program("third", "sleep", "60", node="real-0", requests={"memory": "1000Mi"}, schedulerName="x")
    cluster.admin.create("pods", big, namespace)
    wait_for(lambda: phase(cluster, "third", namespace) == "Failed", "third fails")
    assert cluster.admin.get("pods", "third", namespace)["status"]["reason"] == "OutOfmemory"
    holds_for(lambda: phase(cluster, "first", namespace) == "Running", "first goes on", 0.5)


def test_deleted_pods_get_sigterm_and_vanish(
    cluster: ControlPlane, namespace: str, real_nodes, plain_scheduler: Scheduler
) -> None:
    kubelet = real_nodes(1)
    trap = "trap 'echo terminated; exit 0' TERM; echo up; while true; do sleep 0.1; done"
    cluster.admin.create("pods", program("long", "sh", "-c", trap), namespace)
    wait_for(lambda: "up" in kubelet.container_log("long"), "program runs")
    cluster.admin.delete("pods", "long", namespace)
    wait_for(lambda: phase(cluster, "long", namespace) == "gone", "pod gone", 10)
    assert "terminated" in kubelet.container_log("long")


@pytest.mark.full  # test_10_spark.py does it below our scheduler
@pytest.mark.parametrize("spark", [SPARK_3, SPARK_4], ids=lambda spark: spark.version)
def test_real_spark_counts_words(
    cluster: ControlPlane,
    namespace: str,
    real_nodes,
    plain_scheduler: Scheduler,
    spark: SparkHome,
    tmp_path: Path,
) -> None:
    kubelet = real_nodes(2, cpu="4", memory="8Gi")
    result_file = tmp_path / "result.json"
    name = f"wordcount-{spark.version.replace('.', '-')}"
    application = submit(
        cluster, spark, name, namespace=namespace, args=[result_file, "500"], scheduler="carbon-scheduler"
    )
    driver = application.await_driver()
    assert driver["spec"]["schedulerName"] == "carbon-scheduler"
    code = application.wait(180)
    logs = kubelet.container_log(driver["metadata"]["name"])
    assert code == 0, f"{application.log()[-3000:]}\n{logs[-3000:]}"
    assert result_file.exists(), logs[-3000:]
    result = json.loads(result_file.read_text())
    # every fifth of the 500 lines is seven times the first word; in the others it stands once in seven
    assert result["counts"] == {"wind": 1100} | dict.fromkeys(("coal", "gas", "sun", "water"), 600)
    assert result["executors"] == 2
    assert result["version"] == spark.version
    application.await_phase("Succeeded")


def test_templates_and_sidecars_reach_real_pods(
    cluster: ControlPlane, namespace: str, real_nodes, start_scheduler, tmp_path: Path
) -> None:
    """The cluster's default scheduler, a gated driver, and a sidecar in the executors."""
    start_scheduler(default_scheduler(cluster))
    kubelet = real_nodes(1, cpu="6", memory="8Gi")
    sidecar = {"name": "sidecar", "image": "none", "command": ["sh", "-c", "echo beside; exec sleep 300"]}
    gate = {"spec": {"containers": [{"name": "driver"}], "schedulingGates": [{"name": "e2e/hold"}]}}
    beside = {"spec": {"containers": [{"name": "executor"}, sidecar]}}
    application = submit(
        cluster,
        SPARK_3,
        "templates",
        namespace=namespace,
        args=[tmp_path / "result.json", "100", "2", "1"],
        driver_template=gate,
        executor_template=beside,
        conf={
            "spark.executor.instances": "1",
            "spark.kubernetes.executor.podTemplateContainerName": "executor",
            "spark.kubernetes.driver.podTemplateContainerName": "driver",
        },
        wait_completion=False,
    )
    driver = application.await_driver()
    assert application.wait(60) == 0
    holds_for(lambda: phase(cluster, driver["metadata"]["name"], namespace) == "Pending", "gated", 1)
    cluster.admin.patch(
        "pods", driver["metadata"]["name"], {"spec": {"schedulingGates": None}}, namespace, content_type=MERGE
    )
    wait_for(application.executors, "executor pods", 60)
    executor = application.executors()[0]["metadata"]["name"]
    wait_for(lambda: "beside" in kubelet.container_log(executor), "sidecar runs")
    application.await_phase("Succeeded")
    wait_for(lambda: not application.executors(), "executors gone, sidecars included", 60)
    assert (tmp_path / "result.json").exists(), kubelet.container_log(driver["metadata"]["name"])


CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: true, resourceNamespace: kube-system, resourceName: e2e-lease}
profiles: [{schedulerName: carbon-scheduler}]
extenders:
- urlPrefix: https://carbon-scheduler.example/wire
  enableHTTPS: true
  tlsConfig: {caFile: /nowhere/ca, certFile: /nowhere/crt, keyFile: /nowhere/key}
  filterVerb: filter
  nodeCacheCapable: true
"""


def test_configuration_files_run_with_the_addresses_of_the_test(
    cluster: ControlPlane, start_scheduler, tmp_path: Path
) -> None:
    """kube-scheduler itself validates the result, and reads the TLS files before it is ready."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    pki = cluster.pki
    files = (cluster.ca_file, pki / "scheduler-client.crt", pki / "scheduler-client.key")
    address = ExtenderAddress("https://127.0.0.1:1/wire", *files)
    config = load_config(tmp_path / "config.yaml", address, podMaxBackoffSeconds=2)
    start_scheduler(Scheduler(cluster, "configured", config))
    wait_for(lambda: cluster.admin.find("leases", "e2e-lease", "kube-system"), "own lease held")
    written = yaml.safe_load((cluster.work / "configured.yaml").read_text())
    assert written["extenders"][0]["urlPrefix"] == address.url_prefix
    assert written["extenders"][0]["filterVerb"] == "filter"
    assert written["extenders"][0]["tlsConfig"]["caFile"] == str(cluster.ca_file)


def test_kubelet_outlives_the_api_server(
    cluster: ControlPlane, namespace: str, real_nodes, plain_scheduler: Scheduler
) -> None:
    """What ends while the API server is away is reported when it is back."""
    real_nodes(1)
    cluster.admin.create("pods", program("short", "sleep", "2"), namespace)
    wait_for(lambda: phase(cluster, "short", namespace) == "Running", "program runs")
    cluster.stop_apiserver()
    cluster.start_apiserver()
    wait_for(lambda: phase(cluster, "short", namespace) == "Succeeded", "end reported", 60)
    cluster.admin.create("pods", program("next", "true"), namespace)
    wait_for(lambda: phase(cluster, "next", namespace) == "Succeeded", "next program ran", 60)


def test_a_lost_node_reports_nothing(
    cluster: ControlPlane, namespace: str, real_nodes, plain_scheduler: Scheduler
) -> None:
    kubelet = real_nodes(1)
    cluster.admin.create("pods", program("lost", "sleep", "60"), namespace)
    wait_for(lambda: phase(cluster, "lost", namespace) == "Running", "program runs")
    process = kubelet.process("lost")
    kubelet.lose_node("real-0")
    assert not process.running()
    holds_for(lambda: phase(cluster, "lost", namespace) == "Running", "nobody says so", 0.5)
