"""Constraints are evaluated once for each class of nodes: the answer is that of each node alone."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.facts import NodeFacts
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import (
    ANYWHERE,
    NO_EXECUTE,
    NO_SCHEDULE,
    UNSCHEDULABLE_TAINT,
    NodeTerm,
    PlacementTerms,
    Requirement,
    Taint,
    Toleration,
)
from tests.gang.world import node

KEYS = ["disk", "kubernetes.io/hostname", "number"]
VALUES = ["ssd", "hdd", "n0", "n1", "3", "7", ""]

taints = st.builds(
    Taint,
    st.sampled_from(["dedicated", "gpu"]),
    st.sampled_from(["", "batch", "3", "7"]),
    st.sampled_from([NO_SCHEDULE, NO_EXECUTE, "PreferNoSchedule"]),
)
tolerations = st.builds(
    Toleration,
    st.sampled_from(["", "dedicated", "gpu", UNSCHEDULABLE_TAINT]),
    st.sampled_from(["Exists", "Equal", "Gt", "Lt", "Sometimes"]),
    st.sampled_from(["", "batch", "5"]),
    st.sampled_from(["", NO_SCHEDULE, NO_EXECUTE]),
)
requirements = st.builds(
    Requirement,
    st.sampled_from(KEYS),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Sometimes"]),
    st.lists(st.sampled_from(VALUES), max_size=2).map(tuple),
)
name_requirements = st.builds(
    Requirement, st.just("metadata.name"), st.sampled_from(["In", "NotIn"]), st.just(("n0", "n2"))
)
node_terms = st.builds(
    NodeTerm,
    st.lists(requirements, max_size=2).map(tuple),
    st.lists(name_requirements, max_size=1).map(tuple),
)
placement_terms = st.builds(
    PlacementTerms,
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=2).map(tuple),
    st.none() | st.lists(node_terms, max_size=2).map(tuple),
    st.lists(tolerations, max_size=2).map(tuple),
)


@st.composite
def clusters(draw: st.DrawFn) -> list[NodeFacts]:
    """Up to eight nodes."""
    return [
        node(
            f"n{number}",
            labels=draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)),
            taints=tuple(draw(st.lists(taints, max_size=2))),
            unschedulable=draw(st.booleans()),
            ready=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


def alone(facts: NodeFacts, terms: PlacementTerms) -> bool:
    """Whether kube-scheduler's own filters would pass this node."""
    kept_away = facts.taints
    if facts.unschedulable:
        kept_away = (*kept_away, Taint(UNSCHEDULABLE_TAINT, "", NO_SCHEDULE))
    return (
        facts.ready
        and terms.accept_labels(facts.labels, facts.name)
        and all(
            taint.effect == "PreferNoSchedule" or any(t.tolerates(taint) for t in terms.tolerations)
            for taint in kept_away
        )
    )


@given(clusters(), st.lists(placement_terms, min_size=1, max_size=3), st.data())
def test_masks_are_the_answers_of_each_node(
    cluster: list[NodeFacts], asked: list[PlacementTerms], data: st.DataObject
) -> None:
    table = NodeTable()
    for facts in cluster:
        table.upsert(facts)
    for _ in range(2):
        for terms in asked:
            assert table.eligible(terms).tolist() == [alone(facts, terms) for facts in cluster]
            assert table.matching(terms).tolist() == [
                terms.accept_labels(facts.labels, facts.name) for facts in cluster
            ]
        if cluster:  # and after a change
            number = data.draw(st.integers(0, len(cluster) - 1))
            cluster[number] = node(f"n{number}", labels={"disk": "ssd"}, ready=data.draw(st.booleans()))
            table.upsert(cluster[number])


@given(clusters(), placement_terms)
def test_nodes_that_are_gone_accept_nobody(cluster: list[NodeFacts], terms: PlacementTerms) -> None:
    table = NodeTable()
    for facts in cluster:
        table.upsert(facts)
    table.row("never-seen")
    for facts in cluster[::2]:
        table.remove(facts.name)
    left = [alone(facts, terms) and number % 2 == 1 for number, facts in enumerate(cluster)]
    assert table.eligible(terms).tolist() == [*left, False]


def test_labels_that_differ_on_every_node_make_no_classes() -> None:
    table = NodeTable()
    for number in range(50):
        table.upsert(
            node(f"n{number}", labels={"kubernetes.io/hostname": f"n{number}", "serial": f"{number}"})
        )
    assert len(table.classes) == 1
    for key, value in (("kubernetes.io/hostname", "n7"), ("serial", "7")):
        one = PlacementTerms(node_selector=((key, value),))
        assert table.eligible(one).nonzero()[0].tolist() == [7]


def test_classes_and_values_of_nodes_that_are_gone_are_given_back() -> None:
    table = NodeTable()
    serial = PlacementTerms(affinity=(NodeTerm((Requirement("serial", "Exists"),)),))
    for number in range(2_000):
        taint = Taint("batch", str(number))
        table.upsert(node(f"n{number}", labels={"serial": str(number)}, taints=(taint,)))
        if number >= 10:
            table.remove(f"n{number - 10}")
        assert table.matching(serial).sum() == min(number + 1, 10)
    assert len(table.classes) == 10
    assert len(table.names) < 200


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration("dedicated", "Equal", "batch"), True),
        (Toleration("dedicated", "Equal", "other"), False),
        (Toleration("dedicated", "Exists"), True),
        (Toleration("", "Exists"), True),
        (Toleration("", "Equal", "batch"), False),
        (Toleration("other", "Exists"), False),
        (Toleration("dedicated", "Equal", "batch", NO_SCHEDULE), True),
        (Toleration("dedicated", "Equal", "batch", NO_EXECUTE), False),
    ],
)
def test_tolerations(toleration: Toleration, tolerates: bool) -> None:
    table = NodeTable()
    table.upsert(node("n1", taints=(Taint("dedicated", "batch"),)))
    assert table.eligible(PlacementTerms(tolerations=(toleration,))).tolist() == [tolerates]


def test_a_term_without_anything_accepts_nobody() -> None:
    table = NodeTable()
    table.upsert(node("n1"))
    assert table.eligible(ANYWHERE).tolist() == [True]
    assert table.eligible(PlacementTerms(affinity=(NodeTerm(),))).tolist() == [False]
    assert table.eligible(PlacementTerms(affinity=())).tolist() == [False]


@pytest.mark.parametrize(
    ("operator", "value", "taint", "covers"),
    [
        ("Gt", "900", "950", True),
        ("Gt", "950", "950", False),
        ("Lt", "960", "950", True),
        ("Lt", "950", "950", False),
        ("Gt", "-5", "+3", True),
        ("Gt", "0900", "950", True),
        ("Gt", "900", "high", False),
        ("Gt", "high", "900", False),
        ("Gt", "900", "1_000", False),
        ("Gt", "900", " 950", False),
        ("Gt", "900", "9" * 30, False),
        ("Gt", "9223372036854775807", "9223372036854775808", False),
        ("Lt", "9223372036854775807", "9223372036854775806", True),
        ("Gt", "900", "\u0669\u0665\u0660", False),  # digits, but not Go's
        ("Near", "950", "950", False),
    ],
)
def test_numbers_of_taints_and_labels_are_read_as_kube_scheduler_reads_them(
    operator: str, value: str, taint: str, covers: bool
) -> None:
    assert Toleration("sla", operator, value).tolerates(Taint("sla", taint)) is covers
    assert Requirement("sla", operator, (value,)).holds({"sla": taint}) is covers


def test_a_comparison_covers_neither_another_key_nor_another_effect() -> None:
    toleration = Toleration("sla", "Gt", "900", NO_SCHEDULE)
    assert not toleration.tolerates(Taint("other", "950"))
    assert not toleration.tolerates(Taint("sla", "950", NO_EXECUTE))
    assert not Toleration("", "Gt", "900").tolerates(Taint("sla", "950"))
