"""The experiment about holding: its bounds by hand, its cells, and its file of results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.holding import __main__ as command
from benchmarks.holding import grids
from benchmarks.holding.bounds import best_start_grams, bound_grams, fluid_grams
from benchmarks.holding.cells import BLIND, Cell, Row, measure
from benchmarks.holding.grids import SYNTHETIC, Ahead, grid, series, week_start_s
from benchmarks.holding.report import markdown
from extender.lab.simulation.grid import Grid
from extender.lab.simulation.results import GangRun, Run

HOUR = 3600.0
DAY = 86_400.0
SOLAR = next(place for place in SYNTHETIC if place.name == "synthetic-solar")


def gang(submitted_h: float, hours: float, cores: int, delay_h: float | None) -> GangRun:
    """A gang that started at once; a core draws 1 kW."""
    at_s = DAY + submitted_h * HOUR
    core_s = hours * HOUR * cores
    latest_s = None if delay_h is None else at_s + delay_h * HOUR
    return GangRun(
        "a", "ns", at_s, at_s, at_s + hours * HOUR, False, latest_s, 0.0, core_s, core_s / HOUR, 0.0
    )


def hours(*values: float) -> Grid:
    return Grid("z", DAY, HOUR, np.array([*values, *[1000.0] * 48]))


def test_the_best_start_is_between_the_hours_too() -> None:
    on = hours(500.0, 200.0, 100.0, 300.0)
    assert best_start_grams(gang(0, 1, 2, 3), on) == pytest.approx(2 * 100)
    assert best_start_grams(gang(0, 1, 2, None), on) == pytest.approx(2 * 500)
    # Two hours from half past one on are not worth more than those from one on.
    assert best_start_grams(gang(0, 2, 1, 3), on) == pytest.approx(300)
    # Its window ends in the middle of an hour: half an hour at 500, half at 200.
    assert best_start_grams(gang(0, 1, 1, 0.5), on) == pytest.approx(350)


def test_work_that_is_split_uses_the_cleanest_hours_only() -> None:
    on = hours(500.0, 100.0, 400.0, 200.0)
    counted = np.array([True])
    assert fluid_grams([gang(0, 2, 1, 2)], on, 8, counted) == pytest.approx(100 + 200)


def test_elastic_work_may_be_spread_over_as_long_as_the_least_width_takes() -> None:
    on = hours(500.0, 100.0, 400.0, 200.0)
    run = Run([gang(0, 2, 1, None)], [], {}, 0)
    assert bound_grams(run, on, 8, lambda *_: True) == pytest.approx(600)
    assert bound_grams(run, on, 8, lambda *_: True, slower=2.0) == pytest.approx(100 + 200)


def test_elastic_gangs_do_the_same_work() -> None:
    rigid, elastic = (
        Cell(SOLAR, "day", 0.1, 12, 1.0, 0, elastic=each).submissions(0.0, "threshold")
        for each in (False, True)
    )
    assert [(each.name, each.at_s) for each in rigid] == [(each.name, each.at_s) for each in elastic]
    for one, other in zip(rigid, elastic, strict=True):
        assert one.executors * one.run_s == pytest.approx(other.executors * other.run_s)
        assert other.executors == 2
        assert 6 <= other.most <= 10


def test_cores_that_are_used_up_are_used_up() -> None:
    on = hours(500.0, 100.0)
    two = [gang(0, 1, 2, 1), gang(0, 1, 2, 1)]
    counted = np.array([True, True])
    assert fluid_grams(two, on, 4, counted) == pytest.approx(4 * 100)
    assert fluid_grams(two, on, 2, counted) == pytest.approx(2 * 100 + 2 * 500)
    # One that does not count takes room all the same, where it costs those that count the least.
    assert fluid_grams(two, on, 2, np.array([True, False])) == pytest.approx(2 * 100)


def test_the_larger_bound_holds() -> None:
    on = hours(500.0, 100.0)
    two = Run([gang(0, 1, 2, 1), gang(0, 1, 2, 1)], [], {}, 0)
    assert bound_grams(two, on, 2, lambda *_: True) == pytest.approx(2 * 100 + 2 * 500)
    long = Run([gang(0, 2, 1, 0.0)], [], {}, 0)
    assert bound_grams(long, on, 2, lambda *_: True) == pytest.approx(600)


def test_forecasts_are_those_of_the_time_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "LONGEST_DAYS", 4)  # each forecast takes 20 ms
    made = grid(SOLAR, None, 0, Ahead.FORECAST, tmp_path)
    again = grid(SOLAR, None, 0, Ahead.FORECAST, tmp_path)
    assert made.forecasts is not None
    assert again.forecasts is not None
    np.testing.assert_array_equal(made.forecasts, again.forecasts)
    assert made.start_s == week_start_s(series(SOLAR, None), 0)
    # What is forecast for an hour differs from what comes, and not by much.
    ahead, came = made.forecasts[:84, 12], made.values[12:]
    error = np.abs(ahead - came).mean() / came.mean()
    assert 0.01 < error < 0.25
    flat = grid(SOLAR, None, 0, Ahead.FLAT, tmp_path)
    assert flat.forecasts is not None
    assert set(flat.values) == {flat.values[0]} == set(flat.forecasts.ravel())


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """A small cell, with the future known."""
    cell = Cell(SOLAR, "night", 0.1, 12, 1.0, 0, Ahead.ORACLE)
    return list(measure(cell, [BLIND, "suspend-resume"], None, tmp_path_factory.mktemp("kept")))


def test_a_policy_is_between_blind_and_the_bound(rows: list[Row]) -> None:
    blind, held = rows
    assert blind.saved == 0
    assert blind.differ == 0
    assert 0.02 < held.saved <= held.possible
    assert held.core_h == pytest.approx(blind.core_h)
    assert held.gangs == blind.gangs > 30
    assert held.unfinished == held.late == 0


def test_tables_name_saving_share_and_late_starts(rows: list[Row]) -> None:
    second = replace(rows[1], cell=rows[1].cell.replace("seed=0", "seed=1"), late=3)
    text = markdown([rows[1], second])
    share = f"{rows[1].saved / rows[1].possible:.0%}"
    assert f"| {-100 * rows[1].saved:+.1f} ± 0.0 ({share}, 3) |" in text


class NothingToDo:
    """Processes that must not be needed."""

    def __init__(self, _: int) -> None: ...

    def __enter__(self) -> NothingToDo:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_a_stopped_run_goes_on_where_it_was(
    rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "ProcessPoolExecutor", NothingToDo)
    file = tmp_path / "out.jsonl"
    arguments = ["quick", "--grid", "synthetic-solar", "--load", "0.3", "--processes", "1"]
    arguments += ["--policy", "threshold", "--policy", "suspend-resume", "--output", str(tmp_path / "out")]
    key = "synthetic-solar/forecast/day/load=0.3/delay=12/share=1/seed=0"
    known = [replace(rows[1], cell=key, policy=policy) for policy in ("threshold", "suspend-resume")]
    lines = [command.json.dumps({"code": command._code(), **row.to_json()}) for row in known]
    file.write_text(f"{lines[0]}\n{lines[1]}\n{lines[1][:40]}", encoding="utf-8")
    assert command.main(arguments) == 0
    assert key.removesuffix("/seed=0") in (tmp_path / "out.md").read_text(encoding="utf-8")


def test_an_unknown_grid_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["quick", "--grid", "moon"]) == 2
    assert "no grid is called moon" in capsys.readouterr().out
    assert command.main(["quick", "--policy", "hope"]) == 2
    assert "no policy is called hope" in capsys.readouterr().out
