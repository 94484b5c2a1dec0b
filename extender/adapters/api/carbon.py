"""The carbon signal, and the gangs and executors that wait for it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from extender.core import queries
from extender.core.carbon.signal import Outlook
from extender.core.facts import GangKey
from extender.core.queries import HeldGang
from extender.core.store import Store


class Zone(BaseModel):
    """A carbon zone of the cluster's nodes."""

    zone: str
    nodes: int
    g_per_kwh: float | None = Field(description="gCO2e/kWh; null while it is unknown or too old.")
    age_s: float | None = Field(description="Age of the last good value; null if there never was one.")
    stale: bool = Field(description="The zone is neutral: nothing is held and nothing preferred for it.")
    kind: str | None = Field(description="`average` or `marginal`.")
    estimated: bool | None
    reason: str = Field(
        description="Why the zone has no value or no forecast now, or what the last answer lacked."
    )
    lower: float | None = Field(description="L: lower bound of the forecast.")
    upper: float | None = Field(description="U: its upper bound.")
    forecast_until: str | None


class Held(BaseModel):
    """A gang that is kept waiting for cleaner power."""

    namespace: str
    app_id: str
    leader: str
    policy: str
    gated: bool = Field(description="Held by the scheduling gate, not by refusals.")
    until: str = Field(description="When it starts if the forecast comes true.")
    latest_start: str = Field(description="From then on it is not held, whatever the grid does.")


class Carbon(BaseModel):
    """The carbon signal and what it does."""

    zones: list[Zone]
    budget: int | None = Field(description="Executors allowed now by CAP; null while there is no limit.")
    executors: int = Field(description="Executors that run or are promised room.")
    held: list[Held]


def carbon(store: Store, now: float) -> Carbon:
    """The view of one moment."""
    return Carbon(
        zones=zones(store, now),
        budget=queries.budget(store),
        executors=queries.workers_promised(store),
        held=held(store, now),
    )


def zones(store: Store, now: float) -> list[Zone]:
    """Every carbon zone of a node, known or not."""
    return [
        Zone(
            zone=each.zone,
            nodes=each.nodes,
            g_per_kwh=each.value,
            age_s=each.age_s,
            stale=each.value is None,
            kind=each.good.kind if each.good is not None else None,
            estimated=each.good.estimated if each.good is not None else None,
            reason=each.reason,
            lower=each.outlook.lower if each.outlook is not None else None,
            upper=each.outlook.upper if each.outlook is not None else None,
            forecast_until=None if each.outlook is None else _iso(_end_s(each.outlook)),
        )
        for each in queries.zones(store, now)
    ]


def _end_s(outlook: Outlook) -> float:
    return outlook.start_s + len(outlook.values) * outlook.step_s


def held(store: Store, now: float) -> list[Held]:
    """Gangs under a hold, by latest start."""
    return [_shown(each) for each in queries.held(store, now)]


def hold_of(store: Store, key: GangKey, now: float) -> Held | None:
    """The hold a gang is under."""
    found = queries.hold_of(store, key, now)
    return None if found is None else _shown(found)


def _shown(found: HeldGang) -> Held:
    pod, hold = found.leader, found.hold
    return Held(
        namespace=pod.namespace,
        app_id=found.key.app_id,
        leader=pod.name,
        policy=hold.policy.value,
        gated=pod.hold_gate,
        until=_iso(hold.expected_s),
        latest_start=_iso(hold.latest_start_s),
    )


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
