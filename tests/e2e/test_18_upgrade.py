"""Upgrade, rollback and removal while gangs run: what is held stays held, and what runs goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import AGENT_RIGHTS, install
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.manifests import HOME, Overlay, RunningPods, ask, undeploy
from tests.e2e.harness.schedulers import default_scheduler
from tests.e2e.harness.waiting import wait_for

APPS = {"apps": "fake"}
TAINT = {"key": "apps", "value": "fake", "effect": "NoSchedule"}  # keeps the pods of the scheduler itself out
DEPLOYMENT = "deployment/carbon-scheduler"


@pytest.fixture
def pods(cluster: ControlPlane, real_nodes, start_scheduler) -> Iterator[RunningPods]:
    """The base as users apply it, running."""
    start_scheduler(default_scheduler(cluster))
    bodies = [node_body(f"home-{number}", cpu="4", memory="8Gi") for number in range(2)]
    cluster.kubectl("delete", "--ignore-not-found", "--filename", AGENT_RIGHTS)
    made = RunningPods(cluster, real_nodes(bodies=bodies, prefix="home"))
    Overlay(cluster).apply()
    made.await_ready()
    yield made
    undeploy(cluster)
    install(cluster)


def submitted(cluster: ControlPlane, namespace: str, name: str, executors: int) -> SimulatedDriver:
    """A gang for the fake nodes; the test creates its executors."""
    conf = {f"spark.kubernetes.node.selector.{key}": value for key, value in APPS.items()}
    tolerated = [{**TAINT, "operator": "Equal"}]
    selected = {"nodeSelector": dict(APPS), "tolerations": tolerated}
    app = SparkApp(
        name,
        namespace,
        executors,
        conf=conf,
        annotations={"carbon-scheduler/executor-tolerations": json.dumps(tolerated)},
        driver_spec=selected,
        executor_spec=selected,
    )
    return SimulatedDriver(cluster.admin, app, by_hand=True).submit()


def names(cluster: ControlPlane) -> set[str]:
    return {pod["metadata"]["name"] for pod in cluster.admin.list("pods", HOME)}


def replaced(cluster: ControlPlane, pods: RunningPods, before: set[str]) -> None:
    """Every pod is a new one, and they are ready."""
    wait_for(lambda: not before & names(cluster), "old pods gone", 120, pods.explain)
    pods.await_ready(120)


def test_a_running_gang_keeps_its_room_through_upgrade_rollback_and_removal(
    cluster: ControlPlane, namespace: str, pods: RunningPods, fake_nodes
) -> None:
    # 1. A gang of a driver and three executors; one of them is there, room for two is held. The node has
    #    room for these four pods and no more, so what is lost once is taken by the gang that waits.
    fake_nodes(bodies=[node_body("fake-0", cpu="4", memory="8Gi", labels=APPS, taints=[TAINT])])
    running = submitted(cluster, namespace, "running", 3)
    running.await_driver_running()
    running.post_executors(1)
    running.await_bound(1)
    waiting = submitted(cluster, namespace, "waiting", 1)

    # 2. Another configuration is another ReplicaSet: all pods are replaced, one after the other.
    before = names(cluster)
    Overlay(cluster, components=["driver-rest"]).apply()
    replaced(cluster, pods, before)
    running.post_executors(1)
    running.await_bound(2)

    # 3. Back. The ConfigMaps of before are still there: their names tell them apart.
    before = names(cluster)
    cluster.kubectl("--namespace", HOME, "rollout", "undo", DEPLOYMENT)
    replaced(cluster, pods, before)
    running.post_executors(1)
    running.await_bound(3)
    queue = ask(pods.of("extender")[0], "/v1/queue")
    assert [each["app_id"] for each in queue] == [waiting.app.app_id]

    # 4. Removal: what runs goes on, what waits goes on waiting.
    cluster.kubectl("delete", "--wait=false", "--kustomize", Overlay(cluster, "base").folder())
    wait_for(lambda: not names(cluster), "pods gone", 60)
    for executor in running.bound_executors():
        pod = cluster.admin.get("pods", executor["metadata"]["name"], namespace)
        assert pod["status"]["phase"] == "Running"
    driver = cluster.admin.get("pods", waiting.app.driver_name, namespace)
    assert driver["status"]["phase"] == "Pending"
    wait_for(lambda: not cluster.admin.find("namespaces", HOME), "namespace gone", 60)
