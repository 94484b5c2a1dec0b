"""Rules of the tests themselves: what several modules need lies in a module that has no tests."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def imported_test_modules(text: str) -> list[str]:
    """Test modules that a module imports, or imports from."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in found if name.split(".")[0] == "tests" and _is_test_module(name)]


def _is_test_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.name.startswith("test_") and path.with_suffix(".py").exists()


def test_no_module_imports_a_test_module() -> None:
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    files = [path for path in files if not {".venvs", ".bin"} & set(path.parts)]
    assert len(files) > 100
    found = {
        path.relative_to(ROOT): imported_test_modules(path.read_text(encoding="utf-8")) for path in files
    }
    assert {str(path): names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import tests.config.test_tests",
        "from tests.config.test_tests import ROOT",
        "from tests.config import test_tests",
    ],
)
def test_an_import_of_a_test_module_is_noticed(line: str) -> None:
    assert set(imported_test_modules(line)) == {"tests.config.test_tests"}


def test_helpers_may_be_imported() -> None:
    assert imported_test_modules("from tests.patience import PATIENCE_S\nimport tests.options") == []
