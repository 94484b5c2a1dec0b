"""Projections of Kubernetes objects: only the fields we read, decoded in one pass by msgspec.

Everything is optional, and JSON null means absent, as it does for the API server. Fields that are
not named here are skipped by the decoder and never become Python objects.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from extender.objects.quantity import RawQuantity

Quantities = dict[str, RawQuantity]


class Projection(msgspec.Struct, rename="camel", gc=False):
    """Base of all projections: camelCase keys; no cycles are possible, so the collector may skip them."""


class OwnerReference(Projection):
    """Whom an object goes with; one owner at most is its controller."""

    kind: str | None = None
    name: str | None = None
    uid: str | None = None
    controller: bool | None = None


class Metadata(Projection):
    """`metadata` of any object. `deletion_timestamp` is read only for being there."""

    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    deletion_timestamp: str | None = None
    owner_references: list[OwnerReference] | None = None


class ObjectKey(Projection):
    """Identity of one version of an object; cheap to read from any object."""

    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None


class KeyedObject(Projection):
    """Any object, by its identity alone."""

    metadata: ObjectKey | None = None


class ResourceRequirements(Projection):
    """`resources` of a container or of a pod."""

    requests: Quantities | None = None
    limits: Quantities | None = None


class Container(Projection):
    """A container or init container; an init container that restarts always is a sidecar."""

    name: str | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str | None = None


class NamedSource(Projection):
    """A reference to a ConfigMap by name."""

    name: str | None = None


class Volume(Projection):
    """A volume; only those filled from a ConfigMap are looked at."""

    name: str | None = None
    config_map: NamedSource | None = None


class TolerationObject(Projection):
    """`spec.tolerations[]`."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None


class MatchExpression(Projection):
    """One expression of a node selector term."""

    key: str | None = None
    operator: str | None = None
    values: list[str] | None = None


class NodeSelectorTerm(Projection):
    """Expressions over labels and over fields; all must hold."""

    match_expressions: list[MatchExpression] | None = None
    match_fields: list[MatchExpression] | None = None


class NodeSelector(Projection):
    """Terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm] | None = None


class NodeAffinity(Projection):
    """Node affinity; only what is required limits the nodes."""

    required: NodeSelector | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )


class Affinity(Projection):
    """`spec.affinity`."""

    node_affinity: NodeAffinity | None = None


class SchedulingGate(Projection):
    """A gate that keeps a pod from being scheduled."""

    name: str | None = None


class PodSpec(Projection):
    """`spec` of a pod."""

    node_name: str | None = None
    scheduler_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[TolerationObject] | None = None
    priority: int | None = None
    scheduling_gates: list[SchedulingGate] | None = None
    containers: list[Container] | None = None
    init_containers: list[Container] | None = None
    runtime_class_name: str | None = None
    overhead: Quantities | None = None
    resources: ResourceRequirements | None = None
    volumes: list[Volume] | None = None


class Terminated(Projection):
    """How a container ended. The time is text: one that cannot be read is no reason to refuse the pod."""

    finished_at: str | None = None


class ContainerState(Projection):
    """State of a container."""

    terminated: Terminated | None = None


class ContainerStatus(Projection):
    """Resources that the kubelet granted a container (its spec differs during a resize), and its state."""

    name: str | None = None
    state: ContainerState | None = None
    allocated_resources: Quantities | None = None
    resources: ResourceRequirements | None = None


class Condition(Projection):
    """A condition of a pod or of a node."""

    type: str | None = None
    status: str | None = None
    reason: str | None = None


class PodStatus(Projection):
    """`status` of a pod."""

    phase: str | None = None
    nominated_node_name: str | None = None
    conditions: list[Condition] | None = None
    resources: ResourceRequirements | None = None
    allocated_resources: Quantities | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None


class Pod(Projection):
    """core/v1 Pod."""

    metadata: Metadata | None = None
    spec: PodSpec | None = None
    status: PodStatus | None = None


class TaintObject(Projection):
    """`spec.taints[]` of a node."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None


class NodeSpec(Projection):
    """`spec` of a node."""

    unschedulable: bool | None = None
    taints: list[TaintObject] | None = None


class NodeStatus(Projection):
    """`status` of a node."""

    capacity: Quantities | None = None
    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None


class Node(Projection):
    """core/v1 Node."""

    metadata: Metadata | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class ConfigMap(Projection):
    """core/v1 ConfigMap."""

    metadata: Metadata | None = None
    data: dict[str, str] | None = None


class ListMetadata(Projection):
    """`metadata` of a list: the version it shows, and the token of the next page."""

    resource_version: str | None = None
    continue_: str | None = msgspec.field(default=None, name="continue")


class ObjectList(Projection):
    """A page of any list. Items stay raw, so that one that cannot be read does not spoil the others."""

    metadata: ListMetadata | None = None
    items: list[msgspec.Raw] | None = None


class PodList(Projection):
    """A page of pods, all decoded."""

    metadata: ListMetadata | None = None
    items: list[Pod] | None = None


class WatchEvent(Projection):
    """One line of a watch; the object stays raw until its type is known."""

    type: str = ""
    object: msgspec.Raw = msgspec.Raw(b"null")


class Status(Projection):
    """The API server's answer to a refused request, and to a watch that it cannot continue."""

    status: str | None = None
    code: int | None = None
    reason: str | None = None
    message: str | None = None


decode_pod = msgspec.json.Decoder(Pod).decode
decode_node = msgspec.json.Decoder(Node).decode
decode_config_map = msgspec.json.Decoder(ConfigMap).decode
decode_key = msgspec.json.Decoder(KeyedObject).decode
decode_list = msgspec.json.Decoder(ObjectList).decode
decode_pod_list = msgspec.json.Decoder(PodList).decode
decode_watch_event = msgspec.json.Decoder(WatchEvent).decode
decode_status = msgspec.json.Decoder(Status).decode

DECODE_ERRORS: tuple[type[Exception], ...] = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Exceptions of the decoders for bytes that are not JSON or not of the expected shape."""
