"""Small problems whose right answer is plain to see."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from extender.core.nodes.arrays import UNLIMITED, IntArray, fits, room_for
from extender.core.queue.packing import PACKERS
from extender.core.queue.packing.single_zone import Usage
from tests.packing.problems import make_problem, rooms_problem


def ints(*values: int) -> IntArray:
    return np.array(values, dtype=np.int64)


# -- room ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "free, reserved, size, room",
    [(2, 1, 0, int(UNLIMITED)), (2, 0, 1, 2), (3, 1, 2, 1), (2, 3, 1, 0), (2, 3, 0, 0)],
)
def test_room_in_one_resource(free: int, reserved: int, size: int, room: int) -> None:
    """T42; a resource that is over-committed already takes nothing, asked for or not."""
    assert room_for(ints(free)[:, None] - reserved, ints(size)).tolist() == [room]


def test_room_is_that_of_the_scarcest_resource() -> None:
    """T43."""
    free = np.array([(0, 0, 0), (1, 1, 1), (3, 4, 4), (4, 3, 4), (4, 4, 3), (0, 1, 1)], dtype=np.int64).T
    assert room_for(free, ints(1, 1, 1)).tolist() == [0, 1, 3, 3, 3, 0]
    assert fits(free, ints(1, 1, 1)).tolist() == [False, True, True, True, True, False]


def test_nothing_fits_an_over_committed_node() -> None:
    free = np.array([(-1, 4), (4, 4)], dtype=np.int64)
    assert fits(free, ints(0, 1)).tolist() == [False, True]
    assert room_for(free, ints(0, 1)).tolist() == [0, 4]


# -- where workers go ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "count, slots",
    [
        (3, "ccc"),
        (6, "ddddd" + "a"),
        (7, "ddddd" + "cc"),
        (11, "ddddd" + "eeeee" + "a"),
        (15, "ddddd" + "eeeee" + "ccc" + "a" + "b"),
        (16, "f" * 16),
        (17, "f" * 17),
        (18, "f" * 17 + "a"),
        (19, "f" * 17 + "cc"),
        (32, "f" * 17 + "ddddd" + "eeeee" + "ccc" + "a" + "b"),
        (33, None),
    ],
)
def test_minimal_fragmentation_spares_the_empty_node(count: int, slots: str | None) -> None:
    packing = PACKERS["minimal-fragmentation"](rooms_problem([1, 1, 3, 5, 5, 17], count))
    found = None if packing is None else "".join("abcdef"[row] for row in packing.worker_rows.tolist())
    assert found == slots


def test_minimal_fragmentation_rounds_the_limit_down() -> None:
    """Two workers where one node takes five: nodes with room for (2 + 5) // 2 or more are spared."""
    packing = PACKERS["minimal-fragmentation"](rooms_problem([1, 1, 3, 5], 2))
    assert packing is not None
    assert packing.worker_rows.tolist() == [0, 1]


def test_distribute_evenly_deals_round_robin() -> None:
    packing = PACKERS["distribute-evenly"](rooms_problem([1, 3, 0, 2], 6))
    assert packing is not None
    assert packing.worker_rows.tolist() == [0, 1, 3, 1, 3, 1]


@pytest.mark.parametrize("name", PACKERS)
def test_leader_moves_on_when_it_would_take_the_workers_room(name: str) -> None:
    """The first node fits the leader, but then one worker has no place."""
    free = np.array([[2, 3, 2], [9, 9, 9], [9, 9, 9]], dtype=np.int64)
    packing = PACKERS[name](make_problem(free=free, leader=[1, 1, 0], worker=[2, 1, 0], count=3))
    assert packing is not None
    assert packing.leader_row == 1
    assert sorted(packing.worker_rows.tolist()) == [0, 1, 2]


@pytest.mark.parametrize("name", PACKERS)
def test_leader_alone_needs_no_worker_nodes(name: str) -> None:
    free = np.full((3, 2), 4, dtype=np.int64)
    problem = make_problem(free=free, leader=[1, 1, 0], worker=[1, 1, 0], count=0, worker_rows=[])
    packing = PACKERS[name](problem)
    assert packing is not None
    assert (packing.leader_row, len(packing.worker_rows)) == (0, 0)


@pytest.mark.parametrize("name", PACKERS)
def test_no_nodes_at_all_is_a_refusal(name: str) -> None:
    free = np.zeros((3, 0), dtype=np.int64)
    assert PACKERS[name](make_problem(free=free, leader=[0, 0, 0], worker=[0, 0, 0], count=0)) is None


@pytest.mark.parametrize("name", PACKERS)
def test_zero_size_gang_is_placed_on_empty_nodes(name: str) -> None:
    """D16: the reference's single-zone packers refuse it."""
    free = np.full((3, 2), 8, dtype=np.int64)
    packing = PACKERS[name](make_problem(free=free, leader=[0, 0, 0], worker=[0, 0, 0], count=3, zone=[0, 1]))
    assert packing is not None
    assert len(packing.worker_rows) == 3


# -- which zone ----------------------------------------------------------------------------------------


def test_share_is_of_the_fullest_resource() -> None:
    """T39: 6 of 10 cpu, 8 of 10 memory and the only gpu are free; one of each is reserved."""
    usage = Usage(used=ints(5, 3, 1)[:, None], capacity=ints(10, 10, 1)[:, None], pods=ints(1))
    assert usage.exact_score() == 1
    assert usage.score() == pytest.approx(1.0)


@pytest.mark.parametrize("gpus, mean", [((2, 0, 2), Fraction(26, 30)), ((0, 0, 0), Fraction(21, 30))])
def test_resource_that_a_node_does_not_have_is_left_out(gpus: tuple[int, ...], mean: Fraction) -> None:
    """T40 and T41: three empty nodes of 10 cpu and 10 memory, with and without gpu."""
    used = np.array([(5, 5, 2), (2, 7, 0), (9, 2, 1)], dtype=np.int64).T
    capacity = np.array([(10, 10, gpu) for gpu in gpus], dtype=np.int64).T
    usage = Usage(used=used, capacity=capacity, pods=ints(1, 1, 1))
    assert usage.exact_score() / 3 == mean
    assert usage.score() / 3 == pytest.approx(float(mean))


@pytest.mark.parametrize("name", [name for name in PACKERS if "az" in name.split("-")])
def test_zones_are_compared_exactly(name: str) -> None:
    """D17: the second zone is fuller by one byte in 2**60, which floating point cannot see."""
    capacity = np.array([[8, 8], [2**60, 2**60], [0, 0]], dtype=np.int64)
    free = capacity - np.array([[0, 0], [2**59, 2**59 + 1], [0, 0]], dtype=np.int64)
    for fuller_first in (False, True):
        order = [1, 0] if fuller_first else [0, 1]
        packing = PACKERS[name](
            make_problem(
                free=free,
                leader=[1, 0, 0],
                worker=[1, 0, 0],
                count=2,
                leader_rows=order,
                worker_rows=order,
                zone=[0, 1],
                capacity=capacity,
            )
        )
        assert packing is not None
        assert packing.leader_row == 1


def test_equal_zones_leave_the_choice_to_the_leaders_order() -> None:
    free = np.full((3, 4), 6, dtype=np.int64)
    for order, zone in (([2, 3, 0, 1], 1), ([0, 2, 1, 3], 0)):
        problem = make_problem(
            free=free, leader=[1, 1, 0], worker=[2, 2, 0], count=3, leader_rows=order, zone=[0, 0, 1, 1]
        )
        packing = PACKERS["single-az-tightly-pack"](problem)
        assert packing is not None
        assert problem.zone[packing.leader_row] == zone


def test_leader_alone_prefers_a_zone_that_workers_can_join() -> None:
    free = np.full((3, 2), 6, dtype=np.int64)
    problem = make_problem(
        free=free, leader=[1, 1, 0], worker=[1, 1, 0], count=0, worker_rows=[1], zone=[0, 1]
    )
    packing = PACKERS["single-az-tightly-pack"](problem)
    assert packing is not None
    assert packing.leader_row == 1
