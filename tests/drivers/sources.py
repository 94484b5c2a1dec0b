"""A service that follows two applications by event log and REST API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from extender.adapters.spark.driver_rest import session
from extender.core.facts import GangKey
from extender.runtime.service import Service
from extender.runtime.stage_polling import StageSources
from extender.settings.loading import load
from tests.drivers.support import Driver, TokenCluster, listening
from tests.options import dotted
from tests.service.cluster import delivered

KEY, OTHER = GangKey("ns", "a"), GangKey("ns", "b")


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


async def run_pod(cluster: TokenCluster, service: Service, app: str, phase: str = "Running") -> None:
    pod = cluster.pod(f"{app}-driver")
    seen = delivered(service, f"{app}-driver")
    cluster.put("pods", {**pod, "status": {"phase": phase, "podIP": "127.0.0.1"}})
    await asyncio.wait_for(seen.wait(), 20)


class World:
    """A service whose drivers run, and stage sources beside it that a test moves by hand."""

    def __init__(self, cluster: TokenCluster, service: Service, drivers: list[Driver]) -> None:
        self.cluster, self.service, self.drivers = cluster, service, drivers
        self.hand = Hand()
        self.sources: StageSources

    def stages(self, key: GangKey = KEY) -> dict[int, int]:
        """Finished tasks by stage number."""
        return {each.stage_id: each.finished for each in self.service.store.state.stages.stages(key)}


@asynccontextmanager
async def world(
    cluster: TokenCluster, names: list[str], *apps: str, **flags: Any
) -> AsyncIterator[tuple[World, aiohttp.ClientSession]]:
    options = {name: str(value) for name, value in flags.items()}
    async with listening(cluster, names, *apps) as (service, _, drivers):
        for app in apps:
            await run_pod(cluster, service, app)
        made = World(cluster, service, drivers)
        async with await cluster.client() as client, session(2.0) as http:
            made.sources = StageSources(
                load(None, dotted(options)).stages, client, service.engine, service.perform, made.hand
            )
            yield made, http
