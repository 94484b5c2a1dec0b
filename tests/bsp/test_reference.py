"""The reference gives the original's numbers: unit cases, and whole runs with every decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from extender.bsp.core.reference.controllers import (
    DynamicWindows,
    Forecasts,
    HeldWindows,
    StaticConfiguration,
    StaticWindows,
    plan_horizon,
)
from extender.bsp.core.reference.environment import WindowEnvironment
from extender.bsp.core.reference.greedy import static_configuration
from extender.bsp.core.rules import Rules
from extender.bsp.core.simulation import Controller, simulate
from extender.bsp.core.surfaces import SplineSurface
from extender.bsp.inputs import Recorded
from tests.bsp.published import cases, recorded

RULES = Rules()


@pytest.fixture(scope="module")
def published() -> Recorded:
    return recorded()


@pytest.fixture(scope="module")
def surface(published: Recorded) -> SplineSurface:
    return SplineSurface(published.profile)


@pytest.fixture(scope="module")
def forecasts(published: Recorded, surface: SplineSurface) -> Forecasts:
    return Forecasts(surface, published.forecast, RULES)


def only(member: str, surface: SplineSurface, value: float) -> np.ndarray:
    """The value for one member and something harmless for the others."""
    return np.where(np.array(surface.members) == member, value, 1000.0)


@pytest.mark.parametrize("case", cases("unit_cases", "spline"))
def test_the_spline_has_the_published_durations(case: dict[str, Any], surface: SplineSurface) -> None:
    sizes, cpu = only(case["task"], surface, case["size"]), only(case["task"], surface, case["shares"])
    at = surface.members.index(case["task"])
    assert surface.points(sizes, cpu)[at] == pytest.approx(case["duration"], rel=1e-9)


def test_the_static_configuration_is_the_published_one(surface: SplineSurface) -> None:
    assert RULES.millicores(static_configuration(surface, RULES)).tolist() == [
        1900, 3300, 4600, 2600, 2500, 3000, 3300, 2800,
    ]  # fmt: skip


@pytest.mark.parametrize("case", cases("unit_cases", "greedy"))
def test_the_greedy_allocation_is_the_original_s(case: dict[str, Any], forecasts: Forecasts) -> None:
    levels, estimate = forecasts.configure(case["t"], case["offset"], case["window"])
    assert RULES.millicores(levels).tolist() == case["config"]
    assert estimate == pytest.approx(case["estimated_runtime"], rel=1e-9)


@pytest.mark.parametrize("case", cases("unit_cases", "horizon"))
def test_the_dynamic_programme_is_the_original_s(
    case: dict[str, Any], published: Recorded, surface: SplineSurface
) -> None:
    rules, row = Rules(penalty_s=case["penalty"]), case["t"]
    forecasts = Forecasts(surface, published.forecast[row : row + 1], rules)
    plan = plan_horizon(forecasts, 0, case["horizon"], case["steps_total"] - row)
    assert plan.windows.tolist() == case["dp_window"]
    if case["current_config"] is None:
        assert plan.cost_s + (
            0 if row == 0 else np.eye(case["horizon"])[0] * case["penalty"]
        ) == pytest.approx(case["dp_cost"], rel=1e-9)
        assert plan.choice(0).window == case["decision"]
        return
    # One row only: the controller is given the whole run's step, and the row that it needs.
    forecasts = Forecasts(surface, published.forecast, rules)
    controller = DynamicWindows(forecasts, case["horizon"], case["steps_total"])
    running = rules.levels(np.array(case["current_config"]))
    plan, keep_s = controller.costs(row, running)
    assert plan.cost_s == pytest.approx(case["dp_cost"], rel=1e-9)
    assert keep_s == pytest.approx(case["keep_cost"], rel=1e-9)
    choice = controller.choose(row, running)
    assert (0 if choice is None else choice.window) == case["decision"]


@pytest.mark.parametrize("case", cases("unit_cases", "environment", "cases"))
def test_the_environment_observes_and_rewards_like_the_original(
    case: dict[str, Any], published: Recorded, surface: SplineSurface, forecasts: Forecasts
) -> None:
    environment = WindowEnvironment(forecasts, surface, published.actual, first_step=0, steps=400)
    start = {"step": case["t"], "levels": RULES.levels(np.array(case["current_config"]))}
    for action, reward in enumerate(case["reward_per_action"]):
        observation, _ = environment.reset(options=start)
        assert observation == pytest.approx(np.array(case["observation"]), rel=1e-9)
        assert (
            RULES.millicores(environment.configuration(action)).tolist() == case["config_per_action"][action]
        )
        assert environment.step(action)[1] == pytest.approx(reward, rel=1e-9)


@pytest.mark.parametrize("case", cases("portable_runs", "runs"))
def test_a_run_costs_what_it_cost_the_original(case: dict[str, Any], published: Recorded) -> None:
    members, steps, window = case["tasks"], case["steps"], case["window"]
    surface, rules = SplineSurface(published.profile.first(members)), Rules(penalty_s=case["penalty"])
    known = published.forecast if case["mode"] == "forecast" else published.actual_leads
    forecasts = Forecasts(surface, known[:steps, :, :members], rules)
    controllers: dict[str, Controller] = {
        "exppo": StaticConfiguration.of(surface, rules),
        "static": StaticWindows(forecasts, window),
        "mpc": DynamicWindows(forecasts, window, steps),
        "dynwin": HeldWindows(forecasts, window, steps),
    }
    run = simulate(controllers[case["controller"]], surface, published.actual[:steps, :members], rules)
    assert run.duration_s == pytest.approx(case["duration"], abs=1e-6)
    assert run.reconfigurations == case["reconfigurations"]
    assert run.total_s == pytest.approx(case["total"], abs=1e-6)
    if "decisions" in case:
        assert run.windows.tolist() == case["decisions"]
        assert run.step_s == pytest.approx(case["step_durations"], abs=1e-6)
