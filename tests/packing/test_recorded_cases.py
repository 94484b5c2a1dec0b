"""The archived Palantir extender's answers to 197 problems, slot by slot."""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.queue.packing import packer_named
from tests.cases import case_params
from tests.packing.problems import case_problem

Answer = tuple[str, list[str]] | None

D16 = "D16: the reference takes a best zone score of 0 for 'no room'"
D17_WORKERS = "D17: the reference leaves minimal-fragmentation's own executors out of the zone score"
D17_CORES = "D17: the reference scores whole cores; exactly, 0.9 of 4 used cores is fuller than 0.6 of 4"

EXPECTED_DIFFERENCES: dict[str, tuple[str, Answer]] = {
    "derived/single-az-tightly-pack/zero-size-everything": (D16, ("n1", ["n1"] * 3)),
    "derived/single-az-minimal-fragmentation/zero-size-everything": (D16, ("n1", ["n1"] * 3)),
    "derived/single-az-minimal-fragmentation/executors-not-counted-in-zone-score": (
        D17_WORKERS,
        ("a1", ["a2"] * 4),
    ),
    "derived/single-az-tightly-pack/whole-core-rounding-hides-difference": (D17_CORES, ("b1", [])),
    "derived/single-az-minimal-fragmentation/whole-core-rounding-hides-difference": (D17_CORES, ("b1", [])),
}
"""Cases that record a defect of the reference: the defect, and the right answer."""


@pytest.mark.parametrize("case", case_params("binpack-cases.json", "cases"))
def test_answers_as_recorded(case: dict[str, Any]) -> None:
    packing = packer_named(case["algorithm"])(case_problem(case))
    names = [node["name"] for node in case["nodes"]]
    answer: Answer = None
    if packing is not None:
        answer = names[packing.leader_row], [names[row] for row in packing.worker_rows.tolist()]

    recorded = case["expect"]
    expected: Answer = None
    if recorded["has_capacity"]:
        expected = recorded["driver_node"], recorded["executor_nodes"]
    if case["id"] in EXPECTED_DIFFERENCES:
        reason, ours = EXPECTED_DIFFERENCES[case["id"]]
        assert expected != ours, f"the reference agrees, so this is no difference: {reason}"
        expected = ours
    assert answer == expected


def test_differences_name_existing_cases() -> None:
    params = case_params("binpack-cases.json", "cases")
    if params[0].values[0] is None:
        pytest.skip("the recorded cases are not here")
    assert len(params) == 197
    assert set(EXPECTED_DIFFERENCES) <= {param.id for param in params}
