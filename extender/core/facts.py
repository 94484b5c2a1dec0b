"""What the core knows of a node and of a pod: a handful of fields, never the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from extender.core.nodes.resources import Resources
from extender.core.nodes.terms import ANYWHERE, PlacementTerms, Taint

DEFAULT_PROFILE = "0"
"""Spark's default resource profile; every other kind of gang has this one only."""

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


class Role(StrEnum):
    """Part a pod plays in a gang. Spark's driver is a leader, its executors are workers."""

    LEADER = "leader"
    WORKER = "worker"
    SINGLE = "single"


class Identity(NamedTuple):
    """What a pod's labels say of its gang: the part it plays, and the gang's id in its namespace.

    `leader_optional` says that a worker may run although no pod leads its gang (Spark in client mode).
    `profile` is its Spark resource profile: the gang's sizes are those of `DEFAULT_PROFILE`. `problem` says
    why a pod that names a gang can be no member of it; its role is then SINGLE. `app_name` is the name that
    people know the application by; empty where no label says it.
    """

    role: Role
    app_id: str
    leader_optional: bool = False
    profile: str = DEFAULT_PROFILE
    problem: str = ""
    app_name: str = ""


class OwnerRef(NamedTuple):
    """The object that a pod goes with: its controller, else a pod that owns it."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """What admission added to a pod that its author did not write: other pods of the gang get the same.

    `overhead` is that of its RuntimeClass; `container_defaults` are requests that a LimitRange gave to
    containers without any. Base units.
    """

    runtime_class: str = ""
    overhead: Resources = field(default_factory=dict[str, int])
    container_defaults: Resources = field(default_factory=dict[str, int])


NOTHING_ADDED = Admitted()


class GangKey(NamedTuple):
    """Identity of a gang. The namespace is part of it: equal ids in two namespaces never meet."""

    namespace: str
    app_id: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.app_id}"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as the core sees it. `allocatable` is in base units (see `resources`)."""

    name: str
    allocatable: Resources
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = True


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod as the core sees it.

    `requests` is the effective request (containers, init containers, overhead) in base units,
    without the pod slot. `gated`: kube-scheduler does not try it; `hold_gate`: our own gate is the only one
    that is left. `annotations` and `config_map` are kept for leaders only: they are what a
    dialect reads the gang from. `created_s` is seconds since the epoch. `daemon`: it runs on its node for
    good (a DaemonSet's or a static pod), so no gang will ever have its room. `owner_ref` is kept for
    members of gangs, `admitted` and `app_name` for leaders only. `nominated` is the node on which evictions
    make room for the pod while it waits. `ended_s` is when the last container of a finished pod ended, in
    seconds since the epoch; None while it runs, and if the kubelet does not say.
    """

    uid: str
    namespace: str
    name: str
    scheduler_name: str = "default-scheduler"
    node: str = ""
    phase: str = "Pending"
    requests: Resources = field(default_factory=dict[str, int])
    terms: PlacementTerms = ANYWHERE
    priority: int = 0
    created_s: float = 0.0
    deleting: bool = False
    gated: bool = False
    hold_gate: bool = False
    role: Role = Role.SINGLE
    gang: GangKey | None = None
    leader_optional: bool = False
    owner_ref: OwnerRef | None = None
    profile: str = DEFAULT_PROFILE
    label_problem: str = ""
    nominated: str = ""
    daemon: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])
    config_map: str = ""
    template_config_map: str = ""
    admitted: Admitted = NOTHING_ADDED
    ended_s: float | None = None
    app_name: str = ""

    @property
    def finished(self) -> bool:
        """Whether the pod ended; a finished pod takes no room even while its object is kept."""
        return self.phase in FINISHED_PHASES

    @property
    def odd_size(self) -> bool:
        """Whether its size and place say nothing of other workers' (another resource profile)."""
        return self.profile != DEFAULT_PROFILE

    @property
    def occupies(self) -> bool:
        """Whether the pod takes room on its node now."""
        return bool(self.node) and not self.finished

    @property
    def waiting(self) -> bool:
        """Whether the pod still wants a node."""
        return not self.node and not self.finished and not self.deleting
