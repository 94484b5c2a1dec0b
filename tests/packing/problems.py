"""Problems to pack: built by name, read from recorded cases, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from extender.core.nodes.arrays import IntArray, room_for
from extender.core.queue.packing import Packing, Problem

RESOURCES = ("cpu", "memory", "gpu")
Amount = int | str


def vector(amounts: Mapping[str, Amount]) -> IntArray:
    """int64[3]: cpu in millicores, memory and gpu as they are."""
    cpu = str(amounts["cpu"])
    millicores = int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000
    return np.array([millicores, int(amounts["memory"]), int(amounts["gpu"])], dtype=np.int64)


def columns(vectors: Sequence[IntArray]) -> IntArray:
    """int64[3, n_nodes] of one vector a node."""
    return np.array(vectors, dtype=np.int64).reshape(-1, len(RESOURCES)).T.copy()


def case_problem(case: Mapping[str, Any]) -> Problem:
    """The problem of a recorded case. Order entries that name no node are left out, as the table does.

    A case without `schedulable` has nodes of infinite size, whose shares all tie; nodes without any
    capacity, whose shares are all 0, tie as well.
    """
    nodes = case["nodes"]
    rows = {node["name"]: row for row, node in enumerate(nodes)}
    zones = list(dict.fromkeys(node["zone"] for node in nodes))
    nothing = np.zeros(len(RESOURCES), dtype=np.int64)
    return make_problem(
        free=columns([vector(node["available"]) for node in nodes]),
        leader=vector(case["driver"]),
        worker=vector(case["executor"]),
        count=case["executor_count"],
        leader_rows=[rows[name] for name in case["driver_node_order"] if name in rows],
        worker_rows=[rows[name] for name in case["executor_node_order"] if name in rows],
        zone=[zones.index(node["zone"]) for node in nodes],
        capacity=columns([vector(node["schedulable"]) if node["schedulable"] else nothing for node in nodes]),
    )


def make_problem(
    *,
    free: IntArray,
    leader: Sequence[int] | IntArray,
    worker: Sequence[int] | IntArray,
    count: int,
    leader_rows: Sequence[int] | None = None,
    worker_rows: Sequence[int] | None = None,
    zone: Sequence[int] | None = None,
    capacity: IntArray | None = None,
) -> Problem:
    """A problem with its room worked out; every node for everyone, and one zone, unless said."""
    n_nodes = free.shape[1]
    worker = np.asarray(worker, dtype=np.int64)
    return Problem(
        free=free,
        leader=np.asarray(leader, dtype=np.int64),
        worker=worker,
        count=count,
        leader_rows=np.array(range(n_nodes) if leader_rows is None else leader_rows, dtype=np.intp),
        worker_rows=np.array(range(n_nodes) if worker_rows is None else worker_rows, dtype=np.intp),
        zone=np.array([0] * n_nodes if zone is None else zone, dtype=np.int64),
        capacity=free if capacity is None else capacity,
        room=room_for(free, worker),
    )


def rooms_problem(rooms: Sequence[int], count: int) -> Problem:
    """Nodes with room for so many workers, and a leader that takes no room."""
    free = np.array([rooms, rooms, rooms], dtype=np.int64)
    return make_problem(free=free, leader=[0, 0, 0], worker=[1, 1, 1], count=count)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Small problems of every kind: over-committed nodes, zero sizes, disjoint node lists, large units."""
    n_nodes = draw(st.integers(1, 7))
    unit = draw(st.sampled_from([1, 3 * 2**33]))

    def amounts(low: int, high: int, size: int) -> st.SearchStrategy[list[int]]:
        return st.lists(st.integers(low, high), min_size=size, max_size=size)

    free = np.array([draw(amounts(-1, 12, n_nodes)) for _ in RESOURCES], dtype=np.int64)
    spent = np.array([draw(amounts(0, 6, n_nodes)) for _ in RESOURCES], dtype=np.int64)
    leader, worker = (np.array(draw(amounts(0, 4, len(RESOURCES))), dtype=np.int64) for _ in range(2))
    for amount in (free, spent, leader, worker):
        amount[1] *= unit
    rows = st.permutations(range(n_nodes))
    return make_problem(
        free=free,
        leader=leader,
        worker=worker,
        count=draw(st.integers(0, 20)),
        leader_rows=draw(rows)[: draw(st.integers(0, n_nodes))],
        worker_rows=draw(rows)[: draw(st.integers(0, n_nodes))],
        zone=draw(amounts(0, 2, n_nodes)),
        capacity=np.maximum(free + spent, 0),
    )


def placed(problem: Problem, packing: Packing) -> IntArray:
    """int64[n_resources, n_nodes]: what a packing takes on each node."""
    taken = np.zeros_like(problem.free)
    taken[:, packing.leader_row] += problem.leader
    for row in packing.worker_rows.tolist():
        taken[:, row] += problem.worker
    return taken
