"""Wires the budget of executors to the ResourceQuota that enforces it."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from extender.cluster.client import ApiClient
from extender.cluster.quota import CapQuota, Share
from extender.core.facts import Role
from extender.core.resources import CPU, MEMORY
from extender.core.store import Store
from extender.settings import Settings


def cap_quota(
    settings: Settings, client: ApiClient, store: Store, clock: Callable[[], float]
) -> CapQuota | None:
    """The quota as configured; None unless CAP is on and a namespace is named for it."""
    namespace = settings.cap_quota_namespace
    if not settings.cap or namespace is None:
        return None
    executor = Share(
        round(settings.cap_executor_cores * 1000), round(settings.cap_executor_memory_gib * 2**30)
    )

    def drivers() -> Share:
        """What drivers take, and room for new ones: a full quota would refuse whole applications."""
        pods = store.state.pods.values()
        there = (pod.requests for pod in pods if pod.role is Role.LEADER and pod.namespace == namespace)
        taken = (Share(each.get(CPU, 0), each.get(MEMORY, 0)) for each in there)
        return reduce(Share.plus, taken, executor.times(settings.cap_quota_spare_drivers))

    return CapQuota(
        client, namespace, settings.cap_quota_name, executor, lambda: store.budget(clock()), drivers
    )
