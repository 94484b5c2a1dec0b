"""The linter notices code outside the core that does not read the store through `core/queries.py`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.store_reads import INSIDE, reaches_inside

ROOT = Path(__file__).resolve().parents[2]


def test_the_parts_are_those_of_the_store() -> None:
    """A part that is renamed must be renamed in the contract too, or the linter finds nothing."""
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
        "Store(policy).handlers.wakes",
    ],
)
def test_a_reach_inside_is_noticed(line: str) -> None:
    assert reaches_inside(ast.parse(line)) == [1]


def test_other_states_are_no_reach_inside() -> None:
    assert not reaches_inside(ast.parse("app.state.ready = stage.state; queries.stages(store, key)"))
