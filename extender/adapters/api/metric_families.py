"""Every metric of the extender: name, type, help and labels. `docs/metrics.md` is made from this list.

Names follow the conventions of Prometheus: base units at the end, and `_total` on all that only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "carbon_scheduler_"


class Type(StrEnum):
    """Types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. `name` is without the prefix; the exposition adds `_total` to a counter's."""

    name: str
    type: Type
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as the client library takes it."""
        return PREFIX + self.name

    @property
    def exposed_name(self) -> str:
        """The name as Prometheus queries have it."""
        return self.full_name + ("_total" if self.type is Type.COUNTER else "")


FAMILIES: Final[list[Family]] = []
"""All metrics, in the order of this file."""


def _family(type_: Type, name: str, text: str, *labels: str) -> Family:
    made = Family(name, type_, text, labels)
    FAMILIES.append(made)
    return made


def _counter(name: str, text: str, *labels: str) -> Family:
    return _family(Type.COUNTER, name, text, *labels)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return _family(Type.GAUGE, name, text, *labels)


# -- requests and writes -----------------------------------------------------------------------------

REQUESTS = _counter("requests", "Webhook calls by verb and outcome.", "verb", "outcome")
REQUEST_DURATION = _family(
    Type.HISTOGRAM,
    "request_duration_seconds",
    "Time from the received body to the sent reply.",
    "verb",
)
POD_ANNOTATIONS = _counter(
    "pod_annotations",
    "Annotations written to pods: `reservation` for one that changed, `wake` to have a pod tried again.",
    "purpose",
)
GATES_REMOVED = _counter("gates_removed", "Scheduling gates taken off pods.")
NODES_NAMED = _counter("nodes_named", "Pods whose node is named before kube-scheduler calls.")
BINDS_UNDER_WAY = _gauge("binds_under_way", "Bindings being written.")
ANNOTATIONS_WAITING = _gauge("annotations_waiting", "Pods with unwritten annotations.")

# -- the service -------------------------------------------------------------------------------------

READY = _gauge("ready", "1 once all caches are synced.")
PROBLEMS = _gauge("problems", "Problems beside watches and nodes: see /healthz.")
PART_RESTARTS = _counter("part_restarts", "Parts of the service that failed and started again.", "part")
FAULTS = _counter("faults", "Errors of the extender, by the kind of what it was looking at.", "kind")
FAULTS_OPEN = _gauge("faults_open", "Gangs, pods and nodes that could not be handled.")
ON = _gauge("on", "1 while the settings turn the feature on and no switch turns it off.", "what")
CACHE_SYNCED = _gauge("cache_synced", "1 once the watch has listed all its objects.", "cache")
CACHE_CONNECTED = _gauge("cache_connected", "1 while the watch is connected.", "cache")
CACHE_AGE = _gauge("cache_age_seconds", "Time since the last event of the watch.", "cache")
CACHE_RESTARTS = _counter("cache_restarts", "Watches that broke and started again.", "cache")
CACHE_LISTS = _counter("cache_lists", "Complete lists of the watch.", "cache")
CACHE_SKIPPED = _counter("cache_skipped", "Objects of the watch that could not be read.", "cache")

# -- cluster and gangs -------------------------------------------------------------------------------

NODES = _gauge("nodes", "Nodes that exist.")
OVERCOMMITTED_NODES = _gauge("overcommitted_nodes", "Nodes with more used and reserved than they offer.")
ALLOCATABLE = _gauge("allocatable", "Amounts that all nodes offer, in base units.", "resource")
USED = _gauge("used", "Amounts that bound pods request, in base units.", "resource")
RESERVED = _gauge("reserved", "Room reserved for pods that are not bound, in base units.", "resource")
GANGS = _gauge("gangs", "Gangs by state.", "state")
WAITING_GANGS = _gauge("waiting_gangs", "Gangs in the queue, by pool.", "pool")
WAITING_MISSING = _gauge(
    "waiting_missing",
    "Amounts that gangs which wait for room request beyond all that is free, in base units.",
    "resource",
)
SLOTS = _gauge("slots", "Slots of admitted gangs.")
SLOTS_OPEN = _gauge("slots_open", "Slots that no worker has yet.")
CLAIMS = _gauge("claims", "Pods that were answered a node and are not bound yet.")

# -- carbon ------------------------------------------------------------------------------------------

CARBON_INTENSITY = _gauge(
    "carbon_intensity_g_per_kwh", "gCO2e/kWh now. No sample while it is unknown.", "zone"
)
CARBON_AGE = _gauge("carbon_age_seconds", "Age of the last good value.", "zone")
CARBON_STALE = _gauge("carbon_stale", "1 while the zone is neutral: unknown or too old.", "zone")
HELD_GANGS = _gauge("held_gangs", "Gangs kept waiting for cleaner power.")
EXECUTOR_BUDGET = _gauge("executor_budget", "Executors that CAP allows. No sample while there is no limit.")

# -- stages ------------------------------------------------------------------------------------------

STAGE_GRAPHS = _gauge("stage_graphs", "Applications whose stages are known.")
STAGES_OPEN = _gauge("stages_open", "Stages with tasks that have not succeeded yet.")
STAGES_REMAINING = _gauge("stages_remaining_seconds", "Work left in known stages, in task-seconds.")
STAGES_LEFT_OUT = _gauge("stages_left_out", "Stages and parents that are not in the graphs.")
AGENT_BATCHES = _counter(
    "agent_batches", "Reports of agents in drivers: `taken`, `repeated` or `refused`.", "result"
)
AGENT_UPDATES_LOST = _counter(
    "agent_updates_lost",
    "Updates that do not count: dropped by an `agent` whose queue was full, or `nonsense`.",
    "by",
)
TOKEN_REVIEWS = _counter(
    "token_reviews",
    "Reviews of drivers' tokens by the API server: `accepted`, `invalid`, `unbound` or `failed`.",
    "result",
)
LOGS_FOLLOWED = _gauge("stage_logs_followed", "Event logs that are read.")
DRIVERS_ANSWERING = _gauge("stage_drivers_answering", "Drivers whose REST API answers.")
APPLICATIONS_LEFT_OUT = _gauge(
    "stage_applications_left_out", "Running applications beyond the most that are followed."
)
SOURCE_PROBLEMS = _gauge("stage_source_problems", "Event logs and drivers that fail.")
