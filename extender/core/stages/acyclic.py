"""A directed graph that stays without cycles, with a topological order kept up to date.

The order is repaired locally when an edge contradicts it ("A Dynamic Topological Sort Algorithm for Directed
Acyclic Graphs", Pearce and Kelly, ACM JEA 11, 2006, section 3). A node starts at its own number: parents with
lower numbers than their children, as RDDs have, cost no search at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import networkx as nx

SEARCH_STEPS: Final = 20_000
"""Edges that may be looked at for cycles between two calls of `rest`: a few milliseconds."""


class Acyclic:
    """Nodes are numbers. `rank` falls towards parents: every edge leads from a lower to a higher one.

    The graph itself is there to be read. Whoever adds edges without end spends its `steps`; edges that would
    then need another search are refused like those that close a cycle. `searched` counts all steps ever made.
    """

    def __init__(self, steps: int = SEARCH_STEPS) -> None:
        self.graph: nx.DiGraph[int] = nx.DiGraph()
        self.rank: dict[int, int] = {}
        self._ranks: set[int] = set()
        self._steps = self._left = steps
        self.searched = 0

    def rest(self) -> None:
        """A batch of changes ended: the next one may search anew."""
        self._left = self._steps

    def add(self, node: int) -> None:
        """Add a node that is not there."""
        self.graph.add_node(node)
        rank = node if node not in self._ranks else max(self._ranks) + 1
        self.rank[node] = rank
        self._ranks.add(rank)

    def remove(self, node: int) -> None:
        """Remove a node and its edges."""
        self.graph.remove_node(node)
        self._ranks.discard(self.rank.pop(node))

    def link(self, parent: int, child: int) -> bool:
        """Add an edge between two nodes; False, and no change, if it closes a cycle or no steps are left."""
        low, high = self.rank[child], self.rank[parent]
        if low < high:
            # A way from child to parent, or what must change places, lies between the two in the order.
            after = self._reach(child, self.graph.succ, low, high)
            if after is None or parent in after:
                return False
            before = self._reach(parent, self.graph.pred, low, high)
            if before is None:
                return False
            self._put_in_order(before, after)
        elif parent == child:
            return False
        self.graph.add_edge(parent, child)
        return True

    def _reach(
        self, start: int, onwards: Mapping[int, Mapping[int, object]], low: int, high: int
    ) -> set[int] | None:
        """All nodes ranked `low` to `high` that a way of such nodes leads to; None if that takes too long."""
        rank = self.rank
        reached, frontier = {start}, [start]
        while frontier:
            following = onwards[frontier.pop()]
            cost = 1 + len(following)
            if cost > self._left:
                self._left = 0
                return None
            self._left -= cost
            self.searched += cost
            found = [node for node in following if node not in reached and low <= rank[node] <= high]
            reached.update(found)
            frontier.extend(found)
        return reached

    def _put_in_order(self, before: set[int], after: set[int]) -> None:
        """Share out the ranks of both sets anew: `before` comes first, and each set keeps its own order."""
        nodes = sorted(before, key=self.rank.__getitem__) + sorted(after, key=self.rank.__getitem__)
        ranks = sorted(self.rank[node] for node in nodes)
        self.rank.update(zip(nodes, ranks, strict=True))
