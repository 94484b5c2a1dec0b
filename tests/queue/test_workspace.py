"""Free amounts while gangs are planned one after the other; the table itself stays as it is."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from extender.core.nodes.arrays import room_for
from extender.core.nodes.fit_counts import ROOM_LIMIT
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import ANYWHERE, PlacementTerms
from extender.core.queue.packing import Packing
from extender.core.queue.workspace import Workspace
from tests.gang.world import node, size

SSD = PlacementTerms(node_selector=(("disk", "ssd"),))


@given(
    cores=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    placements=st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 4), max_size=4)), max_size=3),
)
def test_rooms_are_those_of_what_is_left(cores: list[int], placements: list[tuple[int, list[int]]]) -> None:
    table = NodeTable()
    for number, amount in enumerate(cores):
        table.upsert(node(f"n{number}", amount, labels={"disk": "ssd"} if number % 2 else {}))
    leader, worker = table.vector(size(2)), table.vector(size(1))
    before, left = table.free.copy(), table.free.copy()
    space = Workspace(table)
    for leader_row, worker_rows in placements:
        leader_row %= len(cores)
        rows = np.array([row % len(cores) for row in worker_rows], dtype=np.intp)
        space.take(Packing(leader_row, rows), leader, worker)
        left[:, leader_row] -= leader
        for row in rows.tolist():
            left[:, row] -= worker
        for terms in (ANYWHERE, SSD):
            room, total = space.rooms(worker, terms)
            expected = np.minimum(room_for(left, worker), ROOM_LIMIT)
            expected[~table.eligible(terms)] = 0
            assert (room.tolist(), total) == (expected.tolist(), int(expected.sum()))
    assert np.array_equal(space.free, left)
    assert np.array_equal(table.free, before)


def test_a_pod_supposed_gone_frees_its_node_here_only() -> None:
    table = NodeTable()
    table.upsert(node("n1", 4))
    used = table.vector(size(3))
    table.use(0, used)
    space = Workspace(table)
    space.give(0, used)
    assert space.rooms(table.vector(size(1)), ANYWHERE)[1] == 4
    assert table.rooms(table.vector(size(1)), ANYWHERE)[1] == 1
