"""Control over scenarios: the budget holds, dear changes are rare, and knowing more never costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extender.bsp.core.forecasting import Outlook
from extender.bsp.core.planning import ScenarioPlans, ScenarioWindows
from extender.bsp.core.reference.controllers import DynamicWindows, Forecasts
from extender.bsp.core.rules import Rules, RulesUnusable
from extender.bsp.core.simulation import Run, simulate
from tests.bsp.worlds import surface, work

STEPS = 30


def perfect(seed: int = 1) -> Outlook:
    """Forecasts without errors."""
    return Outlook(work(STEPS, leads=4, seed=seed), np.zeros((STEPS + 40, 4, 3)))


def run(rules: Rules, seed: int = 1, allowed: float = 0.0) -> Run:
    plans = ScenarioPlans(surface(), perfect(seed), rules, scenarios=1, allowed=allowed)
    return simulate(
        ScenarioWindows(plans, rules, STEPS), surface(), work(STEPS, seed=seed, leads=4)[:, 0], rules
    )


@settings(max_examples=10)
@given(seed=st.integers(0, 200), penalty_s=st.sampled_from([0.0, 1.0, 5.0]))
def test_with_a_perfect_forecast_it_is_at_least_as_good_as_the_original(seed: int, penalty_s: float) -> None:
    rules = Rules(total_millicores=6000, penalty_s=penalty_s)
    forecasts = Forecasts(surface(), perfect(seed).mean, rules)
    sizes = work(STEPS, seed=seed, leads=4)[:, 0]
    original = simulate(DynamicWindows(forecasts, 4, STEPS), surface(), sizes, rules)
    assert run(rules, seed).total_s <= original.total_s * 1.01


@settings(max_examples=10)
@given(seed=st.integers(0, 200))
def test_the_budget_is_never_exceeded(seed: int) -> None:
    millicores = run(Rules(total_millicores=6000, step_millicores=50), seed).millicores
    assert (millicores.sum(axis=1) <= 6000).all()
    assert (millicores >= 1000).all()


def test_a_dearer_change_is_made_less_often() -> None:
    changes = [
        run(Rules(total_millicores=6000, penalty_s=cost)).reconfigurations for cost in (0.0, 2.0, 8.0, 1e5)
    ]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > changes[-1] == 0


def test_growing_and_shrinking_can_cost_differently() -> None:
    rules = Rules(penalty_s=1, grow_s=4, shrink_s=2)
    two, three = np.array([2, 2]), np.array([3, 2])
    assert rules.reconfiguration_s(two, three) == 5
    assert rules.reconfiguration_s(three, two) == 3
    assert rules.reconfiguration_s(two, np.array([1, 3])) == 7
    with pytest.raises(RulesUnusable, match="0 or more"):
        Rules(grow_s=-1)


def test_an_allowed_slow_down_saves_cpu_and_is_kept() -> None:
    free = Rules(total_millicores=6000, penalty_s=0.0)
    fast, slow = run(free), run(free, allowed=0.05)
    assert slow.millicores.sum() < 0.98 * fast.millicores.sum()
    assert slow.duration_s <= fast.duration_s * 1.0501
