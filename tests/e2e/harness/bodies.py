"""What spark-submit and drivers post, for scenarios on fake nodes where no JVM runs.

The shape follows Spark 3.5 and 4.x: names, labels, containers, sizes, volumes, and the driver pod posted
*before* its ConfigMap. Only what a scheduler cannot see (most JVM options) is shortened.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.harness.client import ApiError, Client, Object
from tests.e2e.harness.kwok import GPU
from tests.e2e.harness.waiting import wait_for

SPARK_3_VERSION, SPARK_4_VERSION = "3.5.9", "4.3.0"
MIN_OVERHEAD_MIB = 384
FACTORS = {"java": 0.1, "python": 0.4}
BATCH = {SPARK_3_VERSION: 5, SPARK_4_VERSION: 20}
CONF_DIR = "/opt/spark/conf"


def hexes(count: int) -> str:
    return uuid.uuid4().hex[:count]


@dataclass
class SparkApp:
    """One application as its user describes it; everything posted follows from this."""

    name: str
    namespace: str
    executors: int = 2
    version: str = SPARK_4_VERSION
    language: str = "python"
    scheduler: str = "carbon-scheduler"
    driver_cores: int = 1
    driver_memory_mib: int = 1024
    executor_cores: int = 1
    executor_memory_mib: int = 1024
    executor_gpus: int = 0
    conf: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    executor_annotations: Mapping[str, str] = field(default_factory=dict)
    driver_spec: Mapping[str, Any] = field(default_factory=dict)  # merged into the pod specs
    executor_spec: Mapping[str, Any] = field(default_factory=dict)
    app_id: str = field(default_factory=lambda: f"spark-{uuid.uuid4().hex}")
    prefix: str = ""

    def __post_init__(self) -> None:
        self.prefix = self.prefix or f"{self.name}-{hexes(16)}"
        self.executor_prefix = f"{self.name}-{hexes(16)}"  # really another one than the driver's
        self.config_map = f"spark-drv-{hexes(16)}-conf-map"

    @property
    def driver_name(self) -> str:
        return f"{self.prefix}-driver"

    @property
    def selector(self) -> str:
        return f"spark-app-selector={self.app_id}"

    def memory(self, heap_mib: int) -> str:
        """Spark adds overhead to the heap and asks for the sum, truncated to whole MiB."""
        overhead = max(int(FACTORS[self.language] * heap_mib), MIN_OVERHEAD_MIB)
        return f"{heap_mib + overhead}Mi"

    def common_labels(self, role: str) -> dict[str, str]:
        return {
            "spark-app-selector": self.app_id,
            "spark-app-name": self.name,
            "spark-version": self.version,
            "spark-role": role,
        } | dict(self.labels)

    def properties(self) -> dict[str, str]:
        values = {
            "spark.app.id": self.app_id,
            "spark.app.name": self.name,
            "spark.driver.blockManager.port": "7079",
            "spark.driver.host": f"{self.prefix}-driver-svc.{self.namespace}.svc",
            "spark.driver.memory": f"{self.driver_memory_mib}m",
            "spark.driver.port": "7078",
            "spark.executor.cores": str(self.executor_cores),
            "spark.executor.instances": str(self.executors),
            "spark.executor.memory": f"{self.executor_memory_mib}m",
            "spark.kubernetes.container.image": "no-image",
            "spark.kubernetes.driver.pod.name": self.driver_name,
            "spark.kubernetes.memoryOverheadFactor": str(FACTORS[self.language]),
            "spark.kubernetes.namespace": self.namespace,
            "spark.kubernetes.resource.type": self.language,
            "spark.kubernetes.scheduler.name": self.scheduler,
            "spark.kubernetes.submitInDriver": "true",
            "spark.master": "k8s://https://kubernetes.default.svc",
            "spark.submit.deployMode": "cluster",
        }
        if self.executor_gpus:
            values["spark.executor.resource.gpu.amount"] = str(self.executor_gpus)
            values["spark.executor.resource.gpu.vendor"] = "nvidia.com"
        return values | dict(self.conf)


def java_properties(values: Mapping[str, str], title: str) -> str:
    """As java.util.Properties writes it: a dated comment, no order, separators in values escaped."""

    def escaped(text: str) -> str:
        for character in "\\:=#!":
            text = text.replace(character, "\\" + character)
        return text.replace("\n", "\\n")

    lines = [f"#{title}", time.strftime("#%a %b %d %H:%M:%S UTC %Y", time.gmtime())]
    lines += [
        f"{escaped(key)}={escaped(value)}" for key, value in sorted(values.items(), key=lambda kv: kv[1])
    ]
    return "\n".join(lines) + "\n"


def ports(app: SparkApp, driver: bool) -> list[Object]:
    named = (
        {"driver-rpc-port": 7078, "blockmanager": 7079, "spark-ui": 4040}
        if driver
        else {"blockmanager": 7079}
    )
    if driver and app.version.startswith("4"):
        named["spark-connect"] = 15002
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in named.items()]


def resources(app: SparkApp, cores: int, heap_mib: int, gpus: int = 0) -> Object:
    memory = app.memory(heap_mib)
    limits = {"memory": memory} | ({GPU: str(gpus)} if gpus else {})
    return {"requests": {"cpu": str(cores), "memory": memory}, "limits": limits}


def field_ref(name: str, path: str) -> Object:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def driver_pod(app: SparkApp) -> Object:
    """Posted first; nothing in it tells how many executors will follow."""
    local = f"/var/data/spark-{uuid.uuid4()}"
    env = {"SPARK_USER": "e2e", "SPARK_APPLICATION_ID": app.app_id, "SPARK_LOCAL_DIRS": local}
    container: Object = {
        "name": "spark-kubernetes-driver",
        "image": "no-image",
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "driver",
            "--properties-file",
            f"{CONF_DIR}/spark.properties",
            "--class",
            "org.apache.spark.deploy.PythonRunner" if app.language == "python" else "org.example.Main",
            "local:///opt/app/main.py" if app.language == "python" else "local:///opt/app/main.jar",
        ],
        "env": [
            *({"name": name, "value": value} for name, value in env.items()),
            field_ref("SPARK_DRIVER_BIND_ADDRESS", "status.podIP"),
            {"name": "SPARK_CONF_DIR", "value": CONF_DIR},
        ],
        "ports": ports(app, driver=True),
        "resources": resources(app, app.driver_cores, app.driver_memory_mib),
        "volumeMounts": [
            {"name": "spark-local-dir-1", "mountPath": local},
            {"name": "spark-conf-volume-driver", "mountPath": CONF_DIR},
        ],
    }
    if app.version.startswith("4"):
        container["securityContext"] = {"allowPrivilegeEscalation": False}
    items = [{"key": "spark.properties", "mode": 420, "path": "spark.properties"}]
    spec: Object = {
        "containers": [container],
        "restartPolicy": "Never",
        "schedulerName": app.scheduler,
        "volumes": [
            {"name": "spark-local-dir-1", "emptyDir": {}},
            {"name": "spark-conf-volume-driver", "configMap": {"name": app.config_map, "items": items}},
        ],
    }
    metadata: Object = {"name": app.driver_name, "labels": app.common_labels("driver")}
    if app.annotations:
        metadata["annotations"] = dict(app.annotations)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | dict(app.driver_spec)}


def owner(driver: Object) -> list[Object]:
    meta = driver["metadata"]
    reference = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
    }
    return [reference]


def driver_config_map(app: SparkApp, driver: Object) -> Object:
    """Posted after the pod, which owns it; the only place with the number of executors."""
    title = f"Java properties built from Kubernetes config map with name: {app.config_map}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": app.config_map, "ownerReferences": owner(driver)},
        "immutable": True,
        "data": {
            "spark.properties": java_properties(app.properties(), title),
            "spark.kubernetes.namespace": app.namespace,
        },
    }


def executor_pod(app: SparkApp, driver: Object, number: int) -> Object:
    """What the driver posts for executor `number`."""
    name = f"{app.executor_prefix}-exec-{number}"
    local = f"/var/data/spark-{uuid.uuid4()}"
    env = {
        "SPARK_USER": "e2e",
        "SPARK_DRIVER_URL": f"spark://CoarseGrainedScheduler@{app.prefix}-driver-svc.{app.namespace}.svc:7078",
        "SPARK_EXECUTOR_CORES": str(app.executor_cores),
        "SPARK_EXECUTOR_MEMORY": f"{app.executor_memory_mib}m",
        "SPARK_APPLICATION_ID": app.app_id,
        "SPARK_CONF_DIR": CONF_DIR,
        "SPARK_EXECUTOR_ID": str(number),
        "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_JAVA_OPT_0": "-Dspark.driver.port=7078",
        "SPARK_LOCAL_DIRS": local,
    }
    container: Object = {
        "name": "spark-kubernetes-executor",
        "image": "no-image",
        "imagePullPolicy": "IfNotPresent",
        "args": ["executor"],
        "env": [
            *({"name": key, "value": value} for key, value in env.items()),
            field_ref("SPARK_EXECUTOR_POD_IP", "status.podIP"),
            field_ref("SPARK_EXECUTOR_POD_NAME", "metadata.name"),
        ],
        "ports": ports(app, driver=False),
        "resources": resources(app, app.executor_cores, app.executor_memory_mib, app.executor_gpus),
        "volumeMounts": [{"name": "spark-local-dir-1", "mountPath": local}],
    }
    labels = app.common_labels("executor")
    labels |= {"spark-exec-id": str(number), "spark-exec-resourceprofile-id": "0"}
    metadata: Object = {"name": name, "labels": labels, "ownerReferences": owner(driver)}
    if app.executor_annotations:
        metadata["annotations"] = dict(app.executor_annotations)
    spec: Object = {
        "containers": [container],
        "hostname": name[:63],
        "restartPolicy": "Never",
        "schedulerName": app.scheduler,
        "volumes": [{"name": "spark-local-dir-1", "emptyDir": {}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | dict(app.executor_spec)}


class SimulatedDriver:
    """Does on the API what spark-submit and a driver do: pod, then ConfigMap, then executors in batches.

    Executors are posted as soon as the driver runs and whatever becomes of them, as a static Spark does;
    with `by_hand` only when the test calls `post_executors`.
    """

    def __init__(
        self, client: Client, app: SparkApp, config_map_delay_s: float = 0.2, *, by_hand: bool = False
    ) -> None:
        self.client, self.app = client, app
        self.config_map_delay_s = config_map_delay_s
        self.by_hand = by_hand
        self.driver: Object = {}
        self.posted: list[str] = []
        self.failure: Exception | None = None
        self._next_id = 1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name=app.name, daemon=True)

    def submit(self) -> SimulatedDriver:
        """Returns when pod and ConfigMap are posted; executors follow by themselves."""
        app = self.app
        self.driver = self.client.create("pods", driver_pod(app), app.namespace)
        self._stop.wait(self.config_map_delay_s)
        self.client.create("configmaps", driver_config_map(app, self.driver), app.namespace)
        if not self.by_hand:
            self._thread.start()
        return self

    def _live(self) -> None:
        batch = BATCH[self.app.version]
        try:
            while not self._stop.is_set() and self.phase() not in ("Running", ""):
                self._stop.wait(0.05)
            for done in range(0, self.app.executors, batch):
                if self._stop.is_set() or self.phase() != "Running":
                    return
                self.post_executors(min(batch, self.app.executors - done))
                self._stop.wait(1.0)  # Spark's batch delay
        except (ApiError, OSError) as failure:
            self.failure = failure

    def post_executors(self, count: int) -> list[str]:
        """More executors with fresh ids; also for replacements and dynamic allocation."""
        fresh: list[str] = []
        for _ in range(count):
            body = executor_pod(self.app, self.driver, self._next_id)
            self._next_id += 1
            self.client.create("pods", body, self.app.namespace)
            fresh.append(body["metadata"]["name"])
        self.posted += fresh
        return fresh

    def phase(self) -> str:
        """Of the driver; empty when it is gone."""
        pod = self.client.find("pods", self.app.driver_name, self.app.namespace)
        return pod["status"]["phase"] if pod else ""

    def executors(self) -> list[Object]:
        return self.client.list("pods", self.app.namespace, f"{self.app.selector},spark-role=executor")

    def bound_executors(self) -> list[Object]:
        return [pod for pod in self.executors() if pod["spec"].get("nodeName")]

    def await_driver_running(self, timeout_s: float = 240.0) -> None:
        wait_for(lambda: self.phase() == "Running", f"driver of {self.app.name} running", timeout_s)

    def await_bound(self, count: int, timeout_s: float = 240.0) -> None:
        wait_for(
            lambda: len(self.bound_executors()) >= count,
            f"{count} executors of {self.app.name} bound",
            timeout_s,
            lambda: f"bound: {len(self.bound_executors())}, posted: {len(self.posted)}, {self.failure}",
        )

    def finish(self) -> None:
        """End of the application: executors and ConfigMap are deleted, the driver pod stays as Succeeded."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)
        self.client.delete_all("pods", self.app.namespace, f"{self.app.selector},spark-role=executor")
        status = {"status": {"phase": "Succeeded"}}
        self.client.patch("pods", self.app.driver_name, status, self.app.namespace, "status")

    def delete(self) -> None:
        """The user deletes the application; the garbage collector takes the executors."""
        self._stop.set()
        self.client.delete("pods", self.app.driver_name, self.app.namespace)
