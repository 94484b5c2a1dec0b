"""Small worlds, extenders that are wrong on purpose, and the real service in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from extender.adapters.kubernetes.client import ApiClient
from extender.lab.cluster import node
from extender.lab.registry import Object, Refusal, Registry
from extender.lab.spark import SparkApplication
from extender.runtime.service import Service
from extender.settings.loading import load
from tests.options import dotted
from tests.patience import PATIENCE_S

Answer = Callable[[dict[str, Any]], Any]


def application(name: str = "app", **options: Any) -> SparkApplication:
    """An application of two executors of one core."""
    return SparkApplication(
        **{"name": name, "app_id": f"spark-{name}", "executors": 2, "work_s": 4.0, **options}
    )


def small_nodes(number: int = 3, **labels: str) -> list[Object]:
    """Nodes of four cores in one zone."""
    return [node(f"n{each}", "zone-a", labels, cpu=4, memory_gib=16) for each in range(1, number + 1)]


@asynccontextmanager
async def http(routes: dict[str, Answer]) -> AsyncIterator[str]:
    """Answers POSTs of JSON; gives the URL."""

    def serving(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return web.json_response(answer(await request.json()))

        return handle

    app = web.Application()
    for path, answer in routes.items():
        app.router.add_post(path, serving(answer))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def binding_of(body: dict[str, Any]) -> Object:
    """The Binding for a bind call."""
    return {"metadata": {"uid": body["PodUID"]}, "target": {"name": body["Node"]}}


def accepting_everything(registry: Registry) -> dict[str, Answer]:
    """An extender that lets every pod go everywhere and holds nothing."""

    def bind(body: dict[str, Any]) -> dict[str, str]:
        try:
            registry.bind(body["PodNamespace"], body["PodName"], binding_of(body))
        except Refusal as refusal:
            return {"Error": refusal.message}
        return {"Error": ""}

    return {
        "/filter": lambda body: {"NodeNames": body["NodeNames"], "Error": ""},
        "/prioritize": lambda body: [{"Host": name, "Score": 0} for name in body["NodeNames"]],
        "/bind": bind,
    }


def refusing_everything(text: str = "carbon-scheduler: no-room: no") -> dict[str, Answer]:
    """An extender that lets no pod go anywhere."""

    def refuse(body: dict[str, Any]) -> dict[str, Any]:
        return {"NodeNames": [], "FailedAndUnresolvableNodes": dict.fromkeys(body["NodeNames"], text)}

    return {"/filter": refuse}


@asynccontextmanager
async def real_service(api_server_url: str, **settings: Any) -> AsyncIterator[str]:
    """The service, ready, in this process on a port of its own; gives its URL."""
    async with await ApiClient.anonymous(api_server_url) as client:
        service = Service(load(None, dotted({"http.port": 0, **settings})), client)
        running = asyncio.create_task(service.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await service.listening.wait()
                await service.ready.wait()
            yield f"http://127.0.0.1:{service.ports[0]}"
        finally:
            service.stop()
            await running


def reservation(slots: dict[str, int], app: SparkApplication) -> str:
    """The annotation that reserves these slots, written by hand."""
    number = sum(slots.values())
    worker = app.executor_requests
    document = {"v": 1, "min": number, "max": number, "packer": "", "worker": worker}
    return json.dumps({**document, "slots": list(slots.items())})
