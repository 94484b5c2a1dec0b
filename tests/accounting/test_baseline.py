"""The counterfactual clock and the split of a saving."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.accounting.baseline import BaselineClock, Footprint, progress_rate, split_saving


def test_while_the_leader_waits_the_clock_stands() -> None:
    clock = BaselineClock(100, 100)
    clock.turn(400, 1.0)
    assert clock.at(399) == 100
    assert list(clock.pieces(350, 450)) == [(350, 400, 100, 100), (400, 450, 100, 150)]


def test_half_the_workers_do_half_the_work() -> None:
    clock = BaselineClock(0, 0, 0.5)
    clock.turn(100, 1.0)
    assert list(clock.pieces(0, 120)) == [(0, 100, 0, 50), (100, 120, 50, 70)]


def test_forgetting_changes_nothing_later() -> None:
    clock = BaselineClock(0, 0, 0.5)
    clock.turn(100, 1.0)
    clock.turn(200, 0.0)
    clock.forget_before(150)
    assert clock.at(170) == 120


@pytest.mark.parametrize(
    ("running", "waiting", "leader_waits", "rate"),
    [
        (0, 0, True, 0.0),
        (0, 4, True, 0.0),
        (0, 0, False, 1.0),
        (0, 4, False, 0.0),
        (2, 2, False, 0.5),
        (4, 0, False, 1.0),
        (3, 1, True, 0.75),
    ],
)
def test_rate(running: int, waiting: int, leader_waits: bool, rate: float) -> None:
    assert progress_rate(running, waiting, leader_waits=leader_waits) == rate


rates = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.tuples(st.floats(0, 1000), rates)), st.floats(0, 1200), st.floats(0, 1200))
def test_the_clock_never_runs_ahead_or_back(turns: list[tuple[float, float]], a: float, b: float) -> None:
    clock = BaselineClock(0, 0)
    for at_s, rate in sorted(turns):
        clock.turn(at_s, rate)
    low, high = sorted((a, b))
    assert clock.at(low) <= clock.at(high) + 1e-9
    assert clock.at(high) <= high + 1e-9
    pieces = list(clock.pieces(low, high))
    assert sum(p.end_s - p.start_s for p in pieces) == pytest.approx(high - low)
    assert sum(p.moved_end_s - p.moved_start_s for p in pieces) == pytest.approx(
        clock.at(high) - clock.at(low)
    )


def test_the_same_energy_in_a_cleaner_hour_is_saved_by_intensity() -> None:
    saving = split_saving(Footprint(2, 200), Footprint(2, 1000))
    assert (saving.by_energy_g, saving.by_intensity_g) == (0, 800)


def test_less_energy_at_the_same_intensity_is_saved_by_energy() -> None:
    saving = split_saving(Footprint(1, 300), Footprint(2, 600))
    assert (saving.by_energy_g, saving.by_intensity_g) == (300, 0)


def test_a_saving_can_be_a_loss_in_one_part() -> None:
    saving = split_saving(Footprint(3, 300), Footprint(2, 800))
    assert saving.by_energy_g == pytest.approx(-250)
    assert saving.by_intensity_g == pytest.approx(750)
    assert saving.total_g == pytest.approx(500)


def test_a_side_without_energy_takes_the_others_intensity() -> None:
    assert split_saving(Footprint(0, 0), Footprint(2, 600)).by_energy_g == 600
    assert split_saving(Footprint(0, 0), Footprint(0, 0)).total_g == 0


energies = st.fractions(0, 50, max_denominator=1000)
grams = st.fractions(0, 20_000, max_denominator=1000)


@given(energies, grams, energies, grams)
def test_the_formula_sums_exactly(
    energy_a: Fraction, g_a: Fraction, energy_b: Fraction, g_b: Fraction
) -> None:
    """With exact numbers, so that no tolerance is needed; grams without energy do not exist."""
    carbon_a, carbon_b = (g_a if energy_a else Fraction()), (g_b if energy_b else Fraction())
    saving = split_saving(Footprint(energy_a, carbon_a), Footprint(energy_b, carbon_b))  # type: ignore[arg-type]
    assert saving.total_g == carbon_b - carbon_a


@given(energies, grams, energies, grams)
def test_changing_sides_changes_the_sign(a: Fraction, b: Fraction, c: Fraction, d: Fraction) -> None:
    one, other = Footprint(float(a), float(b)), Footprint(float(c), float(d))
    there, back = split_saving(one, other), split_saving(other, one)
    assert there.by_energy_g == pytest.approx(-back.by_energy_g)
    assert there.by_intensity_g == pytest.approx(-back.by_intensity_g)
