"""Where a pod may run: node selector, required node affinity, tolerations.

Terms are values: equal terms are one key in the caches, so that a constraint is evaluated once per
distinct class of nodes and not once per node.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NO_SCHEDULE: Final = "NoSchedule"
NO_EXECUTE: Final = "NoExecute"
UNSCHEDULABLE_TAINT: Final = "node.kubernetes.io/unschedulable"

_GO_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_INT64: Final = 1 << 63


def int64(text: str) -> int | None:
    """A number as kube-scheduler reads it (Go's `ParseInt`, base 10, 64 bits); None for any other text.

    Neither underscores nor spaces, as Python would take them.
    """
    if not _GO_INTEGER.fullmatch(text):
        return None
    value = int(text)
    return value if -_INT64 <= value < _INT64 else None


def beyond(operator: str, left: str, right: str) -> bool:
    """Whether `left` is greater (operator `Gt`) or less (`Lt`) than `right`; no, if one is no number."""
    one, other = int64(left), int64(right)
    if one is None or other is None:
        return False
    return one > other if operator == "Gt" else one < other


@dataclass(frozen=True, slots=True)
class Taint:
    """A node taint. Only NoSchedule and NoExecute keep a pod away."""

    key: str
    value: str = ""
    effect: str = NO_SCHEDULE


@dataclass(frozen=True, slots=True)
class Toleration:
    """A pod toleration; an empty key with operator Exists tolerates everything.

    With `Gt` and `Lt` the value of the taint must be greater or less than the one here (KEP-5471).
    """

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether this toleration covers `taint` (core/v1 ToleratesTaint)."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        match self.operator:
            case "Exists":
                return True
            case "Equal":
                return bool(self.key) and self.value == taint.value
            case "Gt" | "Lt":
                return bool(self.key) and beyond(self.operator, taint.value, self.value)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Requirement:
    """One match expression: `key operator values`."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Evaluate against labels. An unknown operator or a bad bound matches nothing."""
        have = labels.get(self.key)
        match self.operator:
            case "In":
                return have is not None and have in self.values
            case "NotIn":
                return have is None or have not in self.values
            case "Exists":
                return have is not None
            case "DoesNotExist":
                return have is None
            case "Gt" | "Lt":
                return (
                    have is not None and len(self.values) == 1 and beyond(self.operator, have, self.values[0])
                )
            case _:
                return False


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One node selector term: all its expressions and fields must hold; an empty one matches nothing."""

    expressions: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def holds(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node with these labels and this name satisfies the term."""
        if not self.expressions and not self.fields:
            return False
        if not all(requirement.holds(labels) for requirement in self.expressions):
            return False
        if not self.fields:
            return True
        by_field = {"metadata.name": name}
        return all(requirement.holds(by_field) for requirement in self.fields)


@dataclass(frozen=True, slots=True)
class PlacementTerms:
    """Everything in a pod that limits the nodes it may use.

    `affinity` is None when there is no required node affinity, else a tuple of terms of which one
    must hold.
    """

    node_selector: tuple[tuple[str, str], ...] = ()
    affinity: tuple[NodeTerm, ...] | None = None
    tolerations: tuple[Toleration, ...] = ()

    @property
    def names_nodes(self) -> bool:
        """Whether a term looks at the node's name, so that nodes of one class can differ."""
        return any(term.fields for term in self.affinity or ())

    def accept_labels(self, labels: Mapping[str, str], name: str = "") -> bool:
        """Selector and required affinity; taints are not looked at."""
        if any(labels.get(key) != value for key, value in self.node_selector):
            return False
        return self.affinity is None or any(term.holds(labels, name) for term in self.affinity)

    def accept_taints(self, taints: tuple[Taint, ...]) -> bool:
        """Whether every NoSchedule and NoExecute taint is tolerated."""
        return all(
            any(toleration.tolerates(taint) for toleration in self.tolerations)
            for taint in taints
            if taint.effect in (NO_SCHEDULE, NO_EXECUTE)
        )


ANYWHERE: Final = PlacementTerms()
