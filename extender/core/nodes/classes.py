"""Who may use a node: evaluated once per class of nodes that answer every constraint alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from extender.core.facts import NodeFacts
from extender.core.nodes.arrays import BoolArray, IntArray
from extender.core.nodes.terms import NO_SCHEDULE, UNSCHEDULABLE_TAINT, PlacementTerms, Taint

UNIQUE_LABELS: Final = frozenset({"kubernetes.io/hostname"})
"""Labels that differ on every node: they are left out of the classes and read per node instead."""

_CORDON: Final = Taint(UNSCHEDULABLE_TAINT, "", NO_SCHEDULE)
_MOST_KNOWN: Final = 65_536


@dataclass(frozen=True, slots=True)
class NodeClass:
    """Nodes that answer every constraint alike."""

    labels: frozenset[tuple[str, str]]
    taints: tuple[Taint, ...]
    ready: bool


class NodeClasses:
    """All classes seen, and what is known of who accepts whom."""

    def __init__(self) -> None:
        self._classes: list[NodeClass] = []
        self._numbers: dict[NodeClass, int] = {}
        self._accepts: dict[tuple[PlacementTerms, int, bool], bool] = {}

    def __len__(self) -> int:
        return len(self._classes)

    def number(self, node: NodeFacts) -> int:
        """Number of a node's class; a new class gets the next one."""
        labels = frozenset(item for item in node.labels.items() if item[0] not in UNIQUE_LABELS)
        kind = NodeClass(labels, _taints(node), node.ready)
        number = self._numbers.setdefault(kind, len(self._classes))
        if number == len(self._classes):
            self._classes.append(kind)
        return number

    def accepted(
        self,
        terms: PlacementTerms,
        facts: Sequence[NodeFacts | None],
        class_of: IntArray,
        *,
        open_only: bool,
    ) -> BoolArray:
        """bool[n_rows]: nodes that match selector and affinity, with `open_only` also usable now.

        `class_of` are class numbers by row, -1 where there is no node.
        """
        if terms.names_nodes or any(key in UNIQUE_LABELS for key in _keys(terms)):
            each = (
                node is not None
                and terms.accept_labels(node.labels, node.name)
                and (not open_only or (node.ready and terms.accept_taints(_taints(node))))
                for node in facts
            )
            return np.fromiter(each, dtype=np.bool_, count=len(facts))
        by_class = np.zeros(len(self._classes) + 1, dtype=np.bool_)  # the last one stands for class -1
        for number, kind in enumerate(self._classes):
            key = (terms, number, open_only)
            known = self._accepts.get(key)
            if known is None:
                known = terms.accept_labels(dict(kind.labels)) and (
                    not open_only or (kind.ready and terms.accept_taints(kind.taints))
                )
                if len(self._accepts) >= _MOST_KNOWN:
                    self._accepts.clear()
                self._accepts[key] = known
            by_class[number] = known
        return by_class[class_of]


def _taints(node: NodeFacts) -> tuple[Taint, ...]:
    return (*node.taints, _CORDON) if node.unschedulable else node.taints


def _keys(terms: PlacementTerms) -> Iterable[str]:
    for key, _ in terms.node_selector:
        yield key
    for term in terms.affinity or ():
        for requirement in term.expressions:
            yield requirement.key
