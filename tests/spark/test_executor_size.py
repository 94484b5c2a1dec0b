"""The size of one executor, by Spark's own formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.spark.support import MIB, read_conf, spec

PYTHON = {"spark.kubernetes.resource.type": "python"}
OFF_HEAP = {"spark.memory.offHeap.enabled": "true", "spark.memory.offHeap.size": "1g"}


def memory_mib(conf: dict[str, str]) -> float:
    return spec(read_conf(conf)).worker["memory"] / MIB


@pytest.mark.parametrize(
    ("conf", "mib"),
    [
        pytest.param({}, 1408, id="default"),
        pytest.param({"spark.executor.memory": "4g"}, 4505, id="4g"),
        pytest.param(
            {**PYTHON, "spark.executor.memory": "512m", "spark.kubernetes.memoryOverheadFactor": "0.4"},
            896,
            id="the minimum overhead applies",
        ),
        pytest.param(
            {
                **PYTHON,
                "spark.executor.memory": "1g",
                "spark.kubernetes.memoryOverheadFactor": "0.4",
                "spark.executor.pyspark.memory": "512m",
            },
            1945,
            id="PySpark memory counts for Python",
        ),
        pytest.param(
            {**OFF_HEAP, "spark.executor.memory": "8g", "spark.executor.pyspark.memory": "2g"},
            10035,
            id="and for nothing else",
        ),
        pytest.param(
            {
                "spark.executor.memory": "8g",
                "spark.executor.memoryOverheadFactor": "0.25",
                "spark.kubernetes.memoryOverheadFactor": "0.4",
            },
            10240,
            id="the executor's factor wins",
        ),
        pytest.param(
            {"spark.executor.memory": "8g", "spark.kubernetes.memoryOverheadFactor": "0.4"},
            11468,
            id="factor of Kubernetes",
        ),
        pytest.param(
            {"spark.executor.memory": "8g", "spark.executor.memoryOverhead": "3g"}, 11264, id="fixed overhead"
        ),
    ],
)
def test_memory_seen_in_real_pods(conf: dict[str, str], mib: int) -> None:
    assert memory_mib(conf) == mib


@pytest.mark.parametrize(
    ("conf", "mib"),
    [
        ({"spark.executor.memory": "2048"}, 2048 + 384),  # no unit: MiB
        ({"spark.executor.memory": " 2G "}, 2048 + 384),
        ({"spark.executor.memory": "1500k"}, 1 + 384),  # cut, not rounded
        ({"spark.executor.minMemoryOverhead": "1g"}, 1024 + 1024),
        ({"spark.executor.minMemoryOverhead": "0"}, 1024 + 102),
        ({"spark.executor.memoryOverhead": "100", "spark.executor.minMemoryOverhead": "1g"}, 1024 + 100),
        ({"spark.yarn.executor.memoryOverhead": "600"}, 1024 + 600),  # Spark still reads the old name
        ({"spark.executor.memoryOverhead": "700", "spark.yarn.executor.memoryOverhead": "600"}, 1024 + 700),
        ({**PYTHON, "spark.executor.memory": "4g"}, 4096 + 1638),  # what spark-submit would inject
        ({"spark.driver.memoryOverheadFactor": "0.9"}, 1408),  # the driver's factor is the driver's
        ({"spark.memory.offHeap.enabled": "false", "spark.memory.offHeap.size": "1g"}, 1408),
        ({"spark.memory.offHeap.enabled": "TRUE", "spark.memory.offHeap.size": "1073741824"}, 2432),
    ],
)
def test_memory_by_the_fine_print(conf: dict[str, str], mib: int) -> None:
    assert memory_mib(conf) == mib


@pytest.mark.parametrize(
    ("conf", "milli"),
    [
        ({}, 1000),
        ({"spark.executor.cores": "4"}, 4000),
        ({"spark.executor.cores": "4", "spark.kubernetes.executor.request.cores": "3500m"}, 3500),
        ({"spark.kubernetes.executor.request.cores": "0.1"}, 100),
        ({"spark.kubernetes.executor.request.cores": "500m"}, 500),
        ({"spark.executor.cores": "2", "spark.kubernetes.executor.limit.cores": "8"}, 2000),
    ],
)
def test_cpu(conf: dict[str, str], milli: int) -> None:
    assert spec(read_conf(conf)).worker["cpu"] == milli


@pytest.mark.parametrize(
    ("conf", "tasks"),
    [
        ({}, 1),
        ({"spark.executor.cores": "4", "spark.kubernetes.executor.request.cores": "500m"}, 4),
        ({"spark.executor.cores": "5", "spark.task.cpus": "2"}, 2),
    ],
)
def test_tasks_at_once(conf: dict[str, str], tasks: int) -> None:
    assert spec(read_conf(conf)).tasks_at_once == tasks


def test_devices_are_named_by_vendor() -> None:
    conf = {
        "spark.executor.resource.gpu.amount": "2",
        "spark.executor.resource.gpu.vendor": "nvidia.com",
        "spark.executor.resource.gpu.discoveryScript": "/opt/gpu.sh",
        "spark.executor.resource.fpga.amount": "1",
        "spark.executor.resource.fpga.vendor": "example.com",
        "spark.executor.resource.none.amount": "0",
        "spark.driver.resource.gpu.amount": "1",
        "spark.task.resource.gpu.amount": "0.25",
    }
    worker = dict(spec(read_conf(conf)).worker)
    assert worker == {"cpu": 1000, "memory": 1408 * MIB, "nvidia.com/gpu": 2, "example.com/fpga": 1}


def test_node_selectors_of_the_configuration() -> None:
    conf = {
        "spark.kubernetes.node.selector.pool": "spark",
        "spark.kubernetes.node.selector.disk": "ssd",
        "spark.kubernetes.executor.node.selector.disk": "nvme",
        "spark.kubernetes.driver.node.selector.pool": "drivers",
    }
    assert spec(read_conf(conf)).worker_terms.node_selector == (("disk", "nvme"), ("pool", "spark"))


@given(
    heap=st.integers(1, 10**6),
    overhead=st.none() | st.integers(0, 10**5),
    share=st.decimals(0, 4, places=3),
    python=st.booleans(),
    pyspark=st.integers(0, 10**5),
)
def test_memory_never_is_less_than_the_heap(
    heap: int, overhead: int | None, share: object, python: bool, pyspark: int
) -> None:
    conf = {
        "spark.executor.memory": f"{heap}m",
        "spark.kubernetes.memoryOverheadFactor": str(share),
        "spark.kubernetes.resource.type": "python" if python else "java",
        "spark.executor.pyspark.memory": str(pyspark),
    }
    if overhead is not None:
        conf["spark.executor.memoryOverhead"] = f"{overhead}m"
    expected = heap + (max(384, int(float(str(share)) * heap)) if overhead is None else overhead)
    assert memory_mib(conf) == expected + (pyspark if python else 0)
