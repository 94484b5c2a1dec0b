"""Code outside the core reads the store through `core/queries.py`, and changes it through events."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSIDE = frozenset({"state", "changes", "waiting", "entitlements", "free_room"})
"""Parts of `Store` that only the core may touch."""


def files() -> list[Path]:
    """The code around the core."""
    found = [path for room in ("extender", "benchmarks", "tools") for path in (ROOT / room).rglob("*.py")]
    return [path for path in found if not path.is_relative_to(ROOT / "extender/core")]


def reaches_inside(tree: ast.AST) -> list[int]:
    """Lines on which a part of a store is taken that is not for others."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in INSIDE and _is_store(node.value)
    ]


def _is_store(node: ast.expr) -> bool:
    """Whether an expression is a store by its name: `store`, `self._store`, `engine.store`, `Store(...)`."""
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name.lstrip("_").lower() == "store"
        case ast.Call(called):
            return _is_store(called)
        case _:
            return False


def test_code_outside_the_core_reads_the_store_through_queries() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files()
        for line in reaches_inside(ast.parse(path.read_text()))
    ]
    assert not found, f"read it with a function of extender/core/queries.py: {', '.join(found)}"


def test_the_parts_are_those_of_the_store() -> None:
    """A part that is renamed must be renamed here too, or nothing would be found."""
    nodes = ast.walk(ast.parse((ROOT / "extender/core/store.py").read_text()))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    parts = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
    assert parts >= INSIDE


@pytest.mark.parametrize(
    "line",
    [
        "gangs = store.state.gangs",
        "self._store.state.claims.get(uid).binding = False",
        "len(self._engine.store.waiting)",
        "state = service.engine.store.state",
        "Store(policy).changes.parked",
    ],
)
def test_a_reach_inside_is_noticed(line: str) -> None:
    assert reaches_inside(ast.parse(line)) == [1]


def test_other_states_are_no_reach_inside() -> None:
    assert not reaches_inside(ast.parse("app.state.ready = stage.state; queries.stages(store, key)"))
