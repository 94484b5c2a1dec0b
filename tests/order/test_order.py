"""Fullest zone first, in it the fullest node, and the same answer for the same state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.nodes.arrays import IntArray
from extender.core.nodes.order import FreeOrder, by_label_priority, zone_ordered

Node = tuple[str, int, int, int]
"""Name, zone, free cpu, free memory."""


def ints(values: list[int]) -> IntArray:
    return np.array(values, dtype=np.int64)


def ordered(nodes: list[Node]) -> list[str]:
    names = [name for name, *_ in nodes]
    zone, cpu, memory = np.array([amounts for _, *amounts in nodes], dtype=np.int64).T
    everyone = np.ones(len(nodes), dtype=np.bool_)
    rows = FreeOrder(names).rows(memory, cpu)
    return [
        names[row]
        for row in zone_ordered(rows, everyone, everyone, zone, memory, cpu, int(zone.max()) + 1).tolist()
    ]


@pytest.mark.parametrize(
    "nodes, expected",
    [
        pytest.param([("b", 0, 1, 2), ("a", 0, 1, 1)], "a b", id="T21-less-memory-first"),
        pytest.param([("b", 0, 2, 1), ("a", 0, 1, 1)], "a b", id="T21-then-less-cpu"),
        pytest.param([("b", 0, 1, 1), ("a", 0, 1, 1)], "a b", id="T22-then-the-name"),
        pytest.param([("a", 0, 1, 3), ("b", 1, 1, 2), ("c", 1, 1, 0)], "c b a", id="T22-zone-before-node"),
        pytest.param(
            [("z1n1", 0, 1, 1), ("z1n2", 0, 1, 2), ("z1n3", 0, 2, 1), ("z2n1", 1, 1, 1)],
            "z2n1 z1n1 z1n3 z1n2",
            id="T23",
        ),
        pytest.param([("n1", 0, 2, 1), ("n2", 0, 2, 2), ("n3", 0, 1, 1)], "n3 n1 n2", id="T24"),
        pytest.param([("a", 0, 2, 4), ("b", 1, 1, 4)], "b a", id="zones-by-cpu-when-memory-is-equal"),
        pytest.param([("b", 0, 1, 4), ("a", 1, 1, 4)], "a b", id="D22-equal-zones-by-their-first-node"),
        pytest.param([("b", 0, 1, -2), ("a", 0, 1, -1)], "b a", id="over-committed-first"),
    ],
)
def test_order(nodes: list[Node], expected: str) -> None:
    assert ordered(nodes) == expected.split()
    assert ordered(nodes[::-1]) == expected.split()


@pytest.mark.parametrize(
    "priority, labels, order, expected",
    [
        pytest.param("best good", "worst good best", "n1 n3 n2", "n3 n2 n1", id="T25-unknown-value-last"),
        pytest.param("best good", "- good best", "n2 n3 n1", "n3 n2 n1", id="T26-no-label-last"),
        pytest.param("best better good", "better good best", "n1 n2 n3", "n3 n1 n2", id="T27"),
        pytest.param("best", "- - best", "n2 n1 n3", "n3 n2 n1", id="otherwise-as-before"),
    ],
)
def test_label_priority(priority: str, labels: str, order: str, expected: str) -> None:
    values = priority.split()
    ranks = [values.index(label) if label in values else len(values) for label in labels.split()]
    names = ["n1", "n2", "n3"]
    rows = np.array([names.index(name) for name in order.split()], dtype=np.intp)
    assert [names[row] for row in by_label_priority(rows, ints(ranks)).tolist()] == expected.split()


def test_a_zone_is_as_full_as_its_counted_nodes() -> None:
    """The second zone has more free memory, but only on a node that is not eligible."""
    memory, cpu, zone = ints([5, 4, 9]), ints([1, 1, 1]), ints([0, 1, 1])
    rows = FreeOrder(["a", "b", "c"]).rows(memory, cpu)
    eligible, everyone = np.array([True, True, False]), np.ones(3, dtype=np.bool_)
    assert zone_ordered(rows, eligible, eligible, zone, memory, cpu, 2).tolist() == [1, 0]
    assert zone_ordered(rows, eligible, everyone, zone, memory, cpu, 2).tolist() == [0, 1]
    assert zone_ordered(rows, ~eligible, everyone, zone, memory, cpu, 2).tolist() == [2]
    assert zone_ordered(rows, ~everyone, everyone, zone, memory, cpu, 2).tolist() == []


def test_zone_sums_are_exact_beyond_floating_point() -> None:
    memory, cpu, zone = ints([2**53, 2**53, 1]), ints([0, 0, 0]), ints([0, 1, 1])
    rows = FreeOrder(["b", "a", "c"]).rows(memory, cpu)
    everyone = np.ones(3, dtype=np.bool_)
    assert zone_ordered(rows, everyone, everyone, zone, memory, cpu, 2).tolist() == [0, 2, 1]


def test_no_nodes() -> None:
    assert FreeOrder([]).rows(ints([]), ints([])).tolist() == []


amounts = st.integers(-2, 3) | st.integers(-(2**45), 2**45)


@given(st.data())
def test_repaired_order_is_the_sorted_order(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 24))
    names = data.draw(st.permutations([f"n{number}" for number in range(size)]))
    memory, cpu = (ints(data.draw(st.lists(amounts, min_size=size, max_size=size))) for _ in range(2))
    order = FreeOrder(names)
    for _ in range(data.draw(st.integers(1, 6))):
        expected = sorted(range(size), key=lambda row: (memory[row], cpu[row], names[row]))
        assert order.rows(memory, cpu).tolist() == expected
        for row in data.draw(st.lists(st.integers(0, size - 1), max_size=5)):
            memory[row] += data.draw(amounts)
            cpu[row] += data.draw(amounts)
            order.touch((row,))


def test_an_order_that_was_handed_out_stays_as_it_was() -> None:
    memory, cpu = ints([1, 2, 3, 4, 5, 6, 7, 8]), ints([1] * 8)
    order = FreeOrder([f"n{row}" for row in range(8)])
    first = order.rows(memory, cpu)
    memory[0] = 9
    order.touch((0,))
    assert order.rows(memory, cpu).tolist() == [1, 2, 3, 4, 5, 6, 7, 0]
    assert first.tolist() == list(range(8))
