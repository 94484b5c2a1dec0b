"""What every command line answers: version, help under both names, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extender import __version__
from extender.cli import app


def test_version():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"carbon-scheduler {__version__}\n")


@pytest.mark.parametrize(
    "command", [[], ["serve"], ["demo"], ["report"], ["carbon-api"], ["carbon-api", "serve"]], ids=" ".join
)
def test_help_has_two_names(command: list[str]):
    short, long = (CliRunner().invoke(app, [*command, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    assert "Usage:" in short.output


def test_completion_of_a_shell():
    program = Path(sys.executable).with_name("carbon-scheduler")
    asked = {
        "_CARBON_SCHEDULER_COMPLETE": "complete_bash",
        "COMP_WORDS": "carbon-scheduler ex",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([program], env=os.environ | asked, capture_output=True, text=True, check=False)
    assert "explain" in done.stdout.split()


def test_a_stream_without_its_cluster_says_so(tmp_path: Path):
    done = CliRunner().invoke(app, ["demo", "--kubeconfig", str(tmp_path / "absent")])
    assert done.exit_code == 1
    assert "absent" in done.output
