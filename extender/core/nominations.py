"""Room that is promised to pods which wait for others to be evicted (`status.nominatedNodeName`).

kube-scheduler keeps that room free of pods of lower priority. Ours does so for pods of its own; it knows
nothing of those that another scheduler nominated, and nothing of slots. So all of them count here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from extender.core.facts import GangKey, PodFacts
from extender.core.nodes.arrays import IntArray
from extender.core.nodes.resources import Resources
from extender.core.nodes.table import NodeTable


@dataclass(frozen=True, slots=True)
class Nomination:
    """A waiting pod, and the node on which room is made for it."""

    uid: str
    row: int
    requests: Resources
    priority: int
    gang: GangKey | None


class Nominations:
    """All nominated pods. Every change makes a new plan of the queue necessary, as changed nodes do."""

    def __init__(self, nodes: NodeTable) -> None:
        self._nodes = nodes
        self._known: dict[str, Nomination] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def see(self, pod: PodFacts) -> None:
        """A pod is nominated, is nominated elsewhere, or waits no longer."""
        if not pod.waiting or not pod.nominated:
            self.lose(pod.uid)
            return
        fresh = Nomination(pod.uid, self._nodes.row(pod.nominated), pod.requests, pod.priority, pod.gang)
        if self._known.get(pod.uid) != fresh:
            self._known[pod.uid] = fresh
            self._nodes.version += 1

    def lose(self, uid: str) -> None:
        """A pod is gone."""
        if self._known.pop(uid, None) is not None:
            self._nodes.version += 1

    def before(self, pod: PodFacts) -> Iterator[Nomination]:
        """Those whose room `pod` must leave alone: of its priority or above; never its own or its gang's."""
        for each in self._known.values():
            own = each.uid == pod.uid or (each.gang is not None and each.gang == pod.gang)
            if each.priority >= pod.priority and not own:
                yield each

    def size(self, nomination: Nomination) -> IntArray:
        """int64[n_resources] that its pod will use."""
        return self._nodes.widened(self._nodes.accountable(nomination.requests))

    def of(self, gang: GangKey) -> list[Nomination]:
        """Those of a gang's own pods."""
        return [each for each in self._known.values() if each.gang == gang]

    def taken(self, pod: PodFacts) -> dict[int, IntArray]:
        """Amounts by row that `pod` must leave alone."""
        out: dict[int, IntArray] = {}
        for each in self.before(pod):
            size = self.size(each)
            out[each.row] = out[each.row] + size if each.row in out else size
        return out
