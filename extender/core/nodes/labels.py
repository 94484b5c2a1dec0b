"""Node labels as columns: a requirement is evaluated once a distinct value, for all nodes at once.

The idea: a term names a label key and looks at its value. For each key that some term names, a column holds
the number of the value that each node has. `In`, `Gt` and the other operators answer for each distinct value;
one indexing of the column turns these answers into a mask over all nodes. So a label that differs on every
node costs what a set lookup costs, and nodes need no grouping by equal labels. The reference is
`terms.Requirement.holds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from extender.core.aging import AgingCache
from extender.core.facts import NodeFacts
from extender.core.nodes.arrays import BoolArray, IntArray
from extender.core.nodes.terms import NodeTerm, PlacementTerms, Requirement

_ABSENT: Final = -1
_MOST_COLUMNS: Final = 256
_LEAST_VALUES: Final = 64
_NAME_FIELD: Final = "metadata.name"


class LabelColumns:
    """Which nodes satisfy node selectors and required affinity.

    `facts` is the table's list of nodes by row, None where there is no node. Call `changed` for every row
    that changes and for every row that is added.
    """

    def __init__(self, facts: Sequence[NodeFacts | None]) -> None:
        self._facts = facts
        self._columns: AgingCache[tuple[str, bool], _Column] = AgingCache(_MOST_COLUMNS)

    def changed(self, row: int) -> None:
        """The labels of a row's node changed, or the node came or went."""
        for column in self._columns.values():
            column.put(row, self._facts[row])

    def matching(self, terms: PlacementTerms) -> BoolArray:
        """bool[n_rows]: nodes that match selector and affinity. Rows without a node may be either."""
        mask = np.ones(len(self._facts), dtype=np.bool_)
        for key, value in terms.node_selector:
            mask &= self._satisfying(Requirement(key, "In", (value,)), field=False)
        if terms.affinity is not None:
            either = np.zeros(len(self._facts), dtype=np.bool_)
            for term in terms.affinity:
                either |= self._term(term)
            mask &= either
        return mask

    def _term(self, term: NodeTerm) -> BoolArray:
        mask = np.full(len(self._facts), bool(term.expressions or term.fields))
        for requirement in term.expressions:
            mask &= self._satisfying(requirement, field=False)
        for requirement in term.fields:
            mask &= self._satisfying(requirement, field=True)
        return mask

    def _satisfying(self, requirement: Requirement, *, field: bool) -> BoolArray:
        if field and requirement.key != _NAME_FIELD:
            return np.full(len(self._facts), requirement.holds({}))
        key = (requirement.key, field)
        column = self._columns.get(key)
        if column is None:
            column = _Column(requirement.key, self._facts, field=field)
            self._columns.put(key, column)
        return column.satisfying(requirement)


class _Column:
    """Numbers of the values of one label key (or of the node's name) by row."""

    def __init__(self, key: str, facts: Sequence[NodeFacts | None], *, field: bool) -> None:
        self._key = key
        self._field = field
        self._facts = facts
        self._build()

    def _build(self) -> None:
        self._values: list[str] = []
        self._numbers: dict[str, int] = {}
        numbers = [self._number(self._value(node)) for node in self._facts]
        self._rows: IntArray = np.array(numbers, dtype=np.int64)

    def put(self, row: int, node: NodeFacts | None) -> None:
        """The value of a row, which may be a new one at the end."""
        if row >= len(self._rows):
            more = np.full(max(_LEAST_VALUES, row + 1 - len(self._rows), len(self._rows) // 2), _ABSENT)
            self._rows = np.concatenate([self._rows, more])
        self._rows[row] = self._number(self._value(node))
        if len(self._values) > 2 * len(self._facts) + _LEAST_VALUES:
            self._build()  # most values are of nodes that are gone

    def satisfying(self, requirement: Requirement) -> BoolArray:
        """bool[n_rows]: nodes whose value satisfies a requirement on this key."""
        answers = np.zeros(len(self._values) + 1, dtype=np.bool_)  # the last one stands for an absent label
        if requirement.operator in ("In", "NotIn"):
            listed = [self._numbers[value] for value in requirement.values if value in self._numbers]
            answers[listed] = True
            if requirement.operator == "NotIn":
                np.logical_not(answers, out=answers)
        else:
            each = (requirement.holds({self._key: value}) for value in self._values)
            answers[:-1] = np.fromiter(each, dtype=np.bool_, count=len(self._values))
            answers[-1] = requirement.holds({})
        return answers[self._rows[: len(self._facts)]]

    def _value(self, node: NodeFacts | None) -> str | None:
        if node is None:
            return None
        labels: Mapping[str, str] = node.labels
        return node.name if self._field else labels.get(self._key)

    def _number(self, value: str | None) -> int:
        if value is None:
            return _ABSENT
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
        return number
