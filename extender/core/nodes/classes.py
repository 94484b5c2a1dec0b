"""Taints and readiness: evaluated once for each class of nodes that have them alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import numpy as np

from extender.core.aging import AgingCache
from extender.core.facts import NodeFacts
from extender.core.nodes.arrays import BoolArray, IntArray
from extender.core.nodes.terms import NO_SCHEDULE, UNSCHEDULABLE_TAINT, PlacementTerms, Taint, Toleration

_CORDON: Final = Taint(UNSCHEDULABLE_TAINT, "", NO_SCHEDULE)
_MOST_KNOWN: Final = 1_024


@dataclass(frozen=True, slots=True)
class TaintClass:
    """Nodes that have the same taints, a cordon included, and are ready or not alike."""

    taints: tuple[Taint, ...]
    ready: bool


class Usability(Enum):
    """Whether nodes of a class take a pod, and the first reason why not, in the order of kube-scheduler."""

    OPEN = auto()
    NOT_READY = auto()
    CORDONED = auto()
    TAINTED = auto()


class TaintClasses:
    """Numbers of the classes that exist, and which pods may use nodes of them now.

    A class that no node has any more gives its number back.
    """

    def __init__(self) -> None:
        self._classes: list[TaintClass | None] = []
        self._numbers: dict[TaintClass, int] = {}
        self._members: list[int] = []
        self._unused: list[int] = []
        self._open: AgingCache[tuple[Toleration, ...], BoolArray] = AgingCache(_MOST_KNOWN)

    def __len__(self) -> int:
        return len(self._numbers)

    def join(self, node: NodeFacts) -> int:
        """Number of a node's class, which has one more node from now on."""
        taints = (*node.taints, _CORDON) if node.unschedulable else node.taints
        kind = TaintClass(taints, node.ready)
        number = self._numbers.get(kind)
        if number is None:
            number = self._new(kind)
        self._members[number] += 1
        return number

    def leave(self, number: int) -> None:
        """A node of a class went away or changed."""
        self._members[number] -= 1
        kind = self._classes[number]
        if not self._members[number] and kind is not None:
            del self._numbers[kind]
            self._classes[number] = None
            self._unused.append(number)

    def usable(self, terms: PlacementTerms, class_of: IntArray) -> BoolArray:
        """bool[n_rows]: nodes that are ready and whose taints are tolerated.

        `class_of` are class numbers by row, -1 where there is no node.
        """
        usable = self._open.get(terms.tolerations)
        if usable is None:
            each = (
                kind is not None and kind.ready and terms.accept_taints(kind.taints) for kind in self._classes
            )
            usable = np.zeros(len(self._classes) + 1, dtype=np.bool_)  # the last one stands for class -1
            usable[:-1] = np.fromiter(each, dtype=np.bool_, count=len(self._classes))
            self._open.put(terms.tolerations, usable)
        return usable[class_of]

    def refusal(self, number: int, terms: PlacementTerms) -> Usability:
        """Why nodes of a class do not take a pod with these terms; `OPEN` if they do."""
        kind = self._classes[number]
        if kind is None or not kind.ready:
            return Usability.NOT_READY
        taint = self.untolerated(number, terms)
        if taint is None:
            return Usability.OPEN
        return Usability.CORDONED if taint.key == UNSCHEDULABLE_TAINT else Usability.TAINTED

    def untolerated(self, number: int, terms: PlacementTerms) -> Taint | None:
        """A taint of a class that keeps a pod with these terms away, if there is one."""
        kind = self._classes[number]
        taints = () if kind is None else kind.taints
        return next((taint for taint in taints if not terms.accept_taints((taint,))), None)

    def _new(self, kind: TaintClass) -> int:
        if self._unused:
            number = self._unused.pop()
            self._classes[number] = kind
        else:
            number = len(self._classes)
            self._classes.append(kind)
            self._members.append(0)
        self._numbers[kind] = number
        self._open.clear()
        return number
