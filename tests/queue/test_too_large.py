"""A gang that can never fit is told which resource is too small, and by how much."""

from __future__ import annotations

import pytest

from extender.core.gangs.spec import GangSpec
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.nodes.terms import PlacementTerms
from extender.core.outcomes import Outcome
from tests.gang.world import GIB, World, node, size, spec


@pytest.mark.parametrize(
    ("leader", "wanted", "text"),
    [
        (size(9), spec(1), "the leader requests 9 of cpu, and the largest node it may use offers 8"),
        (
            size(1),
            spec(2, worker={CPU: 500, MEMORY: 33 * GIB}),
            "a worker requests 33792Mi of memory, and the largest node it may use offers 32768Mi",
        ),
        (size(1), spec(20), "the gang requests 21 of cpu in all, and the nodes it may use offer 16"),
        (
            size(1),
            spec(1, worker_terms=PlacementTerms((("pool", "none"),))),
            "no node accepts a worker: look at its node selector, affinity and tolerations",
        ),
        (size(1), spec(3, worker=size(5)), "take 2 of 3 workers"),
    ],
)
def test_the_reason_names_resource_and_amount(leader: dict[str, int], wanted: GangSpec, text: str) -> None:
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", wanted, requests=leader)
    decision = world.filter("a-driver")
    assert decision.outcome is Outcome.EXCEEDS_CLUSTER
    assert text in decision.reason
    world.foreign("other", "n1", requests=size(3))
    assert world.filter("a-driver").reason == decision.reason, "whatever runs, the text is the same"
