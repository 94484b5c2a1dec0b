"""How good the default forecaster is: better than the naive blend everywhere, with honest intervals.

On recorded years where they are available (2021 to learn from, 2022 to be tested on), on synthetic grids
always. Every forecast is made from what was over at its issue time, and every day of the test is learnt from
once it is over. The figures are deterministic; the limits leave room for another machine's arithmetic, not
for luck.
"""

from __future__ import annotations

import pytest

from carbon_api import times
from carbon_api.forecasts import forecaster
from carbon_api.forecasts.backtest import run
from carbon_api.forecasts.scoring import Score, issue_times, scores, try_out
from carbon_api.series import Series
from carbon_api.synthetic import GRIDS
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid, trace

DAYS = (1, 2, 3, 4)


def by_method_and_day(found: list[Score]) -> dict[tuple[str, int], Score]:
    return {(score.method, score.day): score for score in found}


def recorded(zone: str, names: list[str], test_from: str) -> dict[tuple[str, int], Score]:
    """Scores of both methods, issued at 00:00 and 12:00 UTC of every day from a day on."""
    from_s = times.parse(f"{test_from}T00:00:00Z")
    return by_method_and_day(run(trace(zone, *names), ["blend", "ridge"], [0, 12], from_s))


def issued(history: Series, test_from: str, first: str) -> list[float]:
    """One moment a day: by turns 00:00 and 12:00 UTC, beginning with `first`."""
    moments = issue_times(history, times.parse(f"{test_from}T00:00:00Z"), [0, 12], len(DAYS))
    turn = (0, 3) if first == "midnight" else (1, 2)
    return [moment for number, moment in enumerate(moments) if number % 4 in turn]


@pytest.mark.parametrize("first", ["midnight", "noon"])
@pytest.mark.parametrize(
    ("zone", "limit_pct"), [("US-CAL-CISO", 8.0), ("ES", 14.0)], ids=["California", "Spain"]
)
def test_a_year_not_seen_before(zone: str, limit_pct: float, first: str) -> None:
    """Two tests a zone hold every midnight and noon of the year, each half of them, to the same limits."""
    history = trace(zone, f"{zone}_2021_hourly.csv", f"{zone}_2022_hourly.csv")
    moments = issued(history, "2022-01-01", first)
    found = by_method_and_day(tried(history, "blend", moments) + tried(history, "ridge", moments))
    assert found["ridge", 1].issues >= 360
    assert found["ridge", 1].missing == 0
    assert found["ridge", 1].mape_pct <= limit_pct
    for day in DAYS:
        ours, naive = found["ridge", day], found["blend", day]
        assert ours.mape_pct < naive.mape_pct
        assert ours.mae_g < naive.mae_g
        assert ours.coverage == pytest.approx(0.90, abs=0.02)
        for hours in (4, 8):
            assert ours.cleanest[hours].regret_g < naive.cleanest[hours].regret_g


def test_half_a_year_of_a_windy_grid() -> None:
    found = recorded("DE", ["DE_2021H1.csv"], "2021-03-16")
    for day in DAYS:
        assert found["ridge", day].mape_pct < found["blend", day].mape_pct
        # A quarter of past errors is little for a sharp quantile: the rule rounds up, intervals are wide.
        assert 0.88 <= found["ridge", day].coverage <= 0.95


def thinned(history: Series, method: str) -> list[Score]:
    """Scores of every third day of the second year, issued at 06:00 UTC."""
    return tried(history, method, issue_times(history, START_S + 366.0 * DAY_S, [6], len(DAYS))[::3])


def tried(history: Series, method: str, moments: list[float]) -> list[Score]:
    """Scores of one method whose forecasts are issued at these moments."""
    return scores(try_out(history, forecaster(method), moments, len(DAYS), lambda: None))


@pytest.mark.parametrize("name", GRIDS)
def test_synthetic_grids(name: str) -> None:
    history = grid(731, name, seed=7)
    found = by_method_and_day(thinned(history, "blend") + thinned(history, "ridge"))
    for day in DAYS:
        assert found["ridge", day].mape_pct < found["blend", day].mape_pct
        assert found["ridge", day].coverage == pytest.approx(0.90, abs=0.04)
    best = found["ridge", 1].cleanest[8]
    assert best.regret_g < found["blend", 1].cleanest[8].regret_g * 1.15
    assert best.overlap > 0.3  # eight hours of a day by chance: a third at most
