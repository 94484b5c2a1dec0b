"""`carbon-scheduler profile`: from a log to the description of its workload."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extender.cli import app
from extender.spark.eventlog import command
from tests.cases import case_path

CAPTURE = "spark-captures/eventlog-trimmed-3.5.9-sql-aqe-true.jsonl"


def test_stages_that_were_listed_again_under_new_numbers_are_one(tmp_path: Path) -> None:
    """Adaptive execution shows the query piece by piece: twelve stage numbers, five stages that ran."""
    output, picture = tmp_path / "profile.json", tmp_path / "profile.svg"
    command.profile([str(case_path(CAPTURE))], output, picture, seed=1)
    (workload,) = json.loads(output.read_text())["workloads"]
    stages = {stage["key"]: stage for stage in workload["stages"]}
    assert sorted(stages) == [3, 7, 16, 17, 20]
    assert stages[17]["parents"] == [3, 7]
    assert stages[20]["parents"] == [17]
    assert workload["complete"]
    assert picture.read_text().lstrip().startswith("<?xml")


def test_the_description_does_not_depend_on_when_it_is_made(tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    for output in (first, second):
        command.profile([str(case_path(CAPTURE))], output, None, seed=1)
    assert first.read_bytes() == second.read_bytes()


def test_a_log_that_is_not_there_is_said() -> None:
    result = CliRunner().invoke(app, ["profile", "nowhere/spark-1"])
    assert result.exit_code == 2
    assert "nowhere/spark-1" in result.output


def test_a_picture_needs_a_known_kind(tmp_path: Path) -> None:
    with pytest.raises(command.ProfileFailed, match=r"must end in \.svg"):
        command.profile([], None, tmp_path / "picture.bmp", seed=1)
