"""Requests written as annotations: our keys, Palantir's keys, and how the sources are joined."""

from __future__ import annotations

import pytest

from extender.adapters.spark import SpecReader
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, SpecProblem
from extender.core.nodes.terms import ANYWHERE, NodeTerm, PlacementTerms, Requirement, Toleration
from extender.core.queue.packing import PACKERS
from tests.spark.support import (
    MIB,
    OWN,
    PALANTIR,
    config_map,
    leader,
    read_annotations,
    read_conf,
    refusal,
    spec,
)

GIB = 1 << 30
DRIVER_TERMS = PlacementTerms(
    node_selector=(("pool", "drivers"),),
    affinity=(NodeTerm((Requirement("zone", "In", ("a",)),)),),
    tolerations=(Toleration("spark", "Exists"),),
)


def test_our_annotations_are_a_request() -> None:
    gang = spec(read_annotations({**OWN, "carbon-scheduler/executor-gpu": "1"}))
    assert dict(gang.worker) == {"cpu": 2000, "memory": 4 * GIB, "nvidia.com/gpu": 1}
    assert (gang.min_workers, gang.max_workers, gang.packer) == (3, 3, "")
    assert gang.source == "annotations"


def test_bounds_and_further_resources() -> None:
    gang = spec(
        read_annotations(
            {
                "carbon-scheduler/executor-resources": '{"cpu": 1.5, "memory": "2g", "example.com/fpga": 2}',
                "carbon-scheduler/executor-min-count": "0",
                "carbon-scheduler/executor-max-count": "20",
            }
        )
    )
    assert dict(gang.worker) == {"cpu": 1500, "memory": 2 * GIB, "example.com/fpga": 2}
    assert (gang.min_workers, gang.max_workers) == (0, 20)


@pytest.mark.parametrize("packer", sorted(PACKERS))
@pytest.mark.parametrize("source", [OWN, PALANTIR])
def test_every_packer_can_be_named(packer: str, source: dict[str, str]) -> None:
    assert spec(read_annotations({**source, "carbon-scheduler/packer": packer})).packer == packer
    assert spec(read_conf({}, {"carbon-scheduler/packer": packer})).packer == packer


@pytest.mark.parametrize("source", [OWN, PALANTIR])
def test_a_weight_can_be_stated_with_every_dialect(source: dict[str, str]) -> None:
    assert spec(read_annotations(source)).weight == 1
    assert spec(read_annotations({**source, "carbon-scheduler/weight": "4"})).weight == 4
    assert spec(read_conf({}, {"carbon-scheduler/weight": "100"})).weight == 100


def test_generic_gangs_use_the_word_worker_and_may_leave_sizes_out() -> None:
    gang = spec(
        read_annotations({"carbon-scheduler/worker-cpu": "500m", "carbon-scheduler/worker-count": "4"})
    )
    assert dict(gang.worker) == {"cpu": 500}
    assert gang.min_workers == 4


def test_both_words_may_say_the_same() -> None:
    gang = spec(read_annotations({**OWN, "carbon-scheduler/worker-count": "3"}))
    assert gang.min_workers == 3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1Gi", GIB),
        ("1g", GIB),
        ("1gb", GIB),
        ("512m", 512 * MIB),  # Spark's MiB: no pod has 0.512 bytes
        ("128974848000m", 123 * MIB),  # Kubernetes' thousandths: no pod has 10^8 GiB
        ("2000k", 2_000_000),
        ("1G", 10**9),
        ("2432Mi", 2432 * MIB),
        ("1e9", 10**9),
        ("1.5Gi", 3 * GIB // 2),
        ("1073741824", GIB),
    ],
)
def test_memory_as_kubernetes_or_as_spark_writes_it(text: str, size: int) -> None:
    assert spec(read_annotations({**OWN, "carbon-scheduler/executor-memory": text})).worker["memory"] == size
    assert spec(read_annotations({**PALANTIR, "spark-executor-mem": text})).worker["memory"] == size


def test_palantir_static_allocation() -> None:  # T14
    gang = spec(read_annotations(PALANTIR))
    assert dict(gang.worker) == {"cpu": 2000, "memory": 6758 * MIB, "nvidia.com/gpu": 1}
    assert (gang.min_workers, gang.max_workers) == (2, 2)
    assert gang.source == "palantir-annotations"


def test_palantir_dynamic_allocation() -> None:  # T15
    annotations = {key: text for key, text in PALANTIR.items() if key != "spark-executor-count"}
    annotations["spark-dynamic-allocation-enabled"] = "true"
    annotations["spark-dynamic-allocation-min-executor-count"] = "2"
    annotations["spark-dynamic-allocation-max-executor-count"] = "5"
    gang = spec(read_annotations(annotations))
    assert (gang.min_workers, gang.max_workers) == (2, 5)


def test_palantir_without_gpu_keys() -> None:  # T16
    annotations = {key: text for key, text in PALANTIR.items() if "gpu" not in key}
    assert dict(spec(read_annotations(annotations)).worker) == {"cpu": 2000, "memory": 6758 * MIB}


def test_spelling_of_the_first_palantir_readme() -> None:
    annotations = {key: text for key, text in PALANTIR.items() if key != "spark-driver-cpu"}
    annotations |= {"spark-driver-cpus": "1", "spark-driver-mem": "1g", "spark-executor-mem": "4g"}
    assert spec(read_annotations(annotations)).worker["memory"] == 4 * GIB


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_palantir_booleans_that_are_true(text: str) -> None:
    annotations = {**PALANTIR, "spark-dynamic-allocation-enabled": text}
    assert "spark-dynamic-allocation-min-executor-count" in refusal(read_annotations(annotations))


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_palantir_booleans_that_are_false(text: str) -> None:
    assert spec(read_annotations({**PALANTIR, "spark-dynamic-allocation-enabled": text})).max_workers == 2


@pytest.mark.parametrize(("text", "number"), [("3000m", 3), ("1e1", 10), ("2", 2), ("0", 0)])
def test_palantir_counts_are_quantities(text: str, number: int) -> None:
    assert spec(read_annotations({**PALANTIR, "spark-executor-count": text})).min_workers == number


def test_ours_come_before_palantir_s_before_spark_s() -> None:
    conf = {"spark.executor.instances": "9", "spark.executor.cores": "1", "spark.executor.memory": "1g"}
    annotations = {
        "carbon-scheduler/executor-count": "3",
        "spark-executor-count": "5",
        "spark-executor-cpu": "4",
    }
    gang = spec(read_conf(conf, annotations))
    assert (gang.min_workers, gang.worker["cpu"], gang.worker["memory"]) == (3, 4000, 1408 * MIB)
    assert gang.source == "annotations+palantir-annotations+spark-configuration"


def test_palantir_sizes_without_overhead_are_raised_to_what_spark_will_request() -> None:  # D26
    annotations = {**PALANTIR, "spark-executor-mem": "4g", "spark-executor-cpu": "4"}
    conf = {"spark.executor.memory": "4g", "spark.executor.cores": "2"}
    worker = spec(read_conf(conf, annotations)).worker
    assert worker["memory"] == 4505 * MIB
    assert worker["cpu"] == 4000


def test_palantir_annotations_wait_for_a_mounted_configuration() -> None:  # D26
    driver = leader(PALANTIR, mounts="conf-map")
    assert SpecReader().read(driver, None, None) == WAIT_FOR_CONFIGURATION


def test_of_an_annotated_and_a_configured_size_the_larger_counts() -> None:
    """Spark requests what its configuration says, whatever the annotations say (D26)."""
    larger = spec(read_conf({"spark.executor.memory": "8g"}, OWN)).worker
    assert larger["memory"] > 8 * GIB
    assert spec(read_conf({"spark.executor.memory": "1g"}, OWN)).worker["memory"] == 4 * GIB


def test_a_mounted_configuration_is_waited_for_even_if_everything_is_annotated() -> None:
    driver = leader(OWN, mounts="conf-map")
    assert SpecReader().read(driver, None, None) == WAIT_FOR_CONFIGURATION
    gang = spec(SpecReader().read(leader(OWN, terms=DRIVER_TERMS), None, None))
    assert gang.min_workers == 3
    assert gang.worker_terms == DRIVER_TERMS


@pytest.mark.parametrize("field", ["cpu", "memory", "count"])
def test_incomplete_annotations_wait_for_the_configuration(field: str) -> None:
    annotations = {key: text for key, text in OWN.items() if not key.endswith(field)}
    driver = leader(annotations, mounts="conf-map")
    assert SpecReader().read(driver, None, None) == WAIT_FOR_CONFIGURATION
    assert spec(SpecReader().read(driver, config_map(), None)).source == "annotations+spark-configuration"


@pytest.mark.parametrize("annotations", [OWN, PALANTIR])
def test_workers_go_where_the_leader_goes_when_nothing_else_is_known(annotations: dict[str, str]) -> None:
    assert spec(read_annotations(annotations, terms=DRIVER_TERMS)).worker_terms == DRIVER_TERMS


def test_spark_s_own_constraints_are_known_once_the_configuration_is() -> None:
    driver = leader(OWN, mounts="conf-map", terms=DRIVER_TERMS)
    assert spec(SpecReader().read(driver, config_map(), None)).worker_terms is ANYWHERE


def test_annotated_selector_and_tolerations_of_workers() -> None:
    annotations = {**OWN, "carbon-scheduler/executor-node-selector": '{"pool": "gpu"}'}
    terms = spec(read_annotations(annotations, terms=DRIVER_TERMS)).worker_terms
    assert terms == PlacementTerms((("pool", "gpu"),), None, DRIVER_TERMS.tolerations)
    annotations["carbon-scheduler/executor-tolerations"] = '[{"key": "gpu", "operator": "Exists"}]'
    terms = spec(read_annotations(annotations, terms=DRIVER_TERMS)).worker_terms
    assert terms == PlacementTerms((("pool", "gpu"),), None, (Toleration("gpu", "Exists"),))


def test_other_annotations_are_no_concern_of_ours() -> None:
    annotations = {**OWN, "example.com/executor-cpu": "x", "carbon-scheduler/wake": "1.5"}
    assert spec(read_annotations(annotations)).min_workers == 3


@pytest.mark.parametrize("key", ["carbon-scheduler/exector-count", "carbon-scheduler/team"])
def test_an_unknown_key_of_ours_is_refused(key: str) -> None:
    """A typing error never becomes a default silently."""
    problem = read_annotations({**OWN, key: "3"})
    assert isinstance(problem, SpecProblem)
    assert f"{key}=3: unknown key" in problem.detail
