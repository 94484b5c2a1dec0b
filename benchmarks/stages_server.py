"""The service's own web stack on applications with stages: lookups, and the port for drivers.

`python -m benchmarks.stages_server APPLICATIONS STAGES` prints its port. Beside the service's routes:

    POST /bench/floor        reads the body, answers {}: what the transport alone costs
    POST /v1/.../events      as on `driver_port`, without the token's review (it is remembered in real life)
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time

import uvloop

from benchmarks import bodies
from benchmarks.server import Bench, end_with_parent
from benchmarks.stages import report, stage_graph
from benchmarks.worlds import Scenario, World, nothing
from extender.adapters.api.drivers import create_driver_app
from extender.adapters.api.ports import Caller
from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.spark.identify import identify
from extender.adapters.webhooks.asgi import Receive, Scope, Send
from extender.core.facts import GangKey
from extender.objects.projection import PodProjector
from extender.runtime.agent_reports import DriverReports, Options
from extender.runtime.http.server import webhook_server
from extender.runtime.service import Service
from extender.settings.loading import load


class StageBench(Bench):
    """The service, with reports of drivers on the same port."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        store, settings = service.store, service.settings
        options = Options(
            settings.drivers.report_interval_s, settings.drivers.agent, settings.stages.allowed()
        )
        self.reports = DriverReports(service.engine, nothing, time.time, service.metrics, options)

        async def leader(token: str, source: str) -> Caller:
            """The token names the driver, and is believed."""
            return Caller(bodies.NAMESPACE, token, f"uid-{token}")

        self._drivers = create_driver_app(store, leader, self.reports, time.time, max_body_bytes=1 << 23)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope.get("path", "")
        if scope.get("method") == "POST" and path.endswith("/events"):
            token = f"{path.split('/')[-2]}-driver".encode()
            scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer " + token)]
            await self._drivers(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


async def main(applications: int, stages: int) -> None:
    """Serve until standard input closes."""
    settings = load(None, {"http.port": 0, "stages.order": True})
    async with await ApiClient.anonymous("http://127.0.0.1:9") as client:
        service = Service(settings, client)
        World(service.sinks, PodProjector(identify), Scenario(nodes=200, gangs=applications, queued=0)).fill()
        bench = StageBench(service)
        for number in range(applications):
            key = GangKey(bodies.NAMESPACE, f"reserved-{number}")
            await bench.reports.take(key, report(0, stage_graph(stages)))
        gc.collect()
        gc.freeze()  # as the service does once its caches are filled
        server = webhook_server(bench, settings)
        listener = server.bound_socket()
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        print(server.port, flush=True)
        stop = asyncio.Event()
        ending = asyncio.create_task(end_with_parent(stop))
        await stop.wait()
        await ending
        server.should_exit = True
        await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
