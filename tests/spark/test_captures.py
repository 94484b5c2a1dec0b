"""Recorded runs of real Spark: what we compute before an executor exists is what Spark then posts."""

from __future__ import annotations

import pytest

from extender.adapters.spark import SpecReader
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION
from extender.core.nodes.terms import Toleration
from tests.spark.support import MIB, capture, read_conf, spec

VERSIONS = ("3.5.9", "4.3.0")
GIB = 1 << 30
DEFAULT = {"cpu": 1000, "memory": 1408 * MIB}
TEMPLATED = {**DEFAULT, "ephemeral-storage": GIB}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("case", "worker", "bounds"),
    [
        ("static", {"cpu": 2000, "memory": (2048 + 819) * MIB}, (3, 3)),
        ("jvm", DEFAULT, (4, 4)),
        ("scheduler-name", DEFAULT, (2, 2)),
        ("role-scheduler-names", DEFAULT, (2, 2)),
        ("podtemplate", TEMPLATED, (2, 2)),
        ("podtemplate-plus-conf", DEFAULT, (2, 2)),
        ("dynalloc", {"cpu": 3500, "memory": 9 * GIB}, (2, 10)),
        ("gpu", {"cpu": 1000, "memory": 1945 * MIB, "nvidia.com/gpu": 1}, (2, 2)),
    ],
)
def test_unannotated_submission(
    version: str, case: str, worker: dict[str, int], bounds: tuple[int, int]
) -> None:
    gang = spec(capture(f"{version}-{case}").read())
    assert dict(gang.worker) == worker
    assert (gang.min_workers, gang.max_workers) == bounds
    assert gang.source == "spark-configuration"


@pytest.mark.parametrize("version", VERSIONS)
def test_cluster_mode_run_posts_the_executors_that_were_computed(version: str) -> None:
    run = capture(f"{version}-e2e-wordcount")
    gang = spec(run.read())
    assert len(run.executors) == gang.min_workers == 2
    for executor in run.executors:
        assert executor.requests == gang.worker
        assert executor.terms == gang.worker_terms
        assert run.leader is not None
        assert executor.gang == run.leader.gang


CLIENT_MODE_RUNS = [
    ("3.5.9-exec-default", {}),
    ("4.3.0-exec-default", {}),
    ("3.5.9-exec-decom", {"spark.decommission.enabled": "true"}),
    ("3.5.9-exec-25-executors", {"spark.executor.memory": "4g", "spark.executor.cores": "2"}),
    ("4.3.0-exec-25-executors", {"spark.executor.memory": "4g", "spark.executor.cores": "2"}),
    (
        "3.5.9-exec-factor",
        {
            "spark.executor.memory": "8g",
            "spark.executor.memoryOverheadFactor": "0.25",
            "spark.kubernetes.memoryOverheadFactor": "0.4",
        },
    ),
    (
        "3.5.9-exec-k8sfactor",
        {"spark.executor.memory": "8g", "spark.kubernetes.memoryOverheadFactor": "0.4"},
    ),
    ("3.5.9-exec-overhead", {"spark.executor.memory": "8g", "spark.executor.memoryOverhead": "3g"}),
    *(
        (
            f"{version}-exec-pyspark-memory",
            {
                "spark.kubernetes.resource.type": "python",
                "spark.executor.cores": "2",
                "spark.kubernetes.memoryOverheadFactor": "0.4",
                "spark.executor.pyspark.memory": "512m",
            },
        )
        for version in VERSIONS
    ),
]


@pytest.mark.parametrize(("case", "conf"), CLIENT_MODE_RUNS, ids=[case for case, _ in CLIENT_MODE_RUNS])
def test_executors_posted_in_client_mode_have_the_computed_size(case: str, conf: dict[str, str]) -> None:
    executors = capture(case).executors
    assert executors
    gang = spec(read_conf(conf))
    assert all(executor.requests == gang.worker for executor in executors)


def test_dynamic_allocation_starts_with_the_initial_number() -> None:
    conf = {
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.initialExecutors": "3",
        "spark.dynamicAllocation.minExecutors": "1",
    }
    assert spec(read_conf(conf)).min_workers == len(capture("3.5.9-exec-dyn").executors)


@pytest.mark.parametrize("version", VERSIONS)
def test_executors_made_from_a_template(version: str) -> None:
    submission, run = capture(f"{version}-podtemplate"), capture(f"{version}-exec-template")
    gang = spec(submission.read())
    (executor,) = run.executors
    assert executor.requests == gang.worker
    assert executor.terms == gang.worker_terms
    assert gang.worker_terms.node_selector == (("pool", "spark"),)
    assert gang.worker_terms.tolerations == (Toleration("spot", "Exists"),)


@pytest.mark.parametrize("version", VERSIONS)
def test_waits_for_each_config_map_the_driver_mounts(version: str) -> None:
    submission = capture(f"{version}-podtemplate")
    driver = submission.leader
    assert driver is not None
    conf, template = (
        submission.config_maps[name] for name in (driver.config_map, driver.template_config_map)
    )
    read = SpecReader().read
    assert read(driver, None, None) == WAIT_FOR_CONFIGURATION
    assert read(driver, None, template) == WAIT_FOR_CONFIGURATION
    assert read(driver, conf, None) == WAIT_FOR_CONFIGURATION
    assert spec(read(driver, conf, template)).min_workers == 2
