"""What every packer must keep, on any problem."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.nodes.order import FreeOrder, zone_ordered
from extender.core.queue.packing import (
    DEFAULT_PACKER,
    PACKERS,
    SINGLE_ZONE,
    Packing,
    Problem,
    feasible,
    packer_named,
)
from tests.packing.by_hand import BY_HAND, Answer
from tests.packing.problems import make_problem, placed, problems

every_packer = pytest.mark.parametrize("name", PACKERS)


def answer_of(packing: Packing | None) -> Answer | None:
    return None if packing is None else (packing.leader_row, packing.worker_rows.tolist())


@every_packer
@given(problem=problems())
def test_answers_as_by_hand(name: str, problem: Problem) -> None:
    assert answer_of(PACKERS[name](problem)) == BY_HAND[name](problem)


@every_packer
@given(problem=problems())
def test_places_everything_or_nothing(name: str, problem: Problem) -> None:
    packing = PACKERS[name](problem)
    if packing is None:
        return
    assert len(packing.worker_rows) == problem.count
    assert packing.leader_row in problem.leader_rows
    assert set(packing.worker_rows.tolist()) <= set(problem.worker_rows.tolist())


@every_packer
@given(problem=problems())
def test_feasible_is_whether_the_packer_finds_a_placement(name: str, problem: Problem) -> None:
    assert feasible(name, problem) == (PACKERS[name](problem) is not None)


@every_packer
@given(problem=problems())
def test_never_takes_more_than_is_free(name: str, problem: Problem) -> None:
    packing = PACKERS[name](problem)
    if packing is None:
        return
    used = np.unique(np.append(packing.worker_rows, packing.leader_row))
    assert (placed(problem, packing)[:, used] <= problem.free[:, used]).all()


@every_packer
@given(problem=problems())
def test_leaves_the_problem_alone_and_answers_the_same_again(name: str, problem: Problem) -> None:
    arrays = ("free", "leader", "worker", "leader_rows", "worker_rows", "zone", "capacity", "room")
    before = {array: getattr(problem, array).copy() for array in arrays}
    first, second = PACKERS[name](problem), PACKERS[name](problem)
    assert answer_of(first) == answer_of(second)
    for array in arrays:
        np.testing.assert_array_equal(getattr(problem, array), before[array])


@pytest.mark.parametrize("name", sorted(SINGLE_ZONE))
@given(problem=problems())
def test_single_zone_packers_stay_in_one_zone(name: str, problem: Problem) -> None:
    packing = PACKERS[name](problem)
    if packing is not None:
        assert set(problem.zone[packing.worker_rows]) <= {problem.zone[packing.leader_row]}


@given(problem=problems())
def test_packers_that_spread_over_zones_agree_on_what_fits(problem: Problem) -> None:
    anywhere = sorted(set(PACKERS) - SINGLE_ZONE - {"az-aware-tightly-pack"})
    leaders = {name: packing.leader_row for name in anywhere if (packing := PACKERS[name](problem))}
    assert len(leaders) in (0, len(anywhere))
    assert len(set(leaders.values())) <= 1
    assert (PACKERS["az-aware-tightly-pack"](problem) is not None) == bool(leaders)


@every_packer
@given(data=st.data(), problem=problems())
def test_row_numbers_do_not_matter(name: str, problem: Problem, data: st.DataObject) -> None:
    n_nodes = problem.free.shape[1]
    names = [f"node-{row}" for row in range(n_nodes)]
    new_row = np.array(data.draw(st.permutations(range(n_nodes))), dtype=np.intp)
    old_row = np.argsort(new_row)

    def chosen(problem: Problem, names: list[str]) -> tuple[str, list[str]] | None:
        memory, cpu = problem.free[1], problem.free[0]
        rows = FreeOrder(names).rows(memory, cpu)
        everyone = np.ones(len(names), dtype=np.bool_)
        rows = zone_ordered(rows, everyone, everyone, problem.zone, memory, cpu, int(problem.zone.max()) + 1)
        packing = PACKERS[name](
            make_problem(
                free=problem.free,
                leader=problem.leader,
                worker=problem.worker,
                count=problem.count,
                leader_rows=rows[np.isin(rows, problem.leader_rows)].tolist(),
                worker_rows=rows[np.isin(rows, problem.worker_rows)].tolist(),
                zone=problem.zone.tolist(),
                capacity=problem.capacity,
            )
        )
        if packing is None:
            return None
        return names[packing.leader_row], [names[row] for row in packing.worker_rows.tolist()]

    shuffled = Problem(
        free=problem.free[:, old_row],
        leader=problem.leader,
        worker=problem.worker,
        count=problem.count,
        leader_rows=new_row[problem.leader_rows],
        worker_rows=new_row[problem.worker_rows],
        zone=(2 - problem.zone)[old_row],  # zones get other numbers too
        capacity=problem.capacity[:, old_row],
        room=problem.room[old_row],
    )
    assert chosen(problem, names) == chosen(shuffled, [names[row] for row in old_row.tolist()])


@every_packer
def test_refusing_costs_no_more_than_admitting(name: str) -> None:
    """D27: the reference tries every driver node with a placement each. Work is counted, not timed."""

    def work(n_nodes: int, count: int) -> int:
        free = np.tile(np.array([[16], [16], [16]], dtype=np.int64), n_nodes)
        zone = [row % 2 for row in range(n_nodes)]
        problem = make_problem(free=free, leader=[1, 1, 1], worker=[1, 1, 1], count=count, zone=zone)
        return calls(lambda: PACKERS[name](problem))

    # Sixteen workers a node are asked for; with the leader placed, there is room for one less.
    admitted, refused = work(100, 100 * 16 // 2 - 1), work(100, 100 * 16)
    assert refused <= 1.2 * admitted
    assert work(1000, 1000 * 16) == refused


def calls(do: Callable[[], object]) -> int:
    """Functions called, in Python and in C, numpy's included."""
    number = 0

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        do()
    finally:
        sys.setprofile(before)
    return number


def test_unknown_packer_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown packer 'binpack': use one of az-aware-tightly-pack, "):
        packer_named("binpack")
    assert packer_named(DEFAULT_PACKER) is PACKERS["distribute-evenly"]
    assert set(PACKERS) >= SINGLE_ZONE
