"""`carbon-scheduler bsp` on a small experiment, and the figures that it must reach on the published one."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from extender.bsp.command import app
from extender.bsp.comparison import Lab, Power, Reproduced, Result, originals, ours, reproduce
from extender.bsp.core.reference.controllers import StaticConfiguration
from extender.bsp.core.rules import Rules
from extender.bsp.core.simulation import simulate
from extender.bsp.core.surfaces import SplineSurface
from extender.bsp.experiment import SERIES, prepare
from extender.bsp.inputs import InputsUnusable, read_recorded
from extender.bsp.report import best, draw, markdown
from tests.bsp.published import FILE
from tests.bsp.worlds import profile
from tests.cases import case_path, data_path

STEPS, MEMBERS, LENGTH = 4, 4, 1700
NAMES = list(SERIES)[:MEMBERS]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The options that name a record and a folder of series, of four members and four supersteps."""
    random, measured = np.random.default_rng(1), profile(MEMBERS)
    begin = datetime(2026, 1, 1)
    for number, name in enumerate(NAMES):
        with (tmp_path / f"{SERIES[name]}.csv").open("w", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["timestamp", "value"])
            for hour in range(LENGTH):
                value = 100 + 30 * np.sin(2 * np.pi * (hour + 5 * number) / 24) + random.normal()
                lines.writerow([(begin + timedelta(hours=hour)).isoformat(sep=" "), value])
    sizes = {name: [[250000] * 10] * STEPS for name in NAMES}
    record = {
        "task_order": NAMES,
        "inputs": {
            "size_divisor": 10000,
            "profile": {
                "sizes": measured.sizes.tolist(),
                "shares": measured.millicores.tolist(),
                "durations": dict(zip(NAMES, measured.durations_s.tolist(), strict=True)),
            },
            "forecast": sizes,
            "actual_lead0": {name: [250000] * STEPS for name in NAMES},
            "actual_leads0to4_first40": sizes,
        },
    }
    (tmp_path / "record.json").write_text(json.dumps(record))
    return ["--recorded", str(tmp_path / "record.json"), "--series", str(tmp_path)]


def test_a_report_has_every_controller_as_table_and_picture(files: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = CliRunner().invoke(app, ["report", *files, "--output", str(output), "--processes", "1"])
    assert done.exit_code == 0, done.output
    document = (output / "report.md").read_text()
    for controller in ("exppo", "static", "dynwin", "mpc", "scenarios", "scenarios, monotone", "10% slower"):
        assert controller in document
    runs = json.loads((output / "runs.json").read_text())["runs"]
    with (output / "runs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(runs)
    assert {run["members"] for run in runs} == {3, 4}
    assert {run["penalty_s"] for run in runs} >= {2.0, 15.0, 95.0}
    assert all(run["total_s"] >= run["duration_s"] > 0 and run["energy_kwh"] > 0 for run in runs)
    assert (output / "report.svg").stat().st_size > 10_000


@pytest.mark.parametrize("controller", ["dynwin", "scenarios"])
def test_one_controller_is_simulated(files: list[str], controller: str) -> None:
    done = CliRunner().invoke(app, ["simulate", *files, "--controller", controller, "--members", "3"])
    assert done.exit_code == 0, done.output
    account = json.loads(done.output)
    assert account["controller"] == controller
    assert account["total_s"] == pytest.approx(account["duration_s"] + 15 * account["reconfigurations"])


def test_more_members_than_there_are_is_refused(files: list[str]) -> None:
    done = CliRunner().invoke(app, ["simulate", *files, "--members", "9"])
    assert done.exit_code == 2
    assert "the experiment has 4" in done.output


def test_a_series_that_is_too_short_is_refused(files: list[str], tmp_path: Path) -> None:
    short = tmp_path / f"{SERIES[NAMES[1]]}.csv"
    short.write_text("".join(short.read_text().splitlines(keepends=True)[:500]))
    with pytest.raises(InputsUnusable, match="too few"):
        prepare(read_recorded(Path(files[1])), tmp_path)
    (tmp_path / f"{SERIES[NAMES[2]]}.csv").unlink()
    with pytest.raises(InputsUnusable, match="No such file"):
        prepare(read_recorded(Path(files[1])), tmp_path)


def test_energy_counts_waiting_cores_as_idle() -> None:
    surface, rules = SplineSurface(profile()), Rules(total_millicores=6000)
    run = simulate(StaticConfiguration.of(surface, rules), surface, np.full((5, 3), 30.0), rules)
    idle, busy = Power(1.0, 1.0).energy_kwh(run), Power(0.0, 1.0).energy_kwh(run)
    assert idle == pytest.approx(run.allocated_core_s / 3.6e6)
    assert 0 < busy < idle


@pytest.fixture(scope="module")
def lab() -> Lab:
    recorded, series = case_path(FILE), data_path("bsp")
    return Lab(prepare(read_recorded(recorded), series), Power())


def test_the_series_give_the_sizes_of_the_record(lab: Lab) -> None:
    recorded = read_recorded(case_path(FILE))
    assert lab.experiment.actual == pytest.approx(recorded.actual, abs=1e-4)
    first = len(recorded.actual_leads)
    leads = recorded.actual_leads.shape[1]
    assert lab.experiment.perfect[:first, :leads] == pytest.approx(recorded.actual_leads, abs=1e-4)


def test_published_rows_come_out_equal(lab: Lab) -> None:
    published = json.loads(case_path(FILE).read_text())["published"]["rows"]
    some = [row for row in published if row["controller"] in ("exppo", "static") or row["window"] in (2, 400)]
    for row in reproduce(lab, some):
        if row.controller == "whole run":
            assert abs(row.difference_s) < 0.001 * row.published_s
        else:
            assert abs(row.difference_s) < 0.1, row
            assert row.reconfigurations == row.published_reconfigurations


def test_our_controller_beats_every_original_one_on_the_first_supersteps(lab: Lab) -> None:
    """The whole run takes a minute; `carbon-scheduler bsp report` does it."""
    begin = Lab(replace(lab.experiment, actual=lab.experiment.actual[:40]), lab.power)
    least_s = min(each.total_s for each in originals(begin, "penalty", "lstm", (15.0,)))
    own, *_ = ours(begin, "penalty", "quantiles", (15.0,))
    assert own.total_s < 0.98 * least_s


def test_the_best_run_of_each_origin_is_compared() -> None:
    def result(origin: str, total_s: float, penalty_s: float = 15.0) -> Result:
        return Result("penalty", origin, "mpc", 3, "lstm", penalty_s, 3, total_s, 0, total_s, 1.0, 1.0)

    runs = [result("original", 200), result("original", 150), result("ours", 120), result("ours", 90, 2.0)]
    found = best(runs, "original", 15.0, 3, "penalty")
    assert found is not None
    assert found.total_s == 150
    equal = Reproduced("forecast", "mpc", 3, 15.0, 150.0, 4, 150.0, 4, "equal")
    document = markdown(runs, [equal])
    assert "| 15 | 150 | mpc 3 | 120 | 20.0% | not run |" in document
    assert "1. equal." in document


def test_an_empty_comparison_can_be_drawn(tmp_path: Path) -> None:
    draw([], tmp_path / "empty.svg")
    assert (tmp_path / "empty.svg").exists()
