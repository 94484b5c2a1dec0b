"""A contract for import-linter: code outside the core reads the store through `core/queries.py`.

`store.state...` in another room would tie that room to how the core keeps its state. Code changes the store
through events and requests only.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

INSIDE: Final = frozenset({"state", "handlers", "waiting", "entitlements", "free_room"})
"""Parts of `Store` that only the core may touch."""


class StoreReads(Contract):
    """No file below the `folders` takes a part of a store, except those below `core`."""

    folders = fields.ListField(subfield=fields.StringField())
    core = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Every expression such as `store.state` is an offence. Paths begin at the working directory."""
        folders, core = [str(each) for each in self.folders], Path(str(self.core))  # type: ignore[attr-defined]
        offences = [
            f"{path}:{line} reaches inside the store; read it with a function of extender/core/queries.py"
            for folder in folders
            for path in sorted(Path(folder).rglob("*.py"))
            if not path.is_relative_to(core)
            for line in reaches_inside(ast.parse(path.read_text(encoding="utf-8")))
        ]
        return ContractCheck(kept=not offences, metadata={"offences": offences})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each place."""
        for offence in check.metadata["offences"]:
            output.print_error(offence)


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
