"""Nodes that cannot take one more pod of a gang, counted by reason, in the words of kube-scheduler.

Each node counts once, under the first reason in kube-scheduler's own order: readiness and cordon, taints,
node selector and affinity, then resources.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from extender.core.nodes.arrays import Rows, room_for
from extender.core.nodes.classes import Usability
from extender.core.nodes.resources import NOT_OFFERED, PODS, Resources
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms


@dataclass(frozen=True, slots=True)
class Excluded:
    """How many nodes are excluded for one reason."""

    reason: str
    nodes: int


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """The nodes as one pod of a gang sees them: all, those with room for it now, and the others by reason."""

    pod: str
    nodes: int
    with_room: int
    excluded: tuple[Excluded, ...]


def node_counts(table: NodeTable, pod: str, requests: Resources, terms: PlacementTerms) -> NodeCounts:
    """Count the nodes for a pod of this size and these terms. `pod` names it for people."""
    alive: Rows = np.flatnonzero(table.class_of >= 0)
    reasons: Counter[str] = Counter()
    left = alive
    # 1. Readiness, cordon and taints: one judgement a class of nodes.
    classes = table.class_of[left]
    for number in np.unique(classes).tolist():
        found = table.classes.refusal(number, terms)
        if found is not Usability.OPEN:
            here = left[classes == number]
            reasons[_taint_text(table, number, terms, found)] += len(here)
            left = np.setdiff1d(left, here, assume_unique=True)
            classes = table.class_of[left]
    # 2. Node selector and required affinity.
    matching = table.matching(terms)[left]
    reasons["node(s) didn't match Pod's node affinity/selector"] += int((~matching).sum())
    left = left[matching]
    # 3. Resources: the first that is too small, in the order of the columns.
    size = table.widened(table.vector(requests))
    fits = room_for(table.free[:, left], size) >= 1
    reasons.update(_insufficient(table, left[~fits], size))
    excluded = tuple(Excluded(reason, number) for reason, number in reasons.most_common() if number)
    return NodeCounts(pod, len(alive), int(fits.sum()), excluded)


def _taint_text(table: NodeTable, number: int, terms: PlacementTerms, found: Usability) -> str:
    if found is Usability.NOT_READY:
        return "node(s) were not ready"
    if found is Usability.CORDONED:
        return "node(s) were unschedulable"
    taint = table.classes.untolerated(number, terms)
    assert taint is not None
    return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"


def _insufficient(table: NodeTable, rows: Rows, size: np.ndarray) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in range(len(table.columns)):
        if not len(rows):
            break
        short = table.free[number, rows] < size[number]
        if size[number] and short.any():
            name = table.columns[number]
            text = "Too many pods" if name == PODS else f"Insufficient {_offered(name)}"
            found[text] += int(short.sum())
            rows = rows[~short]
    return found


def _offered(column: str) -> str:
    return "a resource that no node offers" if column == NOT_OFFERED else column
