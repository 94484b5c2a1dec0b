"""Nodes and pods of the simulation as the API server has them, watched by an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from extender.core.events import (
    AnnotatePod,
    Instruction,
    NodeGone,
    NodeSeen,
    PodBound,
    PodGone,
    PodSeen,
    RemoveGate,
    Synced,
)
from extender.core.facts import NodeFacts, PodFacts
from extender.core.nodes.resources import one_pod
from extender.core.nodes.terms import NO_SCHEDULE, UNSCHEDULABLE_TAINT, PlacementTerms, Taint
from extender.engine import Change, Engine
from extender.lab.simulation.clock import VirtualClock

_CORDON: Final = Taint(UNSCHEDULABLE_TAINT, "", NO_SCHEDULE)

Listener = Callable[[PodFacts | None, PodFacts | None], None]
"""Hears a pod as it was (None: it is new) and as it is (None: it is gone)."""


class FreeNodes:
    """The nodes on which a pod fits, as an offer to the extender; names are listed only when needed."""

    def __init__(self, names: Sequence[str], row_of: Mapping[str, int], fits: NDArray[np.bool_]) -> None:
        self._names = names
        self._row_of = row_of
        self._fits = fits

    def __bool__(self) -> bool:
        return bool(self._fits.any())

    def __contains__(self, name: str) -> bool:
        row = self._row_of.get(name)
        return row is not None and bool(self._fits[row])

    def names(self) -> Sequence[str]:
        """All of them, in order of the nodes."""
        return [self._names[row] for row in np.flatnonzero(self._fits).tolist()]


class Cluster:
    """The truth about nodes and pods. Every change reaches the engine at once, and then each listener.

    The engine's instructions are carried out right after the event that caused them.
    """

    def __init__(self, engine: Engine, clock: VirtualClock) -> None:
        self.engine = engine
        self.clock = clock
        self.nodes: dict[str, NodeFacts] = {}
        self.pods: dict[str, PodFacts] = {}
        self.listeners: list[Listener] = []
        self.node_listeners: list[Callable[[], None]] = []
        self._room = _Room()

    def start(self, nodes: Iterable[NodeFacts]) -> None:
        """Add the nodes that are there at the beginning, and tell the engine that it has seen everything."""
        for node in nodes:
            self.add_node(node)
        self.tell(Synced())

    # -- nodes -----------------------------------------------------------------------------------

    def add_node(self, node: NodeFacts) -> None:
        """Add or change a node."""
        self.nodes[node.name] = node
        self._room.forget()
        self.tell(NodeSeen(node))
        for listener in self.node_listeners:
            listener()

    def remove_node(self, name: str) -> None:
        """Delete a node; its pods stay until somebody deletes them."""
        del self.nodes[name]
        self._room.forget()
        self.tell(NodeGone(name))
        for listener in self.node_listeners:
            listener()

    def feasible(self, pod: PodFacts) -> FreeNodes:
        """Nodes that pass kube-scheduler's own filters: room beside bound pods, readiness, constraints."""
        return self._room.feasible(pod, self.nodes, self.pods)

    # -- pods ------------------------------------------------------------------------------------

    def create(self, pod: PodFacts) -> PodFacts:
        """Add a pod."""
        return self._put(pod)

    def change(self, pod: PodFacts) -> PodFacts:
        """Store a new version of a pod; one that is gone stays gone."""
        return self._put(pod) if pod.uid in self.pods else pod

    def delete(self, uid: str) -> None:
        """Remove a pod."""
        before = self.pods.pop(uid)
        self._room.see(before, None)
        self.tell(PodGone(uid))
        for listener in self.listeners:
            listener(before, None)

    def bind(self, uid: str, node: str, annotations: Mapping[str, str]) -> None:
        """Carry out a Binding: the node and the annotations are written together."""
        pod = self.pods[uid]
        self.tell(PodBound(uid, node))
        self._put(replace(pod, node=node, annotations={**pod.annotations, **annotations}))

    def _put(self, pod: PodFacts) -> PodFacts:
        before = self.pods.get(pod.uid)
        self.pods[pod.uid] = pod
        self._room.see(before, pod)
        self.tell(PodSeen(pod))
        for listener in self.listeners:
            listener(before, pod)
        return pod

    # -- the engine ------------------------------------------------------------------------------

    def tell(self, change: Change) -> None:
        """Let the engine see a change."""
        self.perform(self.engine.observe(change, self.clock.time()))

    def tick(self) -> None:
        """Let the engine see that time has passed."""
        self.perform(self.engine.tick(self.clock.time()))

    def perform(self, instructions: Iterable[Instruction]) -> None:
        """Carry out what the engine wants done."""
        for instruction in instructions:
            self.clock.call_later(0.0, self._perform, instruction)

    def _perform(self, instruction: Instruction) -> None:
        pod = self.pods.get(instruction.uid)
        if pod is None:
            return
        match instruction:
            case AnnotatePod():
                self._put(replace(pod, annotations={**pod.annotations, **instruction.annotations}))
            case RemoveGate():
                self._put(replace(pod, gated=False, hold_gate=False))


class _Room:
    """Room that bound pods leave on each node, as columns: int64[n_nodes, n_resources]. Built when needed."""

    def __init__(self) -> None:
        self._valid = False
        self._names: list[str] = []
        self._row_of: dict[str, int] = {}
        self._column_of: dict[str, int] = {}
        self._free: NDArray[np.int64] = np.zeros((0, 0), dtype=np.int64)
        self._open: dict[PlacementTerms, NDArray[np.bool_]] = {}

    def forget(self) -> None:
        """Nodes have changed."""
        self._valid = False

    def see(self, before: PodFacts | None, after: PodFacts | None) -> None:
        """A pod has changed."""
        if not self._valid:
            return
        if before is not None and before.occupies:
            self._add(before, 1)
        if after is not None and after.occupies:
            self._add(after, -1)

    def feasible(
        self, pod: PodFacts, nodes: Mapping[str, NodeFacts], pods: Mapping[str, PodFacts]
    ) -> FreeNodes:
        """The nodes on which a pod fits."""
        if not self._valid:
            self._build(nodes, pods)
        if pod.terms not in self._open:
            self._open[pod.terms] = np.array([_open(pod.terms, node) for node in nodes.values()], dtype=bool)
        fits = self._open[pod.terms].copy()
        for resource, amount in one_pod(pod.requests).items():
            column = self._column_of.get(resource)
            fits &= self._free[:, column] >= amount if column is not None else False
        return FreeNodes(self._names, self._row_of, fits)

    def _build(self, nodes: Mapping[str, NodeFacts], pods: Mapping[str, PodFacts]) -> None:
        self._names = list(nodes)
        self._row_of = {name: row for row, name in enumerate(self._names)}
        resources = dict.fromkeys(resource for node in nodes.values() for resource in node.allocatable)
        self._column_of = {resource: column for column, resource in enumerate(resources)}
        self._free = np.array(
            [[node.allocatable.get(each, 0) for each in resources] for node in nodes.values()],
            dtype=np.int64,
        ).reshape(len(nodes), len(resources))
        self._open.clear()
        self._valid = True
        for pod in pods.values():
            if pod.occupies:
                self._add(pod, -1)

    def _add(self, pod: PodFacts, sign: int) -> None:
        row = self._row_of.get(pod.node)
        if row is None:
            return
        for resource, amount in one_pod(pod.requests).items():
            column = self._column_of.get(resource)
            if column is not None:
                self._free[row, column] += sign * amount


def _open(terms: PlacementTerms, node: NodeFacts) -> bool:
    taints = (*node.taints, _CORDON) if node.unschedulable else node.taints
    return node.ready and terms.accept_taints(taints) and terms.accept_labels(node.labels, node.name)
