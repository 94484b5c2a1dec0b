"""uvicorn, set up for kube-scheduler: long keep-alive, no access log, mutual TLS with a check of names."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Generator, Iterable
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from extender.settings import Settings

KEEP_ALIVE_S: Final = 120
"""Go keeps idle connections for 90 s; closing earlier than the client can lose a call."""

_BACKLOG: Final = 2048
_GRACE_S: Final = 10

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
        """A socket that listens where the server is to answer. Raises `CannotListen`."""
        host, port = self.config.host, self.config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except OSError as problem:
            raise CannotListen(f"cannot listen on {host}:{port}: {problem.strerror or problem}") from None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take no signal."""
        yield

    @property
    def port(self) -> int:
        """The port listened on, once started."""
        return int(self.servers[0].sockets[0].getsockname()[1])


def webhook_server(application: Any, settings: Settings) -> Server:
    """The server of the webhooks."""
    return _server(application, settings.listen_address, settings.listen_port, settings)


def api_server(application: Any, settings: Settings) -> Server:
    """The server of probes, metrics and API on a port of its own, over plain HTTP."""
    assert settings.api_port is not None
    return _server(application, settings.api_address, settings.api_port, None)


def driver_server(application: Any, settings: Settings) -> Server:
    """The server of drivers on a port of its own: our certificate, but their tokens instead of theirs."""
    assert settings.driver_port is not None
    if settings.tls_cert_file is None and not _loopback(settings.driver_address):
        _log.warning(
            "drivers' tokens travel in clear to %s: set tls_cert_file and tls_key_file",
            settings.driver_address,
        )
    return _server(application, settings.driver_address, settings.driver_port, settings, mutual=False)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _server(application: Any, host: str, port: int, tls: Settings | None, *, mutual: bool = True) -> Server:
    options: dict[str, Any] = {}
    if tls is not None and tls.tls_cert_file is not None:
        options = {"ssl_certfile": tls.tls_cert_file, "ssl_keyfile": tls.tls_key_file}
        if mutual and tls.tls_client_ca_file is not None:
            options |= {"ssl_ca_certs": str(tls.tls_client_ca_file), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        if mutual and tls.tls_client_names:
            options["http"] = protocol_for(tls.tls_client_names)
    options.setdefault("http", HttpToolsProtocol)
    config = uvicorn.Config(
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
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        backlog=_BACKLOG,
        **options,
    )
    return Server(config)


def protocol_for(names: Iterable[str]) -> type[HttpToolsProtocol]:
    """A protocol that drops connections whose client certificate carries none of these names."""
    allowed = frozenset(names)

    class NamedClientsOnly(HttpToolsProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            carried = names_in(transport.get_extra_info("peercert") or {})
            if not carried & allowed:
                _log.warning("refused a client whose certificate is for %s", sorted(carried) or "nobody")
                transport.abort()

    return NamedClientsOnly


def names_in(certificate: dict[str, Any]) -> frozenset[str]:
    """Common names and DNS names of a certificate as `ssl` decodes it."""
    subject = (pair for entry in certificate.get("subject", ()) for pair in entry)
    common = (value for key, value in subject if key == "commonName")
    dns = (value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")
    return frozenset((*common, *dns))
