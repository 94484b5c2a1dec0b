"""Spark's own configuration: how many executors an application asks for, and how large one is.

The formulas are those of Spark's Kubernetes executor step (3.5 to 4.3), to the MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extender.adapters.spark.properties import PropertiesError, parse_properties
from extender.adapters.spark.refusal import Refused
from extender.adapters.spark.scalars import MIB, MOST_EVER, amount, count, factor, spark_boolean, spark_bytes
from extender.core.gangs.reservation import MOST_WORKERS
from extender.core.nodes.resources import CPU

PROPERTIES_KEY: Final = "spark.properties"

INSTANCES: Final = "spark.executor.instances"
DYNAMIC: Final = "spark.dynamicAllocation.enabled"
DYNAMIC_MIN: Final = "spark.dynamicAllocation.minExecutors"
DYNAMIC_INITIAL: Final = "spark.dynamicAllocation.initialExecutors"
DYNAMIC_MAX: Final = "spark.dynamicAllocation.maxExecutors"
CORES: Final = "spark.executor.cores"
TASK_CPUS: Final = "spark.task.cpus"
REQUEST_CORES: Final = "spark.kubernetes.executor.request.cores"
HEAP: Final = "spark.executor.memory"
OVERHEAD: Final = "spark.executor.memoryOverhead"
EXECUTOR_FACTOR: Final = "spark.executor.memoryOverheadFactor"
KUBERNETES_FACTOR: Final = "spark.kubernetes.memoryOverheadFactor"
LEAST_OVERHEAD: Final = "spark.executor.minMemoryOverhead"
PYSPARK_MEMORY: Final = "spark.executor.pyspark.memory"
OFF_HEAP: Final = "spark.memory.offHeap.enabled"
OFF_HEAP_SIZE: Final = "spark.memory.offHeap.size"
RESOURCE_TYPE: Final = "spark.kubernetes.resource.type"
RESOURCE_PREFIX: Final = "spark.executor.resource."
SELECTOR_PREFIXES: Final = ("spark.kubernetes.node.selector.", "spark.kubernetes.executor.node.selector.")
TEMPLATE_CONTAINER: Final = "spark.kubernetes.executor.podTemplateContainerName"

_DEFAULT_INSTANCES: Final = 2
_DEFAULT_HEAP_MIB: Final = 1024
_DEFAULT_LEAST_OVERHEAD_MIB: Final = 384
_DEFAULT_FACTOR: Final = 0.1
_DEFAULT_NON_JVM_FACTOR: Final = 0.4
_NON_JVM: Final = frozenset({"python", "r"})
_OLD_NAMES: Final = {
    OVERHEAD: "spark.yarn.executor.memoryOverhead",
    OFF_HEAP: "spark.unsafe.offHeap",
}
"""Names that Spark still reads when the present one is not set."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Least and greatest number of workers: 0 <= least <= most."""

    least: int
    most: int


class SparkConf:
    """Typed access to the `spark.properties` of one application."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._properties = properties

    @classmethod
    def from_config_map(cls, data: Mapping[str, str]) -> SparkConf:
        """The configuration in a driver ConfigMap.

        Raises:
            Refused: the ConfigMap has no `spark.properties`, or it is not properties text.
        """
        text = data.get(PROPERTIES_KEY)
        if text is None:
            raise Refused(
                PROPERTIES_KEY, None, "the ConfigMap on volume spark-conf-volume-driver must hold this key"
            )
        try:
            return cls(parse_properties(text))
        except PropertiesError as problem:
            raise Refused(PROPERTIES_KEY, str(problem), "write \\u and four hexadecimal digits") from None

    def stated(self, key: str) -> tuple[str, str] | None:
        """The key that counts (an old name may stand in) and its text; None when it is not set."""
        for name in (key, _OLD_NAMES.get(key)):
            if name is not None and (text := self._properties.get(name)) is not None:
                return name, text
        return None

    @property
    def template_container(self) -> str:
        """Name of Spark's container in the executor pod template; empty for the first one."""
        return self._properties.get(TEMPLATE_CONTAINER, "")

    def bounds(self) -> Bounds:
        """Executors the application needs to start, and the most it may ever ask for.

        Static allocation: `spark.executor.instances` (2) both ways. Dynamic allocation: it starts
        with the largest of its initial and minimum numbers and `instances`, but at least one.

        Raises:
            Refused: a number cannot be read, or Spark would refuse the combination.
        """
        instances = self._count(INSTANCES)
        dynamic = (stated := self.stated(DYNAMIC)) is not None and spark_boolean(*stated)
        least = self._count(DYNAMIC_MIN) or 0
        initial = self._count(DYNAMIC_INITIAL)
        most = self._count(DYNAMIC_MAX, most=MOST_EVER)
        if not dynamic:
            fixed = _DEFAULT_INSTANCES if instances is None else instances
            return Bounds(fixed, fixed)
        if most is None:
            most = MOST_EVER
        if least > most:
            raise Refused(
                DYNAMIC_MIN, str(least), f"it is above {DYNAMIC_MAX}={most}; lower it or raise that"
            )
        if most == 0:
            raise Refused(DYNAMIC_MAX, "0", "Spark needs a maximum of 1 or more, or dynamic allocation off")
        start = max(least, initial or 0, instances or 0)
        if start > most:
            key, value = (INSTANCES, instances) if start == instances else (DYNAMIC_INITIAL, initial)
            raise Refused(key, str(value), f"it is above {DYNAMIC_MAX}={most}; lower it or raise that")
        return Bounds(max(start, 1), most)

    def cpu_milli(self) -> int:
        """CPU request of Spark's container in millicores."""
        cores = self._count(CORES, least=1, noun="cores")
        if (stated := self.stated(REQUEST_CORES)) is not None:
            return amount(CPU, *stated, least=1)
        return 1000 * (cores or 1)

    def tasks_at_once(self) -> int:
        """Tasks one executor runs at once: its cores over those of a task, at least one."""
        cores = self._count(CORES, least=1, noun="cores") or 1
        return max(1, cores // (self._count(TASK_CPUS, least=1, noun="cores") or 1))

    def memory_bytes(self) -> int:
        """Memory request of Spark's container: heap, overhead, off-heap and PySpark memory."""
        heap_mib = self._mib(HEAP, least=1)
        if heap_mib is None:
            heap_mib = _DEFAULT_HEAP_MIB
        return MIB * (heap_mib + self._overhead_mib(heap_mib) + self._off_heap_mib() + self._pyspark_mib())

    def _overhead_mib(self, heap_mib: int) -> int:
        overhead_mib = self._mib(OVERHEAD)
        least_mib = self._mib(LEAST_OVERHEAD)
        non_jvm = self._properties.get(RESOURCE_TYPE) in _NON_JVM
        share = _DEFAULT_NON_JVM_FACTOR if non_jvm else _DEFAULT_FACTOR
        for key in (KUBERNETES_FACTOR, EXECUTOR_FACTOR):  # the last one set wins
            if (stated := self.stated(key)) is not None:
                share = factor(*stated)
        if overhead_mib is not None:
            return overhead_mib
        return max(int(share * heap_mib), _DEFAULT_LEAST_OVERHEAD_MIB if least_mib is None else least_mib)

    def _off_heap_mib(self) -> int:
        stated = self.stated(OFF_HEAP_SIZE)
        size_bytes = 0 if stated is None else spark_bytes(*stated, unit=1)
        enabled = (flag := self.stated(OFF_HEAP)) is not None and spark_boolean(*flag)
        if not enabled:
            return 0
        if size_bytes == 0:
            raise Refused(
                OFF_HEAP_SIZE, stated[1] if stated else None, f"{OFF_HEAP}=true needs a size such as 1g"
            )
        return size_bytes // MIB

    def _pyspark_mib(self) -> int:
        memory_mib = self._mib(PYSPARK_MEMORY) or 0
        return memory_mib if self._properties.get(RESOURCE_TYPE) == "python" else 0

    def devices(self) -> dict[str, int]:
        """Extended resources of Spark's container, such as `nvidia.com/gpu`, in pieces."""
        names = {
            key[len(RESOURCE_PREFIX) :].partition(".")[0]
            for key in self._properties
            if key.startswith(RESOURCE_PREFIX)
        }
        devices: dict[str, int] = {}
        for name in sorted(names):
            number = self._count(f"{RESOURCE_PREFIX}{name}.amount", noun="pieces")
            if number is None:
                raise Refused(
                    f"{RESOURCE_PREFIX}{name}.amount", None, "say how many pieces one executor needs"
                )
            if number == 0:
                continue
            vendor_key = f"{RESOURCE_PREFIX}{name}.vendor"
            vendor = self._properties.get(vendor_key)
            if not vendor:
                raise Refused(vendor_key, vendor, "name the vendor's domain, such as nvidia.com")
            devices[f"{vendor}/{name}"] = number
        return devices

    def node_selector(self) -> dict[str, str]:
        """Node labels the configuration asks of an executor's node."""
        return {
            label: value
            for prefix in SELECTOR_PREFIXES  # the executor's own keys win
            for key, value in self._properties.items()
            if key.startswith(prefix) and (label := key[len(prefix) :])
        }

    def _mib(self, key: str, *, least: int = 0) -> int | None:
        stated = self.stated(key)
        return None if stated is None else spark_bytes(*stated, unit=MIB, least=least)

    def _count(
        self, key: str, *, least: int = 0, most: int = MOST_WORKERS, noun: str = "executors"
    ) -> int | None:
        stated = self.stated(key)
        return None if stated is None else count(*stated, least=least, most=most, noun=noun)
