"""sdist and wheel, built and used as an installer would. Needs PyPI, not podman."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from extender import __version__
from tests.containers.podman import ROOT


def run(*command: str | Path, at: Path = ROOT) -> str:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, cwd=at
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return done.stdout


def environment(path: Path, lock: str) -> Path:
    """A virtual environment with the packages of a lock; its programs are in the path returned."""
    run(sys.executable, "-m", "venv", path)
    run(path / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", ROOT / lock)
    return path / "bin"


def test_the_wheel_of_the_sdist_installs_and_runs_with_the_locked_packages(tmp_path: Path):
    builder = environment(tmp_path / "builder", "requirements-build.lock")
    run(builder / "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    (sdist,) = tmp_path.glob("carbon_scheduler-*.tar.gz")
    run("tar", "-xzf", sdist, "-C", tmp_path)
    run(
        builder / "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        tmp_path,
        at=tmp_path / sdist.name[: -len(".tar.gz")],
    )
    (wheel,) = tmp_path.glob("carbon_scheduler-*.whl")
    user = environment(tmp_path / "user", "requirements.lock")
    run(user / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    run(user / "python", "-m", "pip", "check")
    # 1. The program runs where there is no checkout.
    assert run(user / "carbon-scheduler", "--version", at=tmp_path) == f"carbon-scheduler {__version__}\n"
    assert "claim_ttl_s:" in run(user / "carbon-scheduler", "settings", at=tmp_path)
    # 2. What is not Python is in it too: drivers mount the agent from this file.
    installed = run(user / "python", "-c", "import extender; print(extender.__path__[0])", at=tmp_path)
    assert list(Path(installed.strip()).rglob("agent/kustomization.yaml"))
