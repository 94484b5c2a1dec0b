"""Longest paths through a directed acyclic graph, kept up to date while lengths and edges change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from extender.core.stages.acyclic import Acyclic


class Paths:
    """`head[v]` is the longest way to the start of v, `tail[v]` the longest way from there to an end.

    Lengths (any one unit) are given per node. After a change of v only ancestors of v can have another
    tail and only its descendants another head; they are visited in topological order, and no further than
    values change. `touched` counts the values that were computed anew.
    """

    def __init__(self, dag: Acyclic, lengths: Mapping[int, float]) -> None:
        self._dag = dag
        self._lengths = lengths
        self.head: dict[int, float] = {}
        self.tail: dict[int, float] = {}
        self.touched = 0
        self._total: float | None = None

    def update(self, changed: Iterable[int]) -> None:
        """Nodes with another length, or at either end of a new or deleted edge, or new."""
        present = {node for node in changed if node in self._dag.rank}
        if present:
            self._total = None
            self._spread(present, upwards=True)
            self._spread(present, upwards=False)

    def forget(self, node: int) -> None:
        """A node that left the graph; its former neighbours count as changed."""
        self.head.pop(node, None)
        self.tail.pop(node, None)
        self._total = None

    @property
    def total(self) -> float:
        """Length of the critical path."""
        if self._total is None:
            self._total = max(self.tail.values(), default=0.0)
        return self._total

    def _spread(self, changed: set[int], *, upwards: bool) -> None:
        graph, rank = self._dag.graph, self._dag.rank
        onwards = graph.pred if upwards else graph.succ
        values = self.tail if upwards else self.head
        sign = -1 if upwards else 1  # what a value depends on comes first
        queue = [(sign * rank[node], node) for node in changed]
        heapify(queue)
        queued = set(changed)
        while queue:
            _, node = heappop(queue)
            self.touched += 1
            value = self._tail(node) if upwards else self._head(node)
            # A changed length of this node moves its descendants' heads even if its own head stays.
            if node in changed or values.get(node) != value:
                values[node] = value
                for other in onwards[node]:
                    if other not in queued:
                        queued.add(other)
                        heappush(queue, (sign * rank[other], other))

    def _tail(self, node: int) -> float:
        following = max((self.tail.get(child, 0.0) for child in self._dag.graph.succ[node]), default=0.0)
        return self._lengths[node] + following

    def _head(self, node: int) -> float:
        return max(
            (self.head.get(parent, 0.0) + self._lengths[parent] for parent in self._dag.graph.pred[node]),
            default=0.0,
        )
