"""Answers of the API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from extender.adapters.api.carbon import Held
from extender.adapters.api.stages import OnOff, Progress
from extender.core.queries import GangState

Amounts = dict[str, int]


class Model(BaseModel):
    """Base: read from the core's views by attribute."""

    model_config = ConfigDict(from_attributes=True)


class QueueEntry(Model):
    """A waiting gang."""

    namespace: str
    app_id: str
    leader: str = Field(description="Name of the leader pod (Spark: the driver).")
    pool: str = Field(description="Queue it waits in; empty for pods bound to no pool.")
    position: int = Field(description="Place in its pool, from 1.")
    outcome: str = Field(description="Why it waits, of the closed list; empty for gangs far down the queue.")
    reason: str
    blocked_by: str = Field(description="`namespace/id` of the earlier gang it waits for, or empty.")
    age_s: float
    app_name: str = Field(
        description="Name that people know the application by; empty where no label says it."
    )
    since_s: float = Field(description="When the leader was created, in seconds since the epoch.")
    refused_for_good: bool = Field(description="It never starts as it is, unless nodes join.")
    expected_s: float | None = Field(
        description="Expected start in seconds since the epoch; null: not known."
    )


class Shortage(Model):
    """One resource of a waiting gang, in base units (cpu in millicores, memory in bytes)."""

    resource: str
    requested: int = Field(description="What leader and minimum workers ask for together.")
    free: int = Field(description="What is free in total on nodes the gang may use.")
    missing: int
    fits_workers: int = Field(description="Workers that fit by this resource alone.")


class Slot(Model):
    """Room for one worker."""

    node: str = Field(description="Empty while no node has room for it.")
    pod: str = Field(description="Who has it; empty while it is open.")
    bound: bool


class Worker(Model):
    """A worker pod (Spark: an executor)."""

    pod: str
    node: str
    has_slot: bool = Field(description="False for one above the gang's minimum, and while it waits.")


class Request(Model):
    """A gang's request, in base units."""

    leader: Amounts
    worker: Amounts
    min_workers: int
    max_workers: int
    packer: str = Field(description="Empty for the pool's default.")
    source: str = Field(description="Where the request was read.")


class Summary(Model):
    """A gang in one line."""

    namespace: str
    app_id: str
    state: GangState
    leader: str
    leader_node: str
    pool: str
    slots: int
    slots_open: int
    workers_bound: int
    workers_waiting: int


class StoryEntry(Model):
    """Something that happened to a gang."""

    at_s: float = Field(description="Seconds since the epoch.")
    phase: str = Field(description="The phase that it entered, or was in.")
    why: str


class Application(Model, Progress):
    """A gang explained."""

    summary: Summary
    request: Request | None = Field(description="Null while it is not known.")
    slots: list[Slot]
    workers: list[Worker]
    waiting: QueueEntry | None = Field(description="Null unless it waits.")
    workers_fit_now: int | None
    shortages: list[Shortage]
    faults: list[str] = Field(description="Errors of the extender with this gang or its pods; retried.")
    story: list[StoryEntry] = Field(description="The last entries of its story, oldest first.")
    hold: Held | None = Field(default=None, description="Null unless it is kept waiting for cleaner power.")


class Node(Model):
    """A node's amounts in base units."""

    name: str
    ready: bool
    unschedulable: bool
    zone: str
    allocatable: Amounts
    used: Amounts
    reserved: Amounts
    free: Amounts = Field(description="Neither used nor reserved; below 0 means over-committed.")


class Cache(Model):
    """One watch."""

    name: str
    synced: bool
    connected: bool
    last_event_age_s: float | None
    restarts: int
    lists: int
    skipped: int = Field(description="Objects that could not be read.")
    last_problem: str


class CarbonSource(Model):
    """The carbon service. A missing value makes its zone neutral; it never makes the extender unready."""

    url: str
    polls: int
    failures: int = Field(description="Polls that gave no value at all.")
    last_good_age_s: float | None
    problems: dict[str, str] = Field(description="By carbon zone, why its value is not known.")


class Accounting(Model):
    """The ledger of energy and carbon."""

    writes: bool = Field(description="Whether this replica writes the ledger; others stand by.")
    problem: str = Field(description="Why bookings are not written; empty when they are.")
    unwritten: int = Field(description="Bookings and decisions that wait for the ledger.")
    fallbacks: dict[str, str] = Field(description="By node, why its power is not from the best source.")


class StageSources(Model):
    """Event logs and REST APIs of drivers. No executor waits because of stages that they do not report."""

    followed: int = Field(description="Event logs that are read.")
    answering: int = Field(description="Drivers whose REST API answers.")
    left_out: int = Field(description="Running applications beyond the limit.")
    events: int = Field(description="Stage events read since the start.")
    nonsense: int = Field(description="Events in the logs read now that cannot be true.")
    problems: dict[str, str] = Field(description="What fails and why, 20 at most.")


class Health(Model):
    """The service in detail."""

    status: str = Field(description="`ok`, `not-ready`, or `degraded` (see `problems`).")
    problems: list[str]
    caches: list[Cache]
    nodes: int
    waiting: int = Field(description="Gangs in the queue.")
    binds_under_way: int
    annotations_waiting: int
    carbon: CarbonSource | None = Field(description="Null without `carbon.url`.")
    accounting: Accounting | None = Field(description="Null without `ledger`.")
    stage_sources: StageSources | None = Field(
        description="Null without `stages.event_logs.directory` and `stages.driver_rest.enabled`."
    )
    on: OnOff


class Problem(BaseModel):
    """An error."""

    detail: str
