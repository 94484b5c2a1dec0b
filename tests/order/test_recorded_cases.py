"""The archived Palantir extender's order of nodes in 14 clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extender.core.order import FreeOrder, zone_ordered
from extender.core.packing.base import BoolArray
from tests.cases import case_params

UNUSABLE_ROOM = (
    "the reference adds free room of cordoned and not-ready nodes to their zone; room that no pod of"
    " the gang can use says nothing about how full a zone is (D12)"
)

EXPECTED_DIFFERENCES: dict[str, tuple[str, list[str]]] = {
    "node-order/random-02": (UNUSABLE_ROOM, ["n4", "n1"]),
    "node-order/random-07": (UNUSABLE_ROOM, ["n2", "n5", "n6", "n3"]),
    "node-order/random-10": (UNUSABLE_ROOM, ["n2", "n3", "n4", "n6", "n7", "n8"]),
    "node-order/random-13": (UNUSABLE_ROOM, ["n4", "n2"]),
}
"""Cases whose executor order differs: the reason, and the right answer."""


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
        rows = zone_ordered(rows, eligible, self.zone, self.memory, self.cpu, self.n_zones)
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
    expected = case["expect"]["executor_nodes"]
    if case["id"] in EXPECTED_DIFFERENCES:
        reason, ours = EXPECTED_DIFFERENCES[case["id"]]
        assert expected != ours, f"the reference agrees, so this is no difference: {reason}"
        expected = ours
    assert cluster.order(cluster.open) == expected


def test_differences_name_existing_cases() -> None:
    params = case_params("binpack-cases.json", "node_order_cases")
    if params[0].values[0] is None:
        pytest.skip("the recorded cases are not here")
    assert len(params) == 14
    assert set(EXPECTED_DIFFERENCES) <= {param.id for param in params}
