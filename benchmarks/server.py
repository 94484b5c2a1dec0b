"""The service's own web stack on a filled store: webhooks, metrics and API, without watches.

`python -m benchmarks.server SCENARIO API_SERVER_URL` prints its port. Beside the service's routes:

    POST /bench/watch   a JSON list of {"type": "ADDED"|"DELETED", "object": pod}: what the watch would show
    POST /bench/floor   reads the body, answers {}: what the transport alone costs
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from typing import Any

import uvloop

from benchmarks.bodies import encoded
from benchmarks.worlds import Scenario, World
from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.spark.identify import identify
from extender.adapters.webhooks.asgi import Message, Receive, Scope, Send
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod
from extender.runtime.http.server import webhook_server
from extender.runtime.service import Service
from extender.settings.loading import load


class Bench:
    """The routes of the benchmarks, in front of the service's application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._projector = PodProjector(identify)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = scope.get("path", "")
        if not path.startswith("/bench/"):
            await self._service.application(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message: Message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if path == "/bench/watch":
            self._watch(json.loads(body))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    def _watch(self, events: list[dict[str, Any]]) -> None:
        pods = self._service.sinks.pods
        for event in events:
            if event["type"] == "DELETED":
                pods.gone(event["object"]["metadata"]["uid"])
            else:
                pods.seen(self._projector.facts(decode_pod(encoded(event["object"]))))


async def end_with_parent(stop: asyncio.Event) -> None:
    """Set `stop` when standard input closes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
    stop.set()


async def main(scenario: Scenario, api_server: str) -> None:
    """Serve until standard input closes."""
    settings = load(None, {"http.port": 0, **scenario.settings()})
    async with await ApiClient.anonymous(api_server) as client:
        service = Service(settings, client)
        World(service.sinks, PodProjector(identify), scenario).fill()
        gc.collect()
        gc.freeze()  # as the service does once its caches are filled
        server = webhook_server(Bench(service), settings)
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
        runner.run(main(Scenario.from_json(sys.argv[1]), sys.argv[2]))
