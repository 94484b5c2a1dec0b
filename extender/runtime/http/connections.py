"""Connections of clients that are not to be trusted: so many, each in so much time.

uvicorn reads the header of a request through httptools however long that takes and however large it is, and
hears of a TLS client only once the handshake is over. A client that connects and says nothing would keep a
descriptor for ever, of those that the webhooks need too. So connections are counted as they are accepted
(`server.LimitedServer`), and this protocol looks at the clock.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from extender.support.seldom import SeldomLogger

_SHARE: Final = 4  # at most this part of the descriptors is for these connections

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a client.

    `port` is the setting that opens it, for the log. `connections` are all, and `of_one_address`. A header
    arrives within `head_s` seconds and has at most `head_bytes`; a request and its answer take at most
    `request_s` and `request_bytes`, with the header and what chunks need. A connection may wait `idle_s` for
    the next request.
    """

    port: str
    connections: int
    of_one_address: int
    request_bytes: int
    head_bytes: int = 32 * 1024
    head_s: float = 5.0
    request_s: float = 20.0
    idle_s: float = 5.0

    def within(self, descriptors: int) -> Limits:
        """These limits, or lower ones where the process may not open many files."""
        share = max(1, descriptors // _SHARE)
        if self.connections <= share:
            return self
        _log.warning(
            "%s: %d connections are accepted at a time, not %d: the process may open %d files (ulimit -n)",
            self.port,
            share,
            self.connections,
            descriptors,
        )
        return replace(self, connections=share, of_one_address=min(self.of_one_address, share))


def descriptors() -> int:
    """How many files and sockets this process may have open."""
    return os.sysconf("SC_OPEN_MAX")


class Guests:
    """Connections that are open, by address."""

    def __init__(self, limits: Limits, log: SeldomLogger) -> None:
        self._limits = limits
        self._log = log
        self._open: Counter[str] = Counter()
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def enter(self, address: str) -> bool:
        """Whether one more of this address is let in."""
        if self._number >= self._limits.connections:
            self._refused(address, f"{self._number} are open")
            return False
        if self._open[address] >= self._limits.of_one_address:
            self._refused(address, f"it has {self._open[address]} already")
            return False
        self._open[address] += 1
        self._number += 1
        return True

    def _refused(self, address: str, why: str) -> None:
        self._log.warning("refused a connection from %s to %s: %s", address, self._limits.port, why)

    def leave(self, address: str) -> None:
        """One of this address is closed."""
        self._number -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class _Phase(Enum):
    """Where a connection is: it waits for a request, reads its header, or the rest until it is answered."""

    IDLE = 0
    HEAD = 1
    REQUEST = 2


class ImpatientProtocol(HttpToolsProtocol):
    """One request after the other, each in its time and size. `lost` is set when the connection is closed.

    A client whose certificate carries none of `names` is not heard; without names any client is.
    """

    def __init__(
        self, limits: Limits, log: SeldomLogger, *, names: Iterable[str] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self._names = frozenset(names)
        self.logger = log  # pyright: ignore[reportAttributeAccessIssue]
        self.lost = asyncio.Event()
        self._limits = limits
        self._phase = _Phase.HEAD
        self._deadline: asyncio.TimerHandle | None = None
        self._read_bytes = 0
        self._read_all = False
        self._surplus = False

    # -- connection --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if self._names:
            carried = names_in(transport.get_extra_info("peercert") or {})
            if not carried & self._names:
                shown = ", ".join(sorted(carried)) or "no name"
                self.logger.warning("refused a client whose certificate is for %s", shown)
                transport.abort()
                return
        self._begin(_Phase.HEAD, self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._deadline is not None:
            self._deadline.cancel()
        self.lost.set()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return  # TLS hands over what it still has
        if self._phase is _Phase.IDLE:
            self._read_bytes = 0
            self._begin(_Phase.HEAD, self._limits.head_s)
        self._read_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase is _Phase.HEAD and self._read_bytes > self._limits.head_bytes:
            self.send_400_response("The header of the request is too long.")
        elif self._read_bytes > self._limits.request_bytes:
            self._cut("it sends too much")

    def _begin(self, phase: _Phase, within_s: float) -> None:
        self._phase = phase
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(within_s, self._late)

    def _late(self) -> None:
        if self._phase is _Phase.IDLE:
            self.transport.abort()
        else:
            self._cut("it is too slow")

    def _cut(self, why: str) -> None:
        """Not `close`: that waits until the client has read all that is written."""
        address = self.client and self.client[0]
        self.logger.warning("closed a connection from %s to %s: %s", address, self._limits.port, why)
        self.transport.abort()

    # -- requests ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # Requests that come before the one under way is answered would pile up: they are left out, and the
        # client sees `Connection: close` and sends them again.
        self._surplus = self._phase is _Phase.REQUEST
        if self._surplus:
            self.cycle.keep_alive = False
            return
        self._read_all = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._surplus:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not _Phase.REQUEST:  # what comes later is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._surplus:
            return
        super().on_headers_complete()
        self._begin(_Phase.REQUEST, self._limits.request_s)

    def on_body(self, body: bytes) -> None:
        if not self._surplus:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._surplus:
            return
        super().on_message_complete()
        self._read_all = True
        if self.cycle.response_complete:
            self._rest()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._read_all:
            self._rest()

    def _unsupported_upgrade_warning(self) -> None:
        """The request is answered as if it had asked for no other protocol; there is nothing to install."""

    def _rest(self) -> None:
        """Until the next request. uvicorn closes the connection then; one that does not close is cut."""
        if not self.transport.is_closing():
            self._begin(_Phase.IDLE, self._limits.idle_s + self._limits.head_s)


def names_in(certificate: dict[str, Any]) -> frozenset[str]:
    """Common names and DNS names of a certificate as `ssl` decodes it."""
    subject = (pair for entry in certificate.get("subject", ()) for pair in entry)
    common = (value for key, value in subject if key == "commonName")
    dns = (value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS")
    return frozenset((*common, *dns))
