"""A real uvicorn on uvloop, in a thread of its own, and clients that see bytes."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from extender.adapters.webhooks.asgi import WebhookApplication
from extender.runtime.http.server import Server, webhook_server
from extender.settings.loading import load
from tests.options import dotted
from tests.patience import PATIENCE_S


class Running:
    """A server that listens. `on_loop` runs something on its event loop and waits for it."""

    def __init__(self, application: WebhookApplication, **flags: str) -> None:
        self._application = application
        self._flags = flags
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = webhook_server(
            self._application, load(None, dotted({"http.port": "0", **self._flags}))
        )
        listener = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        await self._server.listening.wait()
        self.port = self._server.port
        self._up.set()
        await serving

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(20)

    def stop(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def connect(self, tls: ssl.SSLContext | None = None) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        return plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")

    def server_sockets(self) -> list[socket.socket]:
        """The server's ends of its connections."""
        assert self._server is not None
        connections = self._server.server_state.connections
        return [each.transport.get_extra_info("socket") for each in connections]  # type: ignore[union-attr]


@contextmanager
def running(application: WebhookApplication, **flags: str) -> Iterator[Running]:
    """Serve an application."""
    server = Running(application, **flags)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def request(path: str, body: bytes, method: str = "POST", *headers: str) -> bytes:
    """An HTTP/1.1 request as Go's client writes it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_reply(
    connection: socket.socket, unread: bytearray | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next reply. `unread` takes what came beyond it."""
    data = bytearray() if unread is None else unread

    def more() -> None:
        piece = connection.recv(1 << 20)
        if not piece:
            raise ConnectionError("closed before the reply ended")
        data.extend(piece)

    while b"\r\n\r\n" not in data:
        more()
    end = data.index(b"\r\n\r\n")
    first, *lines = data[:end].decode("latin-1").split("\r\n")
    del data[: end + 4]
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    length = int(headers["content-length"])
    while len(data) < length:
        more()
    body = bytes(data[:length])
    del data[:length]
    assert unread is not None or not data, "more came than one reply"
    return int(first.split()[1]), headers, body


class Authority:
    """A certificate authority for one test. Needs openssl."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl to make certificates")
        self._directory = directory
        self.ca = directory / "ca.pem"
        self._openssl(
            "req", "-x509", *self._key("ca"), "-out", str(self.ca), "-subj", "/CN=test-ca", "-days", "2"
        )

    def issue(self, name: str, *extensions: str) -> tuple[Path, Path]:
        """Certificate and key for a common name."""
        directory = self._directory
        asked, made = directory / f"{name}.csr", directory / f"{name}.pem"
        self._openssl("req", *self._key(name), "-out", str(asked), "-subj", f"/CN={name}")
        config = directory / f"{name}.cnf"
        config.write_text("\n".join(("basicConstraints=CA:FALSE", *extensions)))
        self._openssl(
            *("x509", "-req", "-in", str(asked), "-CA", str(self.ca), "-CAkey", str(directory / "ca.key")),
            *("-CAcreateserial", "-out", str(made), "-days", "2", "-extfile", str(config)),
        )
        return made, directory / f"{name}.key"

    def client(self, name: str = "") -> ssl.SSLContext:
        """A context that trusts this authority, with a certificate if a name is given."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if name:
            context.load_cert_chain(*self.issue(name))
        return context

    def _key(self, name: str) -> tuple[str, ...]:
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        return (*curve, "-nodes", "-keyout", str(self._directory / f"{name}.key"))

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
