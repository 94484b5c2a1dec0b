"""Nodes, pods and power that are easy to reckon with: 4 cores, 8 GiB, 100 W idle, 100 W more at full load."""

from __future__ import annotations

import math
from collections.abc import Iterable

from extender.adapters.accounting.accountant import Accountant, zone_by_label
from extender.adapters.accounting.books import NOBODY, Batch, Booking, BookingKey, Kind
from extender.adapters.accounting.ledger import Ledger
from extender.adapters.accounting.meter import Meter
from extender.adapters.accounting.power import LinearPower, NodeModel, PowerModels
from extender.core.events import Event, NodeSeen, PodSeen, Synced
from extender.core.facts import GangKey, NodeFacts, PodFacts, Role

GIB = 1 << 30
ZONE = "zone"
MODELS = PowerModels(by_instance_type={"plain": NodeModel("plain", LinearPower(100, 200))})
APP = GangKey("team", "app")


def node(name: str = "n1", zone: str = "DE", cores: int = 4, memory: int = 8) -> NodeFacts:
    """A node whose power is 100 W and 100 W more when all its cores are requested."""
    labels = {"node.kubernetes.io/instance-type": "plain", ZONE: zone}
    return NodeFacts(name, {"cpu": cores * 1000, "memory": memory * GIB, "pods": 10}, labels)


def pod(
    uid: str,
    where: str = "",
    *,
    app: GangKey | None = APP,
    role: Role = Role.WORKER,
    cores: int = 1,
    memory: int = 2,
    created_s: float = 0.0,
    phase: str = "Running",
    ended_s: float | None = None,
) -> PodFacts:
    """A pod of one core and 2 GiB; its name is its uid."""
    requests = {"cpu": cores * 1000, "memory": memory * GIB}
    namespace = app.namespace if app is not None else "other"
    return PodFacts(
        uid,
        namespace,
        uid,
        node=where,
        phase=phase,
        requests=requests,
        role=role,
        gang=app,
        created_s=created_s,
        ended_s=ended_s,
    )


def driver(where: str = "", created_s: float = 0.0, phase: str = "Running", app: GangKey = APP) -> PodFacts:
    """The leader of an application."""
    return pod(f"{app.app_id}-driver", where, app=app, role=Role.LEADER, created_s=created_s, phase=phase)


def taken(meter: Meter, at_s: float) -> Batch:
    """Close, settle and take a batch."""
    meter.close(at_s)
    while not meter.settle(1):
        pass
    return meter.closed()


def accountant(ledger: Ledger, *, cell_s: float = 300.0, strategy: str = "") -> Accountant:
    """An accountant with the models and zones of this module."""
    return Accountant(ledger, MODELS, zone_by_label(ZONE), strategy=strategy, cell_s=cell_s)


def feed(books: Accountant, events: Iterable[tuple[Event, float]]) -> None:
    """Apply timed events."""
    for event, now in events:
        books.apply(event, now)


def lists(*items: NodeFacts | PodFacts) -> list[Event]:
    """What the watches deliver first."""
    seen: list[Event] = [NodeSeen(item) if isinstance(item, NodeFacts) else PodSeen(item) for item in items]
    return [*seen, Synced()]


def energy(
    bookings: Iterable[tuple[BookingKey, Booking]],
    *,
    kind: Kind = Kind.ACTUAL,
    app: GangKey | None = None,
    node: str = "",
) -> float:
    """Joules of the bookings that match."""
    return 3.6e6 * math.fsum(
        booking.energy_kwh
        for key, booking in bookings
        if key.kind is kind and app in (None, key.app) and node in ("", key.node)
    )


def remainder(bookings: Iterable[tuple[BookingKey, Booking]]) -> float:
    """Joules nobody is charged for."""
    return energy(bookings, app=NOBODY)
