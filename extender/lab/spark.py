"""Spark on Kubernetes as objects: what `spark-submit` posts, and what a running driver posts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from extender.core.nodes.resources import CPU, MEMORY
from extender.lab.registry import Object, uid_of

NAMESPACE: Final = "spark-jobs"
OUR_SCHEDULER: Final = "carbon-scheduler"
POOL_LABEL: Final = "carbon-scheduler/pool"
MAX_DELAY: Final = "carbon-scheduler/max-delay"
DRIVER_HEAP_MIB: Final = 1024
LEAST_OVERHEAD_MIB: Final = 384
MIB: Final = 1 << 20

_JVM_FACTOR: Final = 0.1
_PYTHON_FACTOR: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkApplication:
    """An application as its author describes it, and how long its work takes.

    `most_executors` above `executors` is dynamic allocation. `work_s` is the work of the whole
    application in executor-seconds. `kind` names in one word what is special about it; `admissible`
    says whether the cluster could ever run it. `template` is the node selector of a pod template.
    """

    name: str
    app_id: str
    executors: int
    cores: int = 1
    heap_mib: int = 1024
    most_executors: int = 0
    work_s: float = 10.0
    kind: str = "plain"
    python: bool = False
    pool: str = ""
    priority: int = 0
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    template: Mapping[str, str] | None = None
    admissible: bool = True

    @property
    def driver_name(self) -> str:
        """Name of the driver pod."""
        return f"{self.name}-driver"

    @property
    def most(self) -> int:
        """The most executors it may have."""
        return max(self.executors, self.most_executors)

    @property
    def max_delay_s(self) -> float | None:
        """How long it may wait for clean power, in real seconds; None: not at all."""
        told = self.annotations.get(MAX_DELAY)
        return None if told is None else float(told)

    @property
    def size(self) -> str:
        """The request, in words."""
        number = f"{self.executors}..{self.most}" if self.most > self.executors else str(self.executors)
        return f"{number} executors of {self.cores} cpu{f', pool {self.pool}' if self.pool else ''}"

    @property
    def selector(self) -> dict[str, str]:
        """Node labels that driver and executors require."""
        return {**(self.template or {}), **({POOL_LABEL: self.pool} if self.pool else {})}

    @property
    def driver_requests(self) -> dict[str, int]:
        """The driver pod's request, in base units."""
        return {CPU: 1000, MEMORY: _pod_mib(DRIVER_HEAP_MIB, self.python) * MIB}

    @property
    def executor_requests(self) -> dict[str, int]:
        """One executor pod's request, in base units."""
        return {CPU: 1000 * self.cores, MEMORY: _pod_mib(self.heap_mib, self.python) * MIB}


def _pod_mib(heap_mib: int, python: bool) -> int:
    factor = _PYTHON_FACTOR if python else _JVM_FACTOR
    return heap_mib + max(int(heap_mib * factor), LEAST_OVERHEAD_MIB)


def driver_pod(app: SparkApplication) -> Object:
    """The driver pod that `spark-submit` posts first."""
    volumes: list[Object] = [_volume("spark-conf-volume-driver", _conf_map(app))]
    if app.template is not None:
        volumes.append(_volume("pod-template-volume", _template_map(app)))
    return _pod(
        app,
        app.driver_name,
        {"spark-role": "driver"},
        "spark-kubernetes-driver",
        app.driver_requests,
        volumes=volumes,
        annotations=app.annotations,
    )


def config_maps(app: SparkApplication, driver: Object) -> list[Object]:
    """The ConfigMaps that `spark-submit` posts after the driver pod, owned by it."""
    owner = {"apiVersion": "v1", "kind": "Pod", "controller": True, "name": app.driver_name}
    metadata = {"namespace": NAMESPACE, "ownerReferences": [{**owner, "uid": uid_of(driver)}]}
    properties = "".join(f"{key}={_escaped(value)}\n" for key, value in sorted(_conf(app).items()))
    maps: list[Object] = [
        {
            "metadata": {"name": _conf_map(app), **metadata},
            "immutable": True,
            "data": {"spark.properties": properties, "spark.kubernetes.namespace": NAMESPACE},
        }
    ]
    if app.template is not None:
        selector = "".join(f"    {key}: {value}\n" for key, value in app.template.items())
        text = f"apiVersion: v1\nkind: Pod\nspec:\n  nodeSelector:\n{selector}"
        maps.append(
            {
                "metadata": {"name": _template_map(app), **metadata},
                "data": {"podspec-configmap-key": text},
            }
        )
    return maps


def executor_pod(app: SparkApplication, number: int, driver: Object) -> Object:
    """An executor pod that the running driver posts; `number` counts from 1."""
    owner = {"apiVersion": "v1", "kind": "Pod", "controller": True, "name": app.driver_name}
    pod = _pod(
        app,
        f"{app.name}-exec-{number}",
        {"spark-role": "executor", "spark-exec-id": str(number), "spark-exec-resourceprofile-id": "0"},
        "spark-kubernetes-executor",
        app.executor_requests,
    )
    pod["metadata"]["ownerReferences"] = [{**owner, "uid": uid_of(driver)}]
    return pod


def _pod(
    app: SparkApplication,
    name: str,
    labels: Mapping[str, str],
    container: str,
    requests: Mapping[str, int],
    *,
    volumes: list[Object] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Object:
    memory = f"{requests[MEMORY] // MIB}Mi"
    common = {"spark-app-selector": app.app_id, "spark-app-name": app.name, "spark-version": "4.0.1"}
    spec: Object = {
        "schedulerName": OUR_SCHEDULER,
        "restartPolicy": "Never",
        "priority": app.priority,
        "containers": [
            {
                "name": container,
                "image": "example/spark:4.0.1",
                "resources": {
                    "requests": {"cpu": f"{requests[CPU]}m", "memory": memory},
                    "limits": {"memory": memory},
                },
            }
        ],
        "volumes": volumes or [],
    }
    if app.selector:
        spec["nodeSelector"] = app.selector
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {**common, **labels},
            "annotations": dict(annotations or {}),
        },
        "spec": spec,
    }


def _conf(app: SparkApplication) -> dict[str, str]:
    conf = {
        "spark.app.id": app.app_id,
        "spark.app.name": app.name,
        "spark.driver.memory": f"{DRIVER_HEAP_MIB}m",
        "spark.executor.cores": str(app.cores),
        "spark.executor.memory": f"{app.heap_mib}m",
        "spark.kubernetes.driver.pod.name": app.driver_name,
        "spark.kubernetes.memoryOverheadFactor": str(_PYTHON_FACTOR if app.python else _JVM_FACTOR),
        "spark.kubernetes.namespace": NAMESPACE,
        "spark.kubernetes.resource.type": "python" if app.python else "java",
        "spark.kubernetes.scheduler.name": OUR_SCHEDULER,
        "spark.master": "k8s://https://kubernetes.default.svc:443",
        "spark.submit.deployMode": "cluster",
    }
    if app.pool:
        conf[f"spark.kubernetes.node.selector.{POOL_LABEL}"] = app.pool
    if app.most_executors:
        conf["spark.dynamicAllocation.enabled"] = "true"
        conf["spark.dynamicAllocation.minExecutors"] = str(app.executors)
        conf["spark.dynamicAllocation.maxExecutors"] = str(app.most)
    else:
        conf["spark.executor.instances"] = str(app.executors)
    return conf


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def _volume(name: str, config_map: str) -> Object:
    return {"name": name, "configMap": {"name": config_map}}


def _conf_map(app: SparkApplication) -> str:
    return f"spark-drv-{app.app_id.removeprefix('spark-')[:12]}-conf-map"


def _template_map(app: SparkApplication) -> str:
    return f"{app.name}-driver-podspec-conf-map"
