"""uvicorn, set up for kube-scheduler: long keep-alive, no access log, mutual TLS with a check of names."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from extender.adapters.webhooks.bounds import DEFAULT_MAX_BODY_BYTES
from extender.runtime.http.connections import Guests, ImpatientProtocol, Limits, descriptors
from extender.settings.root import Settings
from extender.settings.values import is_loopback
from extender.support.seldom import SeldomLogger

KEEP_ALIVE_S: Final = 120
"""Go keeps idle connections for 90 s; closing earlier than the client can lose a call."""

_BACKLOG: Final = 2048
_GRACE_S: Final = 10
_PAUSE_S: Final = 0.1
_WASTE: Final = 5  # a report that is too long is read on for a while, see api/drivers.py

_API: Final = Limits(
    "http.api_port",
    connections=256,
    of_one_address=128,
    request_bytes=1 << 20,
    request_s=60.0,
    idle_s=KEEP_ALIVE_S,
)

_log = logging.getLogger(__name__)


class CannotListen(Exception):
    """An address or port cannot be used; the text names it and says why."""


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the service. `listening` is set once it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self.listening.set()

    def bound_socket(self) -> socket.socket:
        """A socket that listens where the server is to answer. Raises `CannotListen`.

        It says that it speaks TCP: asyncio turns Nagle's algorithm off for such sockets only, and with it
        answers after the first one would wait 40 ms for an acknowledgement.
        """
        host, port = self.config.host, self.config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            made = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as problem:
            raise CannotListen(f"cannot listen on {host}:{port}: {problem.strerror or problem}") from None
        return socket.socket(made.family, made.type, socket.IPPROTO_TCP, fileno=made.detach())

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signal."""
        yield

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        return int(self.servers[0].sockets[0].getsockname()[1])


class LimitedServer(Server):
    """A server that accepts no more connections than `limits` say; what is beyond them is closed unheard.

    `guests` are the connections that are open. `names` are those of which a client's certificate must carry
    one, if there are any.
    """

    def __init__(self, config: uvicorn.Config, limits: Limits, names: Iterable[str] = ()) -> None:
        super().__init__(config)
        self._names = frozenset(names)
        self.limits = limits.within(descriptors())
        self._log = SeldomLogger(_log)
        self.guests = Guests(self.limits, self._log)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        (self._listener,) = sockets or [self.bound_socket()]
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))
        await super().startup(sockets=[])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and answer what was asked."""
        assert self._accepting is not None
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        await super().shutdown(sockets)
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as problem:  # no descriptor is left, or the client has gone already
                self._log.warning("a connection cannot be accepted: %s", problem.strerror or problem)
                await asyncio.sleep(_PAUSE_S)
                continue
            if self.guests.enter(address[0]):
                task = loop.create_task(self._serve_one(connection, address[0]))
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)
            else:
                connection.close()
            await asyncio.sleep(0)  # a flood of connections must not keep the rest of us from running

    async def _serve_one(self, connection: socket.socket, address: str) -> None:
        """Returns when the connection is closed."""
        loop, seconds = asyncio.get_running_loop(), self.limits.head_s
        options: dict[str, Any] = {}
        if self.config.ssl is not None:
            options = {"ssl": self.config.ssl, "ssl_handshake_timeout": seconds}
            options["ssl_shutdown_timeout"] = seconds
        protocol = ImpatientProtocol(
            self.limits,
            self._log,
            names=self._names,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        try:
            await loop.connect_accepted_socket(lambda: protocol, connection, **options)
            await protocol.lost.wait()
        except OSError as problem:
            self._log.info("a connection from %s came to nothing: %s", address, problem)
        finally:
            self.guests.leave(address)


def webhook_server(application: Any, settings: Settings) -> LimitedServer:
    """The server of the webhooks.

    Every client that reaches the port may connect before it is identified, so the port has a limit of
    connections and deadlines. They leave room for a bind that waits for a slow API server.
    """
    limits = Limits(
        "http.port",
        connections=1024,
        of_one_address=1024,
        request_bytes=DEFAULT_MAX_BODY_BYTES + (1 << 20),
        request_s=300.0,
        idle_s=KEEP_ALIVE_S,
    )
    certificate = _webhook_certificate(settings)
    config = _config(application, settings.http.address, settings.http.port, certificate)
    return LimitedServer(config, limits, settings.http.tls.client_names)


def api_server(application: Any, settings: Settings) -> LimitedServer:
    """The server of probes, metrics and API on a port of its own, over plain HTTP.

    There is no login, so it has a limit of connections; slow readers are given more time than drivers.
    """
    assert settings.http.api_port is not None
    config = _config(application, settings.http.api_address, settings.http.api_port, {})
    return LimitedServer(config, _API)


def driver_server(application: Any, settings: Settings) -> LimitedServer:
    """The server of drivers on a port of its own: our certificate, but their tokens instead of theirs.

    Anybody in the cluster may reach it, so it has a limit of connections.
    """
    assert settings.drivers.port is not None
    certificate = _driver_certificate(settings)
    if not certificate and not is_loopback(settings.drivers.address):
        _log.warning(
            "drivers' tokens travel in clear to %s: set drivers.tls.cert_file and drivers.tls.key_file",
            settings.drivers.address,
        )
    limits = Limits(
        "drivers.port",
        settings.drivers.max_connections,
        settings.drivers.max_connections_per_address,
        request_bytes=_WASTE * settings.drivers.max_report_bytes + 128 * 1024,
    )
    config = _config(
        application,
        settings.drivers.address,
        settings.drivers.port,
        certificate,
        keep_alive_s=limits.idle_s,
    )
    return LimitedServer(config, limits)


def _webhook_certificate(settings: Settings) -> dict[str, Any]:
    """Options of uvicorn for TLS, mutual where that is set; none where it is off."""
    tls = settings.http.tls
    options = _certificate(tls.cert_file, tls.key_file)
    if tls.client_ca_file is not None:
        options |= {"ssl_ca_certs": str(tls.client_ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return options


def _driver_certificate(settings: Settings) -> dict[str, Any]:
    """Drivers show no certificate. Without one of its own the port shows that of the webhooks."""
    if settings.drivers.tls.cert_file is not None:
        return _certificate(settings.drivers.tls.cert_file, settings.drivers.tls.key_file)
    return _certificate(settings.http.tls.cert_file, settings.http.tls.key_file)


def _certificate(cert: Path | None, key: Path | None) -> dict[str, Any]:
    return {} if cert is None else {"ssl_certfile": cert, "ssl_keyfile": key}


def _config(
    application: Any, host: str, port: int, options: dict[str, Any], *, keep_alive_s: float = KEEP_ALIVE_S
) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        loop="none",
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=round(keep_alive_s),
        timeout_graceful_shutdown=_GRACE_S,
        backlog=_BACKLOG,
        **{"http": HttpToolsProtocol, **options},
    )
