"""An extender that accepts everything, written as plainly as Python allows: what any extender costs.

`python -m benchmarks.null_extender` prints its port and serves until standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import socket

import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.server import end_with_parent

app = FastAPI()


def _json(value: object) -> Response:
    return Response(json.dumps(value), media_type="application/json")


@app.post("/filter")
async def accept(request: Request) -> Response:
    """Every offered node passes."""
    offered = json.loads(await request.body())["NodeNames"]
    return _json({"NodeNames": offered, "FailedNodes": {}, "Error": ""})


@app.post("/prioritize")
async def rank(request: Request) -> Response:
    """No node is better than another."""
    offered = json.loads(await request.body())["NodeNames"]
    return _json([{"Host": name, "Score": 0} for name in offered])


async def main() -> None:
    """Serve until standard input closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=120)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    print(listener.getsockname()[1], flush=True)  # connections made from now on wait in the backlog
    stop = asyncio.Event()
    ending = asyncio.create_task(end_with_parent(stop))
    await stop.wait()
    await ending
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
