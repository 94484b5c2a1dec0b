"""Everything that may change the store, and everything the store asks its shell to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from extender.core.carbon.signal import Signal
from extender.core.facts import GangKey, NodeFacts, PodFacts
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.policy import Switches
from extender.core.stages.events import StageEvent


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node was added or changed."""

    node: NodeFacts


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node was deleted."""

    name: str


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod was added or changed."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class PodGone:
    """A pod object was deleted."""

    uid: str


@dataclass(frozen=True, slots=True)
class PodRead:
    """The API server answered that a pod exists in this state; the watch has not said so yet."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class SpecRead:
    """A dialect read what the gang led by `leader` asks for, or why it cannot."""

    leader: PodFacts
    spec: GangSpec | SpecProblem


@dataclass(frozen=True, slots=True)
class PodBound:
    """Our own Binding succeeded; the watch will say the same a little later."""

    uid: str
    node: str


@dataclass(frozen=True, slots=True)
class BindFailed:
    """Our own Binding was refused; the pod's claim is given back."""

    uid: str


@dataclass(frozen=True, slots=True)
class BindUnanswered:
    """The outcome of our own Binding is not known; its room is kept until the watch tells or time is up."""

    uid: str


@dataclass(frozen=True, slots=True)
class CarbonSeen:
    """A carbon source said something of a zone."""

    signal: Signal


@dataclass(frozen=True, slots=True)
class StagesReported:
    """An application's driver, or its event log, said what became of its stages.

    `restarted`: another SparkContext counts its jobs and stages from 0 again; what was known before is void.
    """

    key: GangKey
    events: tuple[StageEvent, ...]
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class SwitchesSeen:
    """An operator turned something off or on again."""

    switches: Switches


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: claims whose bind never came expire."""


@dataclass(frozen=True, slots=True)
class Synced:
    """Every node and pod that exists has been seen once: gangs are matched with their reservations."""


Event = (
    Synced
    | CarbonSeen
    | NodeSeen
    | NodeGone
    | PodSeen
    | PodGone
    | PodRead
    | SpecRead
    | PodBound
    | BindFailed
    | BindUnanswered
    | StagesReported
    | SwitchesSeen
    | Tick
)


@dataclass(frozen=True, slots=True)
class AnnotatePod:
    """Merge these annotations into a pod. With `wake` its only purpose is to be tried again."""

    uid: str
    namespace: str
    name: str
    annotations: Mapping[str, str]
    wake: bool = False


@dataclass(frozen=True, slots=True)
class RemoveGate:
    """Take our scheduling gate off a pod: kube-scheduler then tries it at once."""

    uid: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class NameNode:
    """Write the node of a waiting pod into its status: kube-scheduler then looks there first.

    The name is a hint. Nothing may wait for it, and what tries the pod comes after it.
    """

    uid: str
    namespace: str
    name: str
    node: str


@dataclass(frozen=True, slots=True)
class VerifyPod:
    """Ask the API server for a pod that the watch has not shown; `PodRead` or `PodGone` is the answer."""

    uid: str
    namespace: str
    name: str


Instruction = AnnotatePod | RemoveGate | NameNode | VerifyPod
