"""Wires the budget of executors to the ResourceQuota that enforces it."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from typing import Final

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.quota import CapQuota, Share
from extender.core import queries
from extender.core.store import Store
from extender.objects.quantity import LARGEST
from extender.settings.root import Settings

QUOTA_NAME: Final = "carbon-scheduler-cap"

_UNLIMITED: Final = Share(LARGEST, LARGEST)
"""More than any cluster has; larger quantities could not be read back."""


def cap_quota(
    settings: Settings, client: ApiClient, store: Store, clock: Callable[[], float]
) -> CapQuota | None:
    """The quota as configured; None unless CAP is on and a namespace is named for it."""
    namespace = settings.cap.quota.namespace
    if not settings.cap.enabled or namespace is None:
        return None
    executor = Share(
        round(settings.cap.executor_cores * 1000), round(settings.cap.quota.executor_memory_gib * 2**30)
    )
    spare_drivers = settings.cap.quota.spare_drivers

    def wanted(used: Share) -> Share | None:
        return quota_share(store, namespace, executor, spare_drivers, used, clock())

    replica = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    return CapQuota(client, namespace, QUOTA_NAME, wanted, replica=replica, clock=clock)


def quota_share(
    store: Store, namespace: str, executor: Share, spare_drivers: int, used: Share, now: float
) -> Share | None:
    """Amounts that the pods of a namespace may request together; None while the intensity sets no limit.

    It is the sum of
    - what drivers there request, and `spare_drivers` times `executor`: a full quota would refuse drivers;
    - the workers that run or are promised there, at their own size: a promise is kept whatever the budget;
    - as many more as the budget leaves, at the size of `executor` or of the largest gang that may grow;
    - all that gangs ask for which carbon must not slow down.
    `used` is what the quota counts now. Workers that wait for the budget count in it as soon as they exist,
    and so do pods of others; while promised workers do not exist yet, there is room for them above all that.
    """
    allowed = queries.budget(store)
    if allowed is None:
        return None
    total, owed, extra = executor.times(spare_drivers), Share(), executor
    capacity = Share.of(queries.capacity(store))
    for gang in queries.rooms_of_gangs(store, namespace, now):
        for requests in gang.there:
            total = total.plus(Share.of(requests))
        if gang.worker is None:
            continue
        worker, promised = Share.of(gang.worker), gang.open_slots
        if gang.growth and gang.exempt:
            promised += min(gang.growth, capacity.holds(worker))
        elif gang.growth:
            extra = extra.at_least(worker)
        total = total.plus(worker.times(promised))
        owed = owed.plus(worker.times(max(0, promised - gang.created)))
    total = total.plus(extra.times(max(0, allowed - queries.workers_promised(store))))
    if owed != Share():
        total = total.at_least(used.plus(owed))
    return total.at_most(_UNLIMITED)
