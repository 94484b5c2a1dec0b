"""Room on a node that kube-scheduler would refuse is not room, for workers as for the leader."""

from __future__ import annotations

from typing import Any

import pytest

from extender.core.facts import NodeFacts
from extender.core.nodes.terms import (
    NO_EXECUTE,
    NO_SCHEDULE,
    NodeTerm,
    PlacementTerms,
    Requirement,
    Taint,
    Toleration,
)
from extender.core.outcomes import Outcome
from tests.gang.world import World, node, spec

SSD = PlacementTerms(node_selector=(("disk", "ssd"),))
SPOT = PlacementTerms(affinity=(NodeTerm((Requirement("life", "In", ("spot",)),)),))
ONLY_N2 = PlacementTerms(affinity=(NodeTerm(fields=(Requirement("metadata.name", "In", ("n2",)),)),))
TOLERANT = PlacementTerms(tolerations=(Toleration("dedicated", "Exists"),))
TAINT = Taint("dedicated", "batch")

CLOSED: dict[str, tuple[NodeFacts, PlacementTerms]] = {
    "selector": (node("n1"), SSD),
    "selector-other-value": (node("n1", labels={"disk": "hdd"}), SSD),
    "affinity": (node("n1", labels={"life": "on-demand"}), SPOT),
    "affinity-by-name": (node("n1"), ONLY_N2),
    "taint": (node("n1", taints=(TAINT,)), PlacementTerms()),
    "taint-no-execute": (node("n1", taints=(Taint("dedicated", "batch", NO_EXECUTE),)), PlacementTerms()),
    "cordon": (node("n1", unschedulable=True), PlacementTerms()),
    "cordon-tolerated-by-nobody": (node("n1", unschedulable=True), TOLERANT),
    "not-ready": (node("n1", ready=False), PlacementTerms()),
}
OPEN: dict[str, tuple[NodeFacts, PlacementTerms]] = {
    "selector": (node("n1", labels={"disk": "ssd"}), SSD),
    "affinity": (node("n1", labels={"life": "spot"}), SPOT),
    "affinity-by-name": (node("n2"), ONLY_N2),
    "taint-tolerated": (node("n1", taints=(TAINT,)), TOLERANT),
    "taint-preferring": (
        node("n1", taints=(Taint("dedicated", "batch", "PreferNoSchedule"),)),
        PlacementTerms(),
    ),
    "cordon-tolerated": (
        node("n1", unschedulable=True),
        PlacementTerms(
            tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists", effect=NO_SCHEDULE),)
        ),
    ),
}


@pytest.mark.parametrize(("facts", "terms"), CLOSED.values(), ids=CLOSED)
def test_workers_are_not_counted_where_they_cannot_run(facts: NodeFacts, terms: PlacementTerms) -> None:
    world = World()
    world.add(node("leaders-only", 1), facts)
    world.leader("a", spec(1, worker_terms=terms))
    assert world.filter("a-driver", list(world.nodes)).outcome is Outcome.EXCEEDS_CLUSTER
    assert world.held() == {}


@pytest.mark.parametrize(("facts", "terms"), CLOSED.values(), ids=CLOSED)
def test_a_leader_is_not_answered_a_node_that_is_closed_to_it(
    facts: NodeFacts, terms: PlacementTerms
) -> None:
    world = World()
    world.add(facts, node("workers", 4, taints=(Taint("workers"),)))
    only_workers = PlacementTerms(tolerations=(Toleration("workers", "Exists"),))
    world.leader("a", spec(1, worker_terms=only_workers), terms=terms)
    assert world.filter("a-driver", list(world.nodes)).outcome is Outcome.EXCEEDS_CLUSTER


@pytest.mark.parametrize(("facts", "terms"), OPEN.values(), ids=OPEN)
def test_workers_are_held_where_they_can_run(facts: NodeFacts, terms: PlacementTerms) -> None:
    world = World()
    world.add(node("leaders-only", 1), facts)
    world.leader("a", spec(2, worker_terms=terms), terms=PlacementTerms())
    assert world.filter("a-driver", ["leaders-only"]).outcome is Outcome.ADMITTED
    assert world.held() == {"leaders-only": 1, facts.name: 2}


@pytest.mark.parametrize(
    "change",
    [{"unschedulable": True}, {"ready": False}, {"taints": (TAINT,)}],
    ids=["cordoned", "not-ready", "tainted"],
)
def test_open_slots_leave_a_node_that_closes(change: dict[str, Any]) -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.add(node("n2", 8))
    world.add(node("n1", 4, **change))
    world.tick()
    assert [where for where, _ in world.slots("a")] == ["n2"] * 3
    world.sound()


def test_slots_with_nowhere_else_to_go_stay_on_a_closed_node() -> None:
    world = World()
    world.add(node("n1", 4))
    world.leader("a", spec(3))
    world.schedule("a-driver")
    world.add(node("n1", 4, unschedulable=True))
    world.tick()
    assert [where for where, _ in world.slots("a")] == ["n1"] * 3
    world.add(node("n1", 4))
    world.worker("a", 1)
    assert world.schedule("a-exec-1").outcome is Outcome.SLOT_TAKEN


def test_workers_may_run_elsewhere_than_the_leader() -> None:
    world = World()
    world.add(node("n1", 1, labels={"disk": "ssd"}), node("n2", 8, labels={"life": "spot"}))
    world.leader("a", spec(4, worker_terms=SPOT), terms=SSD)
    assert world.schedule("a-driver").node == "n1"
    for number in range(1, 5):
        world.worker("a", number, terms=SPOT)
        assert world.schedule(f"a-exec-{number}").node == "n2"
    world.sound()
