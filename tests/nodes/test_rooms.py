"""Rooms are kept up row by row: after any changes they are what counting from scratch gives."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from extender.core.nodes import fit_counts as rooms
from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.resources import GPU
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import ANYWHERE, PlacementTerms
from tests.gang.world import node, size

SSD = PlacementTerms(node_selector=(("disk", "ssd"),))
SHAPES = [
    (size(1), ANYWHERE),
    (size(2, 3), SSD),
    (size(0, 0), ANYWHERE),
    (size(1, 0, **{GPU: 1}), ANYWHERE),
    (size(1, 1, **{"example.com/late": 1}), ANYWHERE),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("upsert"), st.integers(0, 9), st.integers(0, 9), st.booleans(), st.sampled_from([0, 0, 3])
        ),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("use"), st.integers(0, 9), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("ask"), st.integers(0, len(SHAPES) - 1)),
    ),
    max_size=60,
)


def check(table: NodeTable, shape: int) -> None:
    """The kept room of a shape against one counted now."""
    requests, terms = SHAPES[shape]
    vector = table.vector(requests)
    room, total = table.rooms(vector, terms)
    expected = np.minimum(room_for(table.free, table.widened(vector)), ROOM_LIMIT)
    expected[~table.eligible(terms)] = 0
    assert room.tolist() == expected.tolist()
    assert total == int(expected.sum())


def change(table: NodeTable, step: tuple[Any, ...]) -> None:
    """One step of a story."""
    match step:
        case ("upsert", number, cores, ssd, late):
            extra = {"example.com/late": late} if late else {}
            labels = {"disk": "ssd"} if ssd else {}
            table.upsert(node(f"n{number}", cores, 8, labels=labels, extra=extra))
        case ("remove", number):
            table.remove(f"n{number}")
        case ("use", number, cores, held):
            (table.reserve if held else table.use)(table.row(f"n{number}"), table.vector(size(cores, 1)))
        case (_, shape):
            check(table, shape)


@given(STEPS)
@settings(max_examples=80)
def test_kept_rooms_are_counted_rooms(steps: list[tuple[Any, ...]]) -> None:
    table = NodeTable()
    for step in steps:
        change(table, step)
    for shape in range(len(SHAPES)):
        check(table, shape)


def test_rooms_stay_right_when_the_log_of_changes_is_cut(monkeypatch: Any) -> None:
    monkeypatch.setattr(rooms, "_LONGEST_LOG", 8)
    table = NodeTable()
    for number in range(200):
        table.upsert(node(f"n{number}", 8))
    check(table, 0)
    for number in range(100):
        table.use(number % 40, table.vector(size(1)))
        if number % 13 == 0:
            check(table, 0)
    check(table, 0)


def test_a_single_change_recounts_a_single_row(monkeypatch: Any) -> None:
    table = NodeTable()
    for number in range(200):
        table.upsert(node(f"n{number}", 8))
    check(table, 0)
    counted: list[int] = []
    original = rooms.room_for

    def watched(free: Any, vector: Any) -> Any:
        counted.append(free.shape[1])
        return original(free, vector)

    monkeypatch.setattr(rooms, "room_for", watched)
    table.use(3, table.vector(size(1)))
    table.rooms(table.vector(size(1)), ANYWHERE)
    table.rooms(table.vector(size(1)), ANYWHERE)
    assert counted == [1]


def test_a_change_on_a_closed_node_does_not_open_it() -> None:
    table = NodeTable()
    for number in range(4):
        table.upsert(node(f"n{number}", 8, labels={"disk": "ssd"} if number % 2 else {}))
    check(table, 1)
    for row in range(4):
        table.use(row, table.vector(size(1)))
        check(table, 1)


def test_a_pod_that_asks_for_nothing_still_takes_a_pod_place() -> None:
    table = NodeTable()
    table.upsert(node("n1", 8, pods=3))
    assert table.rooms(table.vector({}), ANYWHERE)[1] == 3


def test_an_over_committed_node_has_no_room_even_for_nothing() -> None:
    table = NodeTable()
    table.upsert(node("n1", 2))
    table.use(0, table.vector(size(3)))
    assert table.rooms(table.vector({}), ANYWHERE)[1] == 0
