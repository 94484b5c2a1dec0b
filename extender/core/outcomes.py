"""The closed list of outcomes: responses, metrics, events, documents and tests use these and no others.

The reason sent to kube-scheduler must not change from call to call while nothing changed for the
pod (a changed text wakes the pod again), so it is built from the outcome and facts of the request
alone: no counters, no times.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

_MOST_NAMED: Final = 3


class Outcome(StrEnum):
    """What a filter request ended in."""

    ADMITTED = "admitted"
    ALREADY_ADMITTED = "already-admitted"
    SLOT_TAKEN = "slot-taken"
    SLOT_MOVED = "slot-moved"
    EXTRA_ADMITTED = "extra-admitted"
    SINGLE_PLACED = "single-placed"

    NO_ROOM = "no-room"
    EARLIER_GANG_WAITS = "earlier-gang-waits"
    HELD_FOR_CARBON = "held-for-carbon"
    OVER_CARBON_BUDGET = "over-carbon-budget"
    DEFERRED_BY_IMPORTANCE = "deferred-by-importance"
    EXCEEDS_CLUSTER = "exceeds-cluster"
    WAITING_FOR_CONFIGURATION = "waiting-for-configuration"
    INVALID_REQUEST = "invalid-request"
    GANG_NOT_ADMITTED = "gang-not-admitted"
    GANG_UNKNOWN = "gang-unknown"
    GANG_FULL = "gang-full"
    LEADER_ENDED = "leader-ended"
    LEADER_EXISTS = "leader-exists"
    POD_GONE = "pod-gone"
    OTHER_SCHEDULER = "other-scheduler"
    OTHER_NAMESPACE = "other-namespace"
    NODES_UNKNOWN = "nodes-unknown"

    NOT_READY = "not-ready"
    BAD_REQUEST = "bad-request"
    INTERNAL_ERROR = "internal-error"


PLACED: Final = frozenset(
    {
        Outcome.ADMITTED,
        Outcome.ALREADY_ADMITTED,
        Outcome.SLOT_TAKEN,
        Outcome.SLOT_MOVED,
        Outcome.EXTRA_ADMITTED,
        Outcome.SINGLE_PLACED,
    }
)
"""Outcomes that answer a node."""

BROKEN: Final = frozenset({Outcome.NOT_READY, Outcome.BAD_REQUEST, Outcome.INTERNAL_ERROR})
"""Outcomes sent as `Error`: the request could not be judged, kube-scheduler retries by itself."""

FOR_GOOD: Final = frozenset({Outcome.EXCEEDS_CLUSTER, Outcome.INVALID_REQUEST})
"""Outcomes that last until the application, or what nodes offer, is changed."""

EXPLANATIONS: Final[dict[Outcome, str]] = {
    Outcome.ADMITTED: "leader and all minimum workers fit; their room is reserved",
    Outcome.ALREADY_ADMITTED: "the pod has its room from an earlier request",
    Outcome.SLOT_TAKEN: "worker takes a slot reserved for its gang",
    Outcome.SLOT_MOVED: "the reserved slot's node is not offered; the slot moved to another node",
    Outcome.EXTRA_ADMITTED: "worker above the minimum placed in free room",
    Outcome.SINGLE_PLACED: "pod outside any gang placed in free room",
    Outcome.NO_ROOM: "no room for the leader with all its minimum workers",
    Outcome.EARLIER_GANG_WAITS: "an earlier gang of the same pool waits and this pool is first in, first out",
    Outcome.HELD_FOR_CARBON: "the gang waits for cleaner power within the delay it allows",
    Outcome.OVER_CARBON_BUDGET: "the cluster runs as many executors as the present carbon intensity allows",
    Outcome.DEFERRED_BY_IMPORTANCE: "no stage that could use it is important enough at the present carbon",
    Outcome.EXCEEDS_CLUSTER: "the gang does not fit the cluster even when it is empty",
    Outcome.WAITING_FOR_CONFIGURATION: "Spark's driver ConfigMap is not there yet",
    Outcome.INVALID_REQUEST: "the application's request is contradictory or unreadable",
    Outcome.GANG_NOT_ADMITTED: "the gang's leader is not admitted yet",
    Outcome.GANG_UNKNOWN: "no leader pod is known for this gang",
    Outcome.GANG_FULL: "the gang already has its maximum number of workers",
    Outcome.LEADER_ENDED: "the gang's leader has ended",
    Outcome.LEADER_EXISTS: "another leader pod of the same gang holds its reservation",
    Outcome.POD_GONE: "the pod has been deleted",
    Outcome.OTHER_SCHEDULER: "the pod names a scheduler this extender does not serve",
    Outcome.OTHER_NAMESPACE: "this extender does not serve the pod's namespace",
    Outcome.NODES_UNKNOWN: "none of the offered nodes is known",
    Outcome.NOT_READY: "the caches are not synced yet",
    Outcome.BAD_REQUEST: "the request could not be read",
    Outcome.INTERNAL_ERROR: "an error of the extender, see /healthz and its log; it tries again",
}


def no_node_offers(resources: Sequence[str]) -> str:
    """Detail of a refusal: the first three resources that are requested and that no node offers, by name."""
    more = f" and {len(resources) - _MOST_NAMED} more" if len(resources) > _MOST_NAMED else ""
    return f"no node offers {', '.join(resources[:_MOST_NAMED])}{more}"


def reason(outcome: Outcome, detail: str = "") -> str:
    """Text for kube-scheduler: stable, short, without a percent sign (old versions format it)."""
    text = f"carbon-scheduler: {outcome.value}: {detail or EXPLANATIONS[outcome]}"
    return text.replace("%", " percent")[:500]
