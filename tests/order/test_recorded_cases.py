"""The archived Palantir extender's order of nodes in 14 clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extender.core.nodes.arrays import BoolArray
from extender.core.nodes.order import FreeOrder, zone_ordered
from tests.cases import case_params


class Cluster:
    """Nodes of a recorded case."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.names = [node["name"] for node in case["nodes"]]
        zones = sorted({node["zone"] for node in case["nodes"]})
        self.zone = np.array([zones.index(node["zone"]) for node in case["nodes"]])
        self.n_zones = len(zones)
        amounts = [(node["available"]["cpu"], node["available"]["memory"]) for node in case["nodes"]]
        self.cpu, self.memory = np.array(amounts, dtype=np.int64).T
        self.open = np.array(
            [node.get("ready", True) and not node.get("unschedulable") for node in case["nodes"]]
        )

    def order(self, eligible: BoolArray) -> list[str]:
        """Names of the eligible nodes in order."""
        rows = FreeOrder(self.names).rows(self.memory, self.cpu)
        every = np.ones(len(self.names), dtype=np.bool_)
        rows = zone_ordered(rows, eligible, every, self.zone, self.memory, self.cpu, self.n_zones)
        return [self.names[row] for row in rows.tolist()]


@pytest.mark.parametrize("case", case_params("binpack-cases.json", "node_order_cases"))
def test_leader_order_as_recorded(case: dict[str, Any]) -> None:
    """The reference lets drivers use every node it is offered, cordoned or not: so does this leader."""
    cluster = Cluster(case)
    order = cluster.order(np.ones(len(cluster.names), dtype=np.bool_))
    assert [name for name in order if name in case["candidate_nodes"]] == case["expect"]["driver_nodes"]


@pytest.mark.parametrize("case", case_params("binpack-cases.json", "node_order_cases"))
def test_worker_order_as_recorded(case: dict[str, Any]) -> None:
    cluster = Cluster(case)
    assert cluster.order(cluster.open) == case["expect"]["executor_nodes"]


def test_all_cases_are_there() -> None:
    params = case_params("binpack-cases.json", "node_order_cases")
    if params[0].values[0] is None:
        pytest.skip("the recorded cases are not here")
    assert len(params) == 14
