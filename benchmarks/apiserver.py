"""An API server that answers at once: synthetic nodes and pods in pages, quiet watches, Bindings.

`python -m benchmarks.apiserver NODES PODS` prints its port. Objects are made from templates while they are
sent, so that it takes little memory and keeps ahead of whoever reads. Every pod of every name exists and is
not bound; every Binding succeeds. Bytes go straight from and to sockets: it must cost little, because it
shares two cores with what is measured.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

from benchmarks import bodies
from benchmarks.server import end_with_parent

GANG_PODS = 10
"""Of twenty pods one is a driver with its reservation, nine are its executors, ten are foreign."""
_MARK = "10203040506070"
_NODE_MARK = "ip-node-mark"
_POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)(/binding)?")
_EMPTY = b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}'
_BOUND = b'{"kind":"Status","apiVersion":"v1","status":"Success","code":201}'


class Templates:
    """Objects of about 3 kB as bytes, numbers put in when they are requested."""

    def __init__(self, nodes: int, pods: int) -> None:
        self.nodes = nodes
        self.pods = pods
        common = {"node": _NODE_MARK, "phase": "Running", "settings": 8}
        reservation = {
            "v": 1,
            "min": GANG_PODS - 1,
            "max": GANG_PODS - 1,
            "packer": "",
            "worker": {"cpu": 500, "memory": 1 << 30},
            "slots": [[_NODE_MARK, GANG_PODS - 1]],
        }
        text = bodies.encoded(reservation).decode()
        self._driver = bodies.encoded(
            bodies.driver(
                f"app-{_MARK}", GANG_PODS - 1, annotations={"carbon-scheduler/reservation": text}, **common
            )
        )
        self._executor = bodies.encoded(bodies.executor(f"app-{_MARK}", 77777, **common))
        self._foreign = bodies.encoded(bodies.pod(f"pod-{_MARK}", scheduler=bodies.FOREIGN, **common))

    def node(self, number: int) -> bytes:
        """A node."""
        return bodies.encoded(bodies.node(number))

    def pod(self, number: int) -> bytes:
        """A bound pod. Those of one gang are on one node."""
        group, place = divmod(number, 2 * GANG_PODS)
        node = bodies.node_name(group % self.nodes).encode()
        if place >= GANG_PODS:
            made = self._foreign.replace(_MARK.encode(), b"%d" % number)
        elif place == 0:
            made = self._driver.replace(_MARK.encode(), b"%d" % group)
        else:
            made = self._executor.replace(_MARK.encode(), b"%d" % group).replace(b"77777", b"%d" % place)
        return made.replace(_NODE_MARK.encode(), node)

    def page(self, kind: str, start: int, limit: int) -> Iterator[bytes]:
        """A list document in pieces."""
        make, total = (self.node, self.nodes) if kind == "nodes" else (self.pod, self.pods)
        end = min(start + limit, total) if limit else total
        more = b',"continue":"%d"' % end if end < total else b""
        yield b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"1"%b},"items":[' % more
        yield b",".join(map(make, range(start, end)))
        yield b"]}"


class Protocol(asyncio.Protocol):
    """HTTP/1.1 as far as a client of an API server needs it; requests one after the other."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates
        self._data = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].decode("latin-1")
            found = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self._data) < whole:
                return
            self._data = self._data[whole:]
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            self._answer(method, target)

    def _answer(self, method: str, target: str) -> None:
        assert self._transport is not None
        url = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        pod = _POD.fullmatch(url.path)
        if query.get("watch"):
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            self._transport.write(head)
            return
        if method == "POST":
            self._send(_BOUND, b"201 Created")
        elif pod:
            self._send(bodies.encoded(bodies.pod(pod[2])))
        elif url.path in ("/api/v1/nodes", "/api/v1/pods") and "fieldSelector" not in query:
            start, limit = int(query.get("continue", 0)), int(query.get("limit", 0))
            self._send(b"".join(self._templates.page(url.path.rsplit("/", 1)[1], start, limit)))
        else:
            self._send(_EMPTY)

    def _send(self, body: bytes, status: bytes = b"200 OK") -> None:
        assert self._transport is not None
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


async def main(nodes: int, pods: int) -> None:
    """Serve until standard input closes."""
    templates = Templates(nodes, pods)
    server = await asyncio.get_running_loop().create_server(lambda: Protocol(templates), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    ending = asyncio.create_task(end_with_parent(stop))
    await stop.wait()
    await ending
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
