"""The back-test command: a table, JSON, a plot, and clear words for wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from carbon_api.forecasts.backtest import backtest_command, run
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
