"""An API server with pods, nodes and ConfigMaps, and a service that runs against it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from extender.core.facts import PodFacts
from extender.runtime.service import Service
from extender.settings.loading import load
from tests.cluster.apiserver import ApiServer, Fault, Object, Proceed
from tests.options import dotted
from tests.patience import PATIENCE_S
from tests.wire import go


class Cluster(ApiServer):
    """The test API server; `until` waits for a state, and is told of every change."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()
        self.registry.subscribe(lambda _: self._changed.set())

    def pod(self, name: str) -> Object:
        return self.objects["pods"]["ns", name]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; looked at after every change."""
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()


def held_back(until: asyncio.Event, arrived: asyncio.Event | None = None) -> Fault:
    """A request that is served only when told."""

    async def fault(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        if arrived is not None:
            arrived.set()
        await until.wait()
        return await proceed()

    return fault


class Client:
    """kube-scheduler's and a person's view of a running service."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def post(self, verb: str, body: bytes) -> bytes:
        async with self._session.post(f"{self.url}/{verb}", data=body) as answer:
            assert answer.status == 200
            return await answer.read()

    async def filter(self, pod: Object, names: list[str]) -> go.FilterResult:
        body = json.dumps({"Pod": pod, "Nodes": None, "NodeNames": names}).encode()
        return go.filter_result(await self.post("filter", body), names)

    async def bind(self, pod: Object, node: str) -> str:
        metadata = pod["metadata"]
        call = {
            "PodName": metadata["name"],
            "PodNamespace": metadata["namespace"],
            "PodUID": metadata["uid"],
            "Node": node,
        }
        return go.bind_error(await self.post("bind", json.dumps(call).encode()))

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(self.url + path) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text


def delivered(service: Service, name: str) -> asyncio.Event:
    """Set once the watch has shown the pod of this name to the service."""
    there, feed = asyncio.Event(), service.sinks.pods
    seen = feed.seen

    def look(item: PodFacts) -> None:
        seen(item)
        if item.name == name:
            there.set()

    feed.seen = look  # type: ignore[method-assign]
    return there


@asynccontextmanager
async def started(cluster: Cluster, **flags: str) -> AsyncIterator[tuple[Service, Client]]:
    """A service that listens; it need not be ready yet."""
    settings = load(None, dotted({"http.port": "0", **flags}))
    async with await cluster.client() as api, aiohttp.ClientSession() as session:
        service = Service(settings, api)
        running = asyncio.create_task(service.run())
        listening = asyncio.create_task(service.listening.wait())
        await asyncio.wait((running, listening), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        try:
            yield service, Client(session, f"http://127.0.0.1:{service.ports[0]}")
        finally:
            await session.close()
            service.stop()
            with contextlib.suppress(asyncio.CancelledError):
                await running


@asynccontextmanager
async def ready(cluster: Cluster, **flags: str) -> AsyncIterator[tuple[Service, Client]]:
    """A service whose caches are filled."""
    async with started(cluster, **flags) as (service, client), asyncio.timeout(PATIENCE_S):
        await asyncio.wait_for(service.ready.wait(), PATIENCE_S)
        yield service, client


def spark_pod(app: str, role: str, name: str, **spec: Any) -> Object:
    """A driver or executor as spark-submit makes it: labels, no annotations."""
    requests = {"cpu": "1", "memory": "1408Mi"}
    made: Object = {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-03-01T00:00:00Z",
            "labels": {"spark-role": role, "spark-app-selector": app},
        },
        "spec": {
            "schedulerName": "carbon-scheduler",
            "containers": [{"name": "spark", "resources": {"requests": requests}}],
            **spec,
        },
        "status": {"phase": "Pending"},
    }
    return made


def driver(app: str) -> Object:
    """A driver that mounts its ConfigMap."""
    volume = {"name": "spark-conf-volume-driver", "configMap": {"name": f"spark-drv-{app}-conf-map"}}
    return spark_pod(app, "driver", f"{app}-driver", volumes=[volume])


def executor(app: str, number: int) -> Object:
    """An executor of the size Spark computes for the default of 1 GiB heap and one core."""
    return spark_pod(app, "executor", f"{app}-exec-{number}")


def driver_config_map(app: str, executors: int) -> Object:
    """The ConfigMap spark-submit creates a moment after the driver."""
    properties = {
        "spark.app.id": app,
        "spark.executor.instances": str(executors),
        "spark.executor.memory": "1g",
        "spark.executor.cores": "1",
    }
    text = "".join(f"{key}={value}\n" for key, value in properties.items())
    return {
        "metadata": {"name": f"spark-drv-{app}-conf-map", "namespace": "ns", "uid": f"uid-cm-{app}"},
        "data": {"spark.properties": text, "log4j2.properties": "x" * 100},
    }
