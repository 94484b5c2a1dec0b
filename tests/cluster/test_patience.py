"""Time-outs follow the answers: a slow API server is slow, not away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.kubernetes.patience import Patience


def test_a_fast_server_is_given_the_least() -> None:
    patience = Patience(least_s=3.0)
    for _ in range(50):
        patience.answered(0.005)
    assert patience.timeout_s == 3.0


def test_slow_answers_are_waited_for() -> None:
    patience = Patience(least_s=3.0, most_s=30.0)
    patience.ran_out(patience.timeout_s)
    assert patience.timeout_s == 6.0
    patience.answered(3.2)
    for _ in range(100):
        patience.answered(3.2)
        assert patience.timeout_s > 3.2


def test_many_that_run_out_together_double_it_once() -> None:
    patience = Patience(least_s=3.0)
    for _ in range(40):
        patience.ran_out(3.0)
    assert patience.timeout_s == 6.0


@given(st.lists(st.floats(0, 100), max_size=60), st.lists(st.floats(0, 100), max_size=20))
def test_it_stays_in_its_bounds(answers: list[float], failures: list[float]) -> None:
    patience = Patience(least_s=2.0, most_s=20.0)
    for took_s in answers:
        patience.answered(took_s)
    for after_s in failures:
        patience.ran_out(after_s)
    assert 2.0 <= patience.timeout_s <= 20.0


def test_an_outage_is_forgotten_when_answers_come_again() -> None:
    patience = Patience(least_s=3.0, most_s=30.0)
    for _ in range(5):
        patience.ran_out(patience.timeout_s)
    for _ in range(100):
        patience.answered(0.01)
    assert patience.timeout_s == 3.0
