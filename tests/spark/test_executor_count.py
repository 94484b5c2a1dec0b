"""How many executors an application starts with, and how many it may ever have."""

from __future__ import annotations

import pytest

from tests.spark.support import read_conf, spec

DYNAMIC = {"spark.dynamicAllocation.enabled": "true"}
MIN = "spark.dynamicAllocation.minExecutors"
INITIAL = "spark.dynamicAllocation.initialExecutors"
MAX = "spark.dynamicAllocation.maxExecutors"
INSTANCES = "spark.executor.instances"
NO_MAXIMUM = 2**31 - 1


@pytest.mark.parametrize(
    ("conf", "bounds"),
    [
        ({}, (2, 2)),
        ({INSTANCES: "7"}, (7, 7)),
        ({INSTANCES: " 7 "}, (7, 7)),
        ({INSTANCES: "0"}, (0, 0)),
        ({INSTANCES: "4", MIN: "1", MAX: "9"}, (4, 4)),
        ({INSTANCES: "4", "spark.dynamicAllocation.enabled": "False", MAX: "9"}, (4, 4)),
        (DYNAMIC, (1, NO_MAXIMUM)),
        ({**DYNAMIC, MIN: "1", INITIAL: "3"}, (3, NO_MAXIMUM)),
        ({**DYNAMIC, INSTANCES: "4"}, (4, NO_MAXIMUM)),
        ({**DYNAMIC, MIN: "2", INITIAL: "1", MAX: "10"}, (2, 10)),
        ({**DYNAMIC, MIN: "0", MAX: "10"}, (1, 10)),
        ({**DYNAMIC, MIN: "5", MAX: "5"}, (5, 5)),
        ({**DYNAMIC, MAX: str(NO_MAXIMUM)}, (1, NO_MAXIMUM)),
    ],
)
def test_bounds_of_the_configuration(conf: dict[str, str], bounds: tuple[int, int]) -> None:
    gang = spec(read_conf(conf))
    assert (gang.min_workers, gang.max_workers) == bounds


@pytest.mark.parametrize(
    ("annotations", "conf", "bounds"),
    [
        ({"count": "5"}, {INSTANCES: "3"}, (5, 5)),
        ({"count": "5"}, {**DYNAMIC, MIN: "1", MAX: "3"}, (5, 5)),
        ({"min-count": "2"}, {INSTANCES: "3"}, (2, 3)),
        ({"max-count": "8"}, {INSTANCES: "3"}, (3, 8)),
        ({"max-count": "8"}, {**DYNAMIC, MIN: "2"}, (2, 8)),
        ({"min-count": "0", "max-count": "1"}, {INSTANCES: "3"}, (0, 1)),
    ],
)
def test_annotations_replace_single_bounds(
    annotations: dict[str, str], conf: dict[str, str], bounds: tuple[int, int]
) -> None:
    own = {f"carbon-scheduler/executor-{field}": text for field, text in annotations.items()}
    gang = spec(read_conf(conf, own))
    assert (gang.min_workers, gang.max_workers) == bounds
    assert gang.worker["memory"] == 1408 << 20
    assert gang.source == "annotations+spark-configuration"
