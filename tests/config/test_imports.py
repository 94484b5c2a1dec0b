"""The import contracts notice what they are there to notice: each forbidden import is tried on a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "a web server in the core": ("extender/core/store.py", "import uvicorn"),
    "an HTTP client in the core": ("extender/core/nodes/table.py", "import aiohttp"),
    "an event loop in the core": ("extender/core/handlers.py", "import asyncio"),
    "a clock in the core": ("extender/core/state.py", "import time"),
    "an adapter in the core": ("extender/core/carbon/signal.py", "import extender.adapters.carbon.client"),
    "the engine in the core": ("extender/core/queries.py", "import extender.engine"),
    "an event loop in the engine": ("extender/engine.py", "import asyncio"),
    "one adapter in another": ("extender/adapters/api/app.py", "import extender.adapters.kubernetes.client"),
    "the runtime in an adapter": ("extender/adapters/webhooks/calls.py", "import extender.runtime.service"),
    "the runtime in the lab": ("extender/lab/world.py", "import extender.runtime.service"),
    "the carbon service in the extender": ("extender/adapters/carbon/client.py", "import carbon_api.series"),
    "a service in a source": ("carbon_api/sources/uk.py", "import carbon_api.service"),
    "a clock in the pure part of bulk-synchronous gangs": ("extender/bsp/core/simulation.py", "import time"),
    "the extender's core in bulk-synchronous gangs": ("extender/bsp/inputs.py", "import extender.core.store"),
    "a part of the store in the runtime": ("extender/runtime/switches.py", "print(store.state.gangs)"),
    "a module that no layer names": ("extender/stray.py", '"""A module without a room."""'),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """What the linter says of a tree. Its cache would be the whole checkout's."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, text=True, capture_output=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("extender", "carbon_api", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_as_it_is_keeps_every_contract(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", FORBIDDEN)
def test_a_forbidden_import_is_noticed(tree: Path, case: str) -> None:
    name, line = FORBIDDEN[case]
    file = tree / name
    file.write_text((file.read_text() if file.exists() else "") + f"\n{line}\n")
    done = lint(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "Undeclared" in done.stdout or "undeclared" in done.stdout, done.stdout
