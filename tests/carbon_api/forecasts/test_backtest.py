"""The back-test command: a table, JSON, a plot, and clear words for wrong input."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from carbon_api.forecasts.backtest import backtest_command, run
from carbon_api.forecasts.report import table
from carbon_api.forecasts.scoring import CLEANEST_HOURS, Found, Score
from carbon_api.times import iso
from tests.carbon_api.forecasts.support import DAY_S, START_S, grid

app = typer.Typer()
app.command()(backtest_command)


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "220", "TERM": "dumb"})
    return result.exit_code, result.output


def csv_of(path: Path, days: int) -> Path:
    history = grid(days)
    rows = [f"{iso(at)},XX,{value}" for at, value in zip(history.times, history.values, strict=True)]
    path.write_text("datetime,zone_name,carbon_intensity_avg\n" + "\n".join(rows) + "\n")
    return path


def test_a_trace_gives_table_json_and_plot(tmp_path: Path) -> None:
    trace = csv_of(tmp_path / "xx.csv", 40)
    scores, plot = tmp_path / "scores.json", tmp_path / "plot.png"
    code, output = invoke(
        *("--trace", f"XX={trace}", "--test-from", "2020-02-03", "--days", "2"),
        *("--issue-hour", "0", "--issue-hour", "12", "--json", str(scores), "--plot", str(plot)),
    )
    assert code == 0, output
    assert "MAPE" in output
    assert "ridge" in output
    document = json.loads(scores.read_text())
    assert document["issue_hours"] == [0, 12]
    assert [(each["method"], each["day"]) for each in document["scores"]] == [
        ("blend", 1),
        ("blend", 2),
        ("ridge", 1),
        ("ridge", 2),
    ]
    first = document["scores"][0]
    assert 0 < first["mape_pct"] < 100
    assert 0 <= first["cleanest"]["4"]["overlap"] <= 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_synthetic_grid_by_name() -> None:
    code, output = invoke("--grid", "synthetic-coal", "--method", "blend", "--test-from", "2021-12-20")
    assert code == 0, output
    assert "synthetic-coal" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "nowhere"], "synthetic-wind"),
        (["--grid", "synthetic-coal", "--method", "tarot"], "no forecast method"),
        (["--grid", "synthetic-coal", "--test-from", "yesterday"], "2022-01-01"),
        (["--grid", "synthetic-coal", "--test-from", "2031-01-01"], "earlier --test-from"),
        (["--trace", "just-a-file.csv"], "ZONE=FILE"),
        (["--trace", "XX=/does/not/exist.csv"], "exist.csv"),
        (["--grid", "synthetic-coal", "--json", "/does/not/exist/scores.json"], "not a directory"),
    ],
)
def test_wrong_input_is_explained(arguments: list[str], message: str) -> None:
    code, output = invoke(*arguments)
    assert code == 2
    assert message in output
    assert "Traceback" not in output


def test_run_scores_without_output(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(grid(30), ["blend"], [0], START_S + 20.0 * DAY_S, days=1)
    assert [score.day for score in found] == [1]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("zone", ["DE", "CAISO", "GB-North-Scotland"])
def test_eighty_columns_hold_the_table_and_nothing_is_cut(zone: str) -> None:
    found = {hours: Found(0.853 if hours > 1 else 1.0, 1.0, 12.3) for hours in CLEANEST_HOURS}
    scores = [
        Score(zone, method, 1, 1440, 0, 12.34, 45.6, 0.913, 123.0, found) for method in ("ridge", "oracle")
    ]
    console = Console(width=80, file=io.StringIO(), color_system=None)
    with console.capture() as printed:
        console.print(table(scores, 80))
    text = printed.get()
    assert "\u2026" not in text
    words = text.split()
    for header in ("method", "issues", "MAPE", "MAE", "width", "regret"):
        assert header in words
    assert (words.count("100"), words.count("85.3"), words.count("12.3")) == (2, 4, 6)


def test_a_plot_without_matplotlib_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, output = invoke("--plot", str(tmp_path / "plot.png"))
    assert code == 2
    assert "pip install 'carbon-scheduler[plots]'" in output
