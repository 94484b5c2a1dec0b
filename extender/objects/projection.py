"""From Kubernetes objects to the core's facts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

from extender.core.facts import (
    DEFAULT_PROFILE,
    FINISHED_PHASES,
    NOTHING_ADDED,
    GangKey,
    Identity,
    NodeFacts,
    OwnerRef,
    PodFacts,
    Role,
)
from extender.core.nodes.terms import (
    ANYWHERE,
    NO_SCHEDULE,
    NodeTerm,
    PlacementTerms,
    Requirement,
    Taint,
    Toleration,
)
from extender.objects.admission import admitted
from extender.objects.quantity import QuantityError
from extender.objects.requests import amounts, effective_requests
from extender.objects.structs import (
    MatchExpression,
    Metadata,
    Node,
    NodeSelector,
    NodeSpec,
    NodeStatus,
    Pod,
    PodSpec,
    PodStatus,
    Volume,
)

DEFAULT_SCHEDULER: Final = "default-scheduler"
SPARK_CONF_VOLUME: Final = "spark-conf-volume-driver"
POD_TEMPLATE_VOLUME: Final = "pod-template-volume"
HOLD_GATE: Final = "carbon-scheduler/hold"
"""Scheduling gate with which a pod is created to wait for cleaner power; we take it off."""
DAEMON_OWNERS: Final = frozenset({"DaemonSet", "Node"})
"""Controllers of pods that run on their node for good; a static pod belongs to its Node."""
_MOST_SHARED: Final = 65_536


class ProjectionProblem(ValueError):
    """An object that cannot be understood: which one, and what is wrong with it."""

    def __init__(self, uid: str, name: str, namespace: str, detail: str) -> None:
        super().__init__(f"{namespace}/{name}: {detail}" if namespace else f"{name}: {detail}")
        self.uid = uid
        self.name = name
        self.namespace = namespace
        self.detail = detail


class PodProjector:
    """Turns pods into facts. Equal requests and equal terms of any two pods are one object.

    `identify` reads from a pod's labels which part it plays in which gang; None for a pod that
    belongs to no gang.
    """

    def __init__(self, identify: Callable[[Mapping[str, str]], Identity | None]) -> None:
        self._identify = identify
        self._terms: dict[PlacementTerms, PlacementTerms] = {}
        self._requests: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}

    def facts(self, pod: Pod) -> PodFacts:
        """The facts of a pod.

        Raises:
            ProjectionProblem: a quantity cannot be read, or the pod has no name or uid. The API
                server admits no such pod.
        """
        metadata, spec, status = pod.metadata or _NO_METADATA, pod.spec or _NO_SPEC, pod.status or _NO_STATUS
        name, namespace, uid = metadata.name or "", metadata.namespace or "", metadata.uid or ""
        if not name or not uid:
            raise ProjectionProblem(uid, name, namespace, "a pod needs metadata.name and metadata.uid")
        try:
            requests = self._shared_requests(effective_requests(pod))
            identity = self._identify(metadata.labels or {})
            problem = identity.problem if identity is not None else ""
            if problem:
                identity = None
            leads = identity is not None and identity.role is Role.LEADER
            added = admitted(pod) if leads else NOTHING_ADDED
        except QuantityError as problem:
            raise ProjectionProblem(uid, name, namespace, f"resource request: {problem}") from None
        created = metadata.creation_timestamp
        return PodFacts(
            uid=uid,
            namespace=sys.intern(namespace),
            name=name,
            scheduler_name=sys.intern(spec.scheduler_name or DEFAULT_SCHEDULER),
            node=sys.intern(spec.node_name or ""),
            phase=sys.intern(status.phase or "Pending"),
            requests=requests,
            terms=self._shared_terms(spec),
            priority=spec.priority or 0,
            created_s=created.timestamp() if created is not None else 0.0,
            deleting=metadata.deletion_timestamp is not None,
            gated=bool(spec.scheduling_gates),
            hold_gate=[each.name for each in spec.scheduling_gates or ()] == [HOLD_GATE],
            role=identity.role if identity is not None else Role.SINGLE,
            gang=GangKey(namespace, identity.app_id) if identity is not None else None,
            leader_optional=identity is not None and identity.leader_optional,
            owner_ref=_owner(metadata) if identity is not None else None,
            profile=sys.intern(identity.profile) if identity is not None else DEFAULT_PROFILE,
            label_problem=problem,
            nominated=sys.intern(status.nominated_node_name or ""),
            daemon=not DAEMON_OWNERS.isdisjoint(_controllers(metadata)),
            annotations=(metadata.annotations or _EMPTY) if leads else _EMPTY,
            config_map=_config_map(spec.volumes, SPARK_CONF_VOLUME) if leads else "",
            template_config_map=_config_map(spec.volumes, POD_TEMPLATE_VOLUME) if leads else "",
            admitted=added,
            ended_s=_ended_s(status),
            app_name=identity.app_name if identity is not None and leads else "",
        )

    def _shared_requests(self, requests: dict[str, int]) -> dict[str, int]:
        if len(self._requests) >= _MOST_SHARED:
            self._requests.clear()
        return self._requests.setdefault(tuple(sorted(requests.items())), requests)

    def _shared_terms(self, spec: PodSpec) -> PlacementTerms:
        terms = placement_terms(spec)
        if terms is ANYWHERE:
            return terms
        if len(self._terms) >= _MOST_SHARED:
            self._terms.clear()
        return self._terms.setdefault(terms, terms)


def _controllers(metadata: Metadata) -> list[str]:
    """Kinds of a pod's controllers (one at most)."""
    return [owner.kind or "" for owner in metadata.owner_references or () if owner.controller]


def _owner(metadata: Metadata) -> OwnerRef | None:
    """The controller of a pod, else a pod that owns it: an executor's is its driver, if that is a pod."""
    owners = sorted(
        metadata.owner_references or (), key=lambda owner: (not owner.controller, owner.kind != "Pod")
    )
    if not owners or not (owners[0].controller or owners[0].kind == "Pod"):
        return None
    return OwnerRef(sys.intern(owners[0].kind or ""), owners[0].name or "", owners[0].uid or "")


def node_facts(node: Node) -> NodeFacts:
    """The facts of a node. A node that has not said it is ready counts as not ready.

    Raises:
        ProjectionProblem: a quantity cannot be read, or the node has no name.
    """
    metadata, spec, status = (
        node.metadata or _NO_METADATA,
        node.spec or NodeSpec(),
        node.status or NodeStatus(),
    )
    name = metadata.name or ""
    if not name:
        raise ProjectionProblem(metadata.uid or "", "", "", "a node needs metadata.name")
    try:
        allocatable = amounts(status.allocatable if status.allocatable is not None else status.capacity)
    except QuantityError as problem:
        raise ProjectionProblem(metadata.uid or "", name, "", f"allocatable: {problem}") from None
    return NodeFacts(
        name=sys.intern(name),
        allocatable=allocatable,
        labels=metadata.labels or {},
        taints=tuple(
            Taint(each.key or "", each.value or "", each.effect or NO_SCHEDULE) for each in spec.taints or ()
        ),
        unschedulable=bool(spec.unschedulable),
        ready=any(each.type == "Ready" and each.status == "True" for each in status.conditions or ()),
    )


def placement_terms(spec: PodSpec) -> PlacementTerms:
    """Node selector, required node affinity and tolerations; `ANYWHERE` itself if there are none.

    The order in which a pod lists its selector and its tolerations says nothing, so it is sorted out.
    """
    required = spec.affinity.node_affinity.required if spec.affinity and spec.affinity.node_affinity else None
    if not spec.node_selector and required is None and not spec.tolerations:
        return ANYWHERE
    tolerations: tuple[Toleration, ...] = ()
    if spec.tolerations:
        tolerations = _tolerations(
            tuple(
                sorted(
                    {
                        (each.key or "", each.operator or "Equal", each.value or "", each.effect or "")
                        for each in spec.tolerations
                    }
                )
            )
        )
    return PlacementTerms(
        node_selector=tuple(sorted((spec.node_selector or {}).items())),
        affinity=None if required is None else _affinity(required),
        tolerations=tolerations,
    )


@lru_cache(maxsize=4096)
def _tolerations(texts: tuple[tuple[str, str, str, str], ...]) -> tuple[Toleration, ...]:
    return tuple(Toleration(*each) for each in texts)


def _affinity(required: NodeSelector) -> tuple[NodeTerm, ...]:
    return tuple(
        NodeTerm(_requirements(term.match_expressions), _requirements(term.match_fields))
        for term in required.node_selector_terms or ()
    )


def _requirements(expressions: Iterable[MatchExpression] | None) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(each.key or "", each.operator or "", tuple(each.values or ()))
        for each in expressions or ()
    )


def _ended_s(status: PodStatus) -> float | None:
    """When the last container of a finished pod ended, if the kubelet says so for all of them."""
    if status.phase not in FINISHED_PHASES:
        return None
    ends: list[float] = []
    for each in status.container_statuses or ():
        terminated = each.state.terminated if each.state is not None else None
        try:
            ended = datetime.fromisoformat((terminated.finished_at if terminated is not None else None) or "")
        except ValueError:
            return None
        if ended.tzinfo is None:
            return None
        ends.append(ended.timestamp())
    return max(ends, default=None)


def _config_map(volumes: Iterable[Volume] | None, volume_name: str) -> str:
    for volume in volumes or ():
        if volume.name == volume_name and volume.config_map is not None:
            return volume.config_map.name or ""
    return ""


_NO_METADATA: Final = Metadata()
_NO_SPEC: Final = PodSpec()
_NO_STATUS: Final = PodStatus()
_EMPTY: Final[Mapping[str, str]] = {}
