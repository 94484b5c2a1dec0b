"""Applications of the Kubeflow spark-operator: pods as its documentation and webhook shape them.

The pods are written by hand after the operator's documentation (v1beta2); they were not recorded.
"""

from __future__ import annotations

import copy
from typing import Any

from tests.cluster.apiserver import node
from tests.service.cluster import Client, Cluster, Object, delivered, driver_config_map, ready, spark_pod

TAINT = {"key": "dedicated", "value": "spark", "effect": "NoSchedule"}
PLACE: dict[str, Any] = {
    "nodeSelector": {"pool": "spark"},
    "tolerations": [{**TAINT, "operator": "Equal"}],
}


def shaped(pod: Object, application: str, submission: str) -> Object:
    """Labels that the operator has Spark set on all pods of an application."""
    operator = "sparkoperator.k8s.io"
    pod["metadata"]["labels"] |= {
        f"{operator}/app-name": application,
        f"{operator}/launched-by-spark-operator": "true",
        f"{operator}/submission-id": submission,
        "spark-app-name": application,
        "spark-version": "4.0.0",
    }
    return pod


def operator_driver(app: str, uid: str, **annotations: str) -> Object:
    """The driver: the operator names it after the application, and owns it."""
    volume = {"name": "spark-conf-volume-driver", "configMap": {"name": f"spark-drv-{app}-conf-map"}}
    pod = shaped(spark_pod(app, "driver", "pi-driver", volumes=[volume]), "pi", f"sub-{app}")
    pod["metadata"] |= {"uid": uid, "annotations": annotations}
    owner = {"apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "controller": True}
    pod["metadata"]["ownerReferences"] = [{**owner, "name": "pi", "uid": "uid-application"}]
    return pod


def operator_executor(app: str, number: int, driver_uid: str) -> Object:
    """An executor: Spark makes its driver the owner, the webhook writes its place."""
    pod = shaped(spark_pod(app, "executor", f"pi-{app}-exec-{number}", **PLACE), "pi", f"sub-{app}")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "pi-driver", "uid": driver_uid, "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    return pod


def nodes(cluster: Cluster) -> None:
    general, pool = node("general"), node("pool")
    pool["metadata"]["labels"] = {**pool["metadata"].get("labels", {}), "pool": "spark"}
    pool["spec"]["taints"] = [TAINT]
    cluster.put("nodes", general)
    cluster.put("nodes", pool)


async def place(cluster: Cluster, client: Client, pod: Object, names: list[str]) -> str:
    """What kube-scheduler does: the node that the pod is bound to, or why it is not."""
    cluster.put("pods", pod)
    result = await client.filter(pod, names)
    if not result.names:
        return result.error or result.reason
    return await client.bind(pod, result.names[0]) or result.names[0]


def held(service: Any) -> set[str]:
    table = service.store.state.nodes
    return {name for name, row in table.row_of.items() if table.reserved[0, row]}


async def test_slots_follow_the_place_that_the_webhook_writes() -> None:
    async with Cluster() as cluster:
        nodes(cluster)
        cluster.put("configmaps", driver_config_map("spark-1", 2))
        async with ready(cluster) as (service, client):
            made = operator_driver("spark-1", "uid-1")
            assert await place(cluster, client, made, ["general"]) == "general"
            assert held(service) == {"general"}
            seen = delivered(service, "pi-spark-1-exec-1")
            executors = [operator_executor("spark-1", number, "uid-1") for number in (1, 2)]
            cluster.put("pods", executors[0])
            await seen.wait()
            assert held(service) == {"pool"}
            for pod in executors:
                assert await place(cluster, client, pod, ["pool"]) == "pool"
            assert held(service) == set()


async def test_annotations_say_the_place_before_the_driver_starts() -> None:
    annotations = {
        "carbon-scheduler/executor-node-selector": '{"pool": "spark"}',
        "carbon-scheduler/executor-tolerations": '[{"key": "dedicated", "operator": "Exists"}]',
    }
    async with Cluster() as cluster:
        nodes(cluster)
        cluster.put("configmaps", driver_config_map("spark-1", 2))
        async with ready(cluster) as (service, client):
            made = operator_driver("spark-1", "uid-1", **annotations)
            assert await place(cluster, client, made, ["general"]) == "general"
            assert held(service) == {"pool"}


async def test_a_retried_application_shares_nothing_with_its_first_run() -> None:
    """The second driver pod has the name of the first, and executors of the first may still be there."""
    async with Cluster() as cluster:
        nodes(cluster)
        for app in ("spark-1", "spark-2"):
            cluster.put("configmaps", driver_config_map(app, 1))
        async with ready(cluster) as (service, client):
            first = operator_driver("spark-1", "uid-1")
            assert await place(cluster, client, first, ["general"]) == "general"
            left = operator_executor("spark-1", 1, "uid-1")
            assert await place(cluster, client, left, ["pool"]) == "pool"
            ended = copy.deepcopy(cluster.pod("pi-driver"))
            ended["status"]["phase"] = "Failed"
            seen = delivered(service, "pi-driver")
            cluster.put("pods", ended)
            await seen.wait()
            cluster.delete("pods", "pi-driver", "ns")
            second = operator_driver("spark-2", "uid-2")
            assert await place(cluster, client, second, ["general"]) == "general"
            late = operator_executor("spark-1", 2, "uid-1")
            assert "leader-ended" in await place(cluster, client, late, ["pool"])
            own = operator_executor("spark-2", 1, "uid-2")
            assert await place(cluster, client, own, ["pool"]) == "pool"
