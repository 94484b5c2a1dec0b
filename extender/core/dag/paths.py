"""Longest paths through a directed acyclic graph, kept up to date while lengths and edges change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx


class Paths:
    """`head[v]` is the longest way to the start of v, `tail[v]` the longest way from there to an end.

    Lengths (any one unit) are given per node. After a change of v only ancestors of v can have another
    tail and only its descendants another head; no other node is looked at. `touched` counts the values
    that were computed anew.
    """

    def __init__(self, graph: nx.DiGraph[int], lengths: Mapping[int, float]) -> None:
        self._graph = graph
        self._lengths = lengths
        self.head: dict[int, float] = {}
        self.tail: dict[int, float] = {}
        self.touched = 0

    def update(self, changed: Iterable[int]) -> None:
        """Nodes with another length, or at either end of a new or deleted edge, or new."""
        present = {node for node in changed if node in self._graph}
        self._spread(present, upwards=True)
        self._spread(present, upwards=False)

    def forget(self, node: int) -> None:
        """A node that left the graph; its former neighbours count as changed."""
        self.head.pop(node, None)
        self.tail.pop(node, None)

    @property
    def total(self) -> float:
        """Length of the critical path."""
        return max(self.tail.values(), default=0.0)

    def _spread(self, changed: set[int], *, upwards: bool) -> None:
        graph = self._graph
        dirty = set(changed)
        onwards = graph.pred if upwards else graph.succ
        affected, frontier = set(changed), list(changed)
        while frontier:
            found = [other for other in onwards[frontier.pop()] if other not in affected]
            affected.update(found)
            frontier.extend(found)
        for node in _ordered(graph, affected, upwards=upwards):
            if node not in dirty:
                continue
            self.touched += 1
            values, value = (self.tail, self._tail(node)) if upwards else (self.head, self._head(node))
            # A changed length of this node moves its descendants' heads even if its own head stays.
            if node in changed or values.get(node) != value:
                values[node] = value
                dirty.update(onwards[node])

    def _tail(self, node: int) -> float:
        following = max((self.tail.get(child, 0.0) for child in self._graph.succ[node]), default=0.0)
        return self._lengths[node] + following

    def _head(self, node: int) -> float:
        return max(
            (self.head.get(parent, 0.0) + self._lengths[parent] for parent in self._graph.pred[node]),
            default=0.0,
        )


def _ordered(graph: nx.DiGraph[int], nodes: set[int], *, upwards: bool) -> list[int]:
    """The nodes so that what a value depends on comes first."""
    if len(nodes) == 1:
        return list(nodes)
    order = list(nx.topological_sort(graph.subgraph(nodes)))
    return order[::-1] if upwards else order
