"""What cannot be used is refused with key, value and fix; nothing becomes a default silently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark import SpecReader
from extender.core.gangs.reservation import MOST_WORKERS
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.outcomes import Outcome, reason
from tests.spark.support import OWN, PALANTIR, config_map, leader, read_annotations, read_conf, refusal

ANNOTATIONS = [
    ("carbon-scheduler/executor-cpu", ["0", "-1", "", "two", "NaN", "inf", "1,5", "0x2", "1e40"]),
    ("carbon-scheduler/executor-memory", ["0", "-4Gi", "4 Gi", "4gib", "1.5g", "", "9e99", "0m", "nan"]),
    ("carbon-scheduler/executor-gpu", ["-1", "one", "1e30"]),
    ("carbon-scheduler/executor-count", ["-1", "1.5", "3e0", "1k", "", "three", "999999999999999999", "٣"]),
    (
        "carbon-scheduler/executor-resources",
        ["", "fpga", "[]", '{"a": true}', '{"a": {}}', "{" * 5000, '{"pods": 1}', '{"": 1}', '{"cpu": "1"}'],
    ),
    ("carbon-scheduler/executor-node-selector", ["", "pool=spark", '{"pool": 1}', "[]"]),
    (
        "carbon-scheduler/executor-tolerations",
        ["", "{}", '[{"key": "a", "operator": "Gt", "value": "1_0"}]', '[{"operator": "Maybe"}]', "[1]"],
    ),
    ("carbon-scheduler/executor-cout", ["5"]),
    ("carbon-scheduler/worker-", ["5"]),
    ("carbon-scheduler/packer", ["", "tightly_pack", "Tightly-Pack", "best"]),
    ("carbon-scheduler/weight", ["", "0", "-1", "1.5", "101", "heavy"]),
]
PALANTIR_KEYS = [
    ("spark-driver-cpu", ["x", "-1", ""]),
    ("spark-driver-cpus", ["x", "-1"]),
    ("spark-driver-mem", ["lots", "-1g", "1.5g"]),
    ("spark-driver-nvidia.com/gpu", ["x"]),
    ("spark-executor-cpu", ["0", "-2", "x", "NaN"]),
    ("spark-executor-mem", ["0", "-2Gi", "x", ""]),
    ("spark-executor-nvidia.com/gpu", ["-1", "x"]),
    ("spark-executor-count", ["-1", "1500m", "1.5", "x", "", str(MOST_WORKERS + 1)]),  # D15
    ("spark-dynamic-allocation-enabled", ["yes", "on", "", "tRUE", "2"]),
    ("spark-dynamic-allocation-min-executor-count", ["x", "-1", "0.5"]),  # present, though not needed
    ("spark-dynamic-allocation-max-executor-count", ["x", "-1", "0.5", str(2**31)]),
]
CONF = [
    ("spark.executor.instances", ["-1", "1.5", "two", "", str(MOST_WORKERS + 1), "1_0"]),
    ("spark.dynamicAllocation.enabled", ["yes", "1", ""]),
    ("spark.dynamicAllocation.minExecutors", ["-1", "x"]),
    ("spark.dynamicAllocation.initialExecutors", ["-1", "x"]),
    ("spark.dynamicAllocation.maxExecutors", ["-1", "x", str(2**31)]),
    ("spark.executor.cores", ["0", "-1", "1.5", "two"]),
    ("spark.kubernetes.executor.request.cores", ["0", "-1", "many", ""]),
    ("spark.executor.memory", ["0", "-1g", "1.5g", "4Gi", "4 gigabytes", "", "9999999999999t", "${heap}"]),
    ("spark.executor.memoryOverhead", ["-1", "10%", "x"]),
    ("spark.executor.memoryOverheadFactor", ["NaN", "-0.1", "Infinity", "0,1", "x", "1e300"]),
    ("spark.kubernetes.memoryOverheadFactor", ["NaN", "-0.1", "x"]),
    ("spark.executor.minMemoryOverhead", ["-1", "x"]),
    ("spark.executor.pyspark.memory", ["-1", "x"]),
    ("spark.memory.offHeap.enabled", ["yes"]),
    ("spark.memory.offHeap.size", ["x", "-1"]),
    ("spark.executor.resource.gpu.amount", ["-1", "0.5", "x", "1"]),
]


def flat(table: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(key, text) for key, texts in table for text in texts]


def names(detail: str, key: str, text: str) -> bool:
    """Whether a refusal shows key and value, as they are or quoted on one line and cut."""
    shown = {text[:40], ascii(text)[:40]}
    return key in detail and any(each in detail for each in shown if each)


@pytest.mark.parametrize(("key", "text"), flat(ANNOTATIONS))
def test_our_annotations(key: str, text: str) -> None:
    detail = refusal(read_annotations({**OWN, key: text}))
    if text == '{"a": true}' or not text.startswith('{"'):
        assert names(detail, key, text)
    assert key in detail
    assert detail == refusal(read_annotations({**OWN, key: text}))


@pytest.mark.parametrize(("key", "text"), flat(PALANTIR_KEYS))
def test_palantir_annotations(key: str, text: str) -> None:
    assert names(refusal(read_annotations({**PALANTIR, key: text})), key, text)
    assert names(refusal(read_conf({}, {key: text})), key, text)


@pytest.mark.parametrize(("key", "text"), flat(CONF))
def test_configuration(key: str, text: str) -> None:
    detail = refusal(read_conf({key: text}))
    if key.endswith("gpu.amount") and text == "1":
        assert detail.startswith("spark.executor.resource.gpu.vendor is missing")
    else:
        assert names(detail, key, text)


@pytest.mark.parametrize(
    ("annotations", "keys"),
    [
        ({"executor-count": "3", "executor-min-count": "2"}, ["executor-count=3", "executor-min-count=2"]),
        ({"executor-count": "3", "executor-max-count": "3"}, ["executor-count=3", "executor-max-count=3"]),
        (
            {"executor-min-count": "3", "executor-max-count": "2"},
            ["executor-min-count=3", "executor-max-count=2"],
        ),
        ({"executor-cpu": "3", "worker-cpu": "2"}, ["executor-cpu=3", "worker-cpu=2"]),
        (
            {"executor-cpu": "3", "executor-resources": '{"cpu": "2"}'},
            ["executor-cpu=3", 'executor-resources={"cpu": "2"}'],
        ),
    ],
)
def test_contradictions_show_both_sides(annotations: dict[str, str], keys: list[str]) -> None:
    detail = refusal(read_annotations({f"carbon-scheduler/{key}": text for key, text in annotations.items()}))
    assert all(f"carbon-scheduler/{key}" in detail for key in keys)


@pytest.mark.parametrize(
    ("own", "conf", "words"),
    [
        ({"executor-min-count": "5"}, {}, ["carbon-scheduler/executor-min-count=5", "maximum of 2"]),
        ({"executor-max-count": "1"}, {}, ["carbon-scheduler/executor-max-count=1", "minimum of 2"]),
    ],
)
def test_a_bound_that_contradicts_the_configuration(
    own: dict[str, str], conf: dict[str, str], words: list[str]
) -> None:
    detail = refusal(read_conf(conf, {f"carbon-scheduler/{key}": text for key, text in own.items()}))
    assert all(word in detail for word in words)


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"minExecutors": "5", "maxExecutors": "2"}, ["minExecutors=5", "maxExecutors=2"]),
        ({"initialExecutors": "5", "maxExecutors": "2"}, ["initialExecutors=5", "maxExecutors=2"]),
        ({"maxExecutors": "0"}, ["maxExecutors=0"]),
    ],
)
def test_dynamic_allocation_that_spark_itself_refuses(conf: dict[str, str], words: list[str]) -> None:
    dynamic = {f"spark.dynamicAllocation.{key}": text for key, text in {"enabled": "true", **conf}.items()}
    detail = refusal(read_conf(dynamic))
    assert all(f"spark.dynamicAllocation.{word}" in detail for word in words)


def test_more_instances_than_the_maximum_of_dynamic_allocation() -> None:
    conf = {
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.maxExecutors": "2",
        "spark.executor.instances": "4",
    }
    assert "spark.executor.instances=4" in refusal(read_conf(conf))


def test_off_heap_memory_without_a_size() -> None:
    detail = refusal(read_conf({"spark.memory.offHeap.enabled": "true"}))
    assert detail.startswith("spark.memory.offHeap.size is missing")


def test_palantir_minimum_above_maximum() -> None:
    annotations = {
        **PALANTIR,
        "spark-dynamic-allocation-enabled": "true",
        "spark-dynamic-allocation-min-executor-count": "5",
        "spark-dynamic-allocation-max-executor-count": "2",
    }
    detail = refusal(read_annotations(annotations))
    assert "min-executor-count=5" in detail
    assert "max-executor-count=2" in detail


@pytest.mark.parametrize("annotations", [OWN, PALANTIR])
@pytest.mark.parametrize("part", ["cpu", "mem", "count"])
def test_what_is_missing_is_named(annotations: dict[str, str], part: str) -> None:
    missing = next(key for key in annotations if f"executor-{part}" in key)
    detail = refusal(read_annotations({key: text for key, text in annotations.items() if key != missing}))
    assert detail.startswith(f"{missing} is missing: write ")


def test_a_leader_that_says_nothing_is_told_what_to_say() -> None:
    detail = refusal(SpecReader().read(leader(), None, None))
    for word in ("executor-count", "executor-cpu", "executor-memory", "worker-", "spark-submit"):
        assert word in detail


def test_a_config_map_without_spark_properties() -> None:
    detail = refusal(SpecReader().read(leader(mounts="conf-map"), {"other": ""}, None))
    assert detail.startswith("spark.properties is missing")


def test_malformed_properties() -> None:
    detail = refusal(SpecReader().read(leader(mounts="m"), {"spark.properties": "a=\\u12"}, None))
    assert names(detail, "spark.properties", "\\u12") or "malformed escape" in detail


def test_refusals_survive_the_way_to_kube_scheduler_uncut() -> None:
    detail = refusal(read_conf({"spark.executor.memoryOverhead": "10%"}))
    sent = reason(Outcome.INVALID_REQUEST, detail)
    assert sent.endswith(detail.replace("%", " percent"))


KEYS = st.sampled_from([key for key, _ in ANNOTATIONS + PALANTIR_KEYS]) | st.text(max_size=20)
VALUES = st.text(max_size=30) | st.sampled_from(
    ["1", "2", "1g", "true", "{}", "[]", "0", "-1", "1e5", "٣", "\ud800"]
)
PROPERTIES = st.dictionaries(st.sampled_from([key for key, _ in CONF]) | st.text(max_size=20), VALUES)


@given(
    annotations=st.dictionaries(KEYS, VALUES),
    data=st.none()
    | PROPERTIES.map(config_map)
    | st.builds(lambda text: {"spark.properties": text}, st.text())
    | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
    mounts=st.booleans(),
)
def test_nothing_raises_and_every_request_is_sound(
    annotations: dict[str, str], data: dict[str, str] | None, mounts: bool
) -> None:
    driver = leader(annotations, mounts="conf-map" if mounts else "")
    answer = SpecReader().read(driver, data, None)
    assert answer == SpecReader().read(driver, data, None)
    if isinstance(answer, SpecProblem):
        if answer.outcome is not Outcome.WAITING_FOR_CONFIGURATION:
            refusal(answer)
        return
    assert isinstance(answer, GangSpec)
    assert 0 <= answer.min_workers <= answer.max_workers
    assert answer.min_workers <= MOST_WORKERS
    assert answer.worker
    assert all(amount > 0 for amount in answer.worker.values())
