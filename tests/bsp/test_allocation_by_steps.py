"""The original's allocation, controllers and environment on a small job of our own, and what always holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.bsp.core.profile import ProfileUnusable, from_rows
from extender.bsp.core.reference.controllers import (
    DynamicWindows,
    Forecasts,
    HeldWindows,
    StaticConfiguration,
    StaticWindows,
    WholeRun,
)
from extender.bsp.core.reference.environment import WindowEnvironment
from extender.bsp.core.reference.greedy import Windows, greedy
from extender.bsp.core.rules import Rules, RulesUnusable
from extender.bsp.core.simulation import simulate
from tests.bsp.worlds import SMALL, surface, work


def slowly(durations: np.ndarray, grants: int) -> list[int]:
    """The allocation for one window, as plainly as it can be written: `durations[lead][member][level]`."""
    levels = [0] * durations.shape[1]
    for _ in range(grants):
        gains: dict[int, float] = {}
        for lead, members in enumerate(durations):
            now = [members[m][levels[m]] for m in range(len(levels))]
            slowest = now.index(max(now))
            gain = 0.95**lead * (now[slowest] - members[slowest][levels[slowest] + 1])
            gains[slowest] = gains.get(slowest, 0.0) + gain
        levels[max(gains, key=lambda member: gains[member])] += 1
    return levels


@given(
    leads=st.integers(1, 4),
    members=st.integers(1, 4),
    grants=st.integers(0, 6),
    values=st.randoms(use_true_random=False),
)
def test_many_windows_at_once_get_what_each_gets_alone(leads, members, grants, values) -> None:
    # Few distinct values, so that ties are common.
    table = np.array(
        [
            [
                [[values.choice([1.0, 2.0, 5.0]) for _ in range(grants + 1)] for _ in range(members)]
                for _ in range(leads)
            ]
            for _ in range(2)
        ]
    )
    pairs = [(r, s, w) for r in range(2) for s in range(leads) for w in range(1, leads - s + 1)]
    levels, estimates = greedy(table, Windows(*np.array(pairs).T), grants)
    for (row, start, length), found, estimate in zip(pairs, levels, estimates, strict=True):
        window = table[row, start : start + length]
        assert found.tolist() == slowly(window, grants)
        assert estimate == pytest.approx(sum(lead[range(members), found].max() for lead in window))


@given(seed=st.integers(0, 1000), window=st.integers(1, 4), members=st.integers(1, 4))
def test_every_allocation_spends_the_whole_budget(seed: int, window: int, members: int) -> None:
    forecasts = Forecasts(surface(members), work(2, members, leads=4, seed=seed), SMALL)
    levels, _ = forecasts.configure(0, 0, window)
    assert SMALL.millicores(levels).sum() == SMALL.total_millicores
    assert (levels >= 0).all()


def test_a_run_counts_the_penalty_of_every_change_but_the_first() -> None:
    forecasts = Forecasts(surface(), work(12, leads=4), SMALL)
    run = simulate(StaticWindows(forecasts, 3), surface(), work(12)[:, 0], SMALL)
    assert run.reconfigurations == 3
    assert run.total_s == pytest.approx(run.step_s.sum() + 3 * SMALL.penalty_s)
    assert run.allocated_core_s == pytest.approx(6 * run.total_s)
    assert 0 < run.busy_core_s < run.allocated_core_s


def test_the_static_configuration_never_changes() -> None:
    run = simulate(StaticConfiguration.of(surface(), SMALL), surface(), work(8)[:, 0], SMALL)
    assert run.reconfigurations == 0
    assert (run.millicores == run.millicores[0]).all()


def test_without_a_penalty_the_dynamic_controller_changes_at_every_step() -> None:
    free = Rules(total_millicores=6000, penalty_s=0.0)
    forecasts = Forecasts(surface(), work(10, leads=3), free)
    run = simulate(DynamicWindows(forecasts, 3, 10), surface(), work(10)[:, 0], free)
    assert run.reconfigurations == 9


def test_a_penalty_that_nothing_can_earn_back_keeps_the_first_configuration() -> None:
    dear = Rules(total_millicores=6000, penalty_s=1e6)
    forecasts = Forecasts(surface(), work(10, leads=3), dear)
    assert simulate(DynamicWindows(forecasts, 3, 10), surface(), work(10)[:, 0], dear).reconfigurations == 0


def test_held_windows_end_when_they_were_planned_to_end() -> None:
    forecasts = Forecasts(surface(), work(30, leads=5), SMALL)
    windows = simulate(HeldWindows(forecasts, 5, 30), surface(), work(30)[:, 0], SMALL).windows
    starts = np.flatnonzero(windows)
    assert (np.diff(starts) == windows[starts[:-1]]).all()


def test_the_plan_of_a_whole_run_covers_it() -> None:
    sizes = work(20)[:, 0]
    forecasts = Forecasts(surface(), sizes[None], SMALL)
    run = simulate(WholeRun(forecasts), surface(), sizes, SMALL)
    starts = np.flatnonzero(run.windows)
    assert starts[0] == 0
    assert run.windows[starts].sum() >= 20


def test_a_budget_below_the_start_of_all_members_is_refused() -> None:
    with pytest.raises(RulesUnusable, match="raise the budget or lower the start"):
        Rules(total_millicores=2000).grants(3)


def test_a_missing_point_of_a_profile_is_named() -> None:
    rows = [("a", 10.0, 1000.0, 5.0), ("a", 20.0, 1000.0, 9.0), ("a", 10.0, 2000.0, 3.0)]
    with pytest.raises(ProfileUnusable, match="no run of a with size 20 on 2000 millicores"):
        from_rows(rows)


def test_the_environment_plays_an_episode_to_its_end() -> None:
    sizes = work(12, leads=4)
    environment = WindowEnvironment(
        Forecasts(surface(), sizes, SMALL), surface(), sizes[:, 0], look_ahead=3, first_step=2, steps=6
    )
    observation, _ = environment.reset(seed=1)
    assert observation.shape == environment.observation_space.shape == (4, 3)
    ends = [environment.step(action)[2] for action in (1, 0, 2, 0, 3, 0)]
    assert ends == [False] * 5 + [True]
    with pytest.raises(ValueError, match="actions 0 to 3"):
        environment.step(4)
