"""Connections to the drivers' port: counted, hurried, and never at the cost of the webhooks."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from extender.runtime.http.connections import Guests, ImpatientProtocol, Limits
from extender.runtime.http.server import LimitedServer
from extender.support.seldom import SeldomLogger
from tests.drivers.support import DIAMOND, TokenCluster, job, listening
from tests.patience import PATIENCE_S
from tests.service.cluster import executor
from tests.wire.serving import Authority

LIMITS = Limits("driver_port", connections=4, of_one_address=4, request_bytes=100_000, head_bytes=4_000)
HURRY = replace(LIMITS, head_s=0.1, request_s=0.2, idle_s=0.1)
GET = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Answers `ok`, the length of a body, or more than a socket takes. Counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        self.asked.append(path)
        size = 0
        while path == "/body" and (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        if path == "/crash":
            raise RuntimeError("as the test wants")
        answer = b"x" * 30_000_000 if path == "/large" else f"ok {size}".encode()
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer})


class Running:
    """A server, its application, and clients of it."""

    def __init__(self, server: LimitedServer, application: Application, stack: AsyncExitStack) -> None:
        self.server = server
        self.application = application
        self._stack = stack

    async def connect(
        self, source: str = "127.0.0.1", **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened = asyncio.open_connection("127.0.0.1", self.server.port, local_addr=(source, 0), **options)
        reader, writer = await asyncio.wait_for(opened, PATIENCE_S)
        self._stack.callback(writer.transport.abort)
        self._stack.callback(writer.close)
        return reader, writer

    async def alone(self) -> None:
        """Wait until all connections are closed."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self.server._serving)  # pyright: ignore[reportPrivateUsage]
        assert len(self.server.guests) == 0


@asynccontextmanager
async def running(limits: Limits, **options: Any) -> AsyncIterator[Running]:
    application = Application()
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        loop="none",
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
        **{"timeout_keep_alive": limits.idle_s, **options},
    )
    server = LimitedServer(config, limits)
    with server.bound_socket() as listener:
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.wait_for(server.listening.wait(), PATIENCE_S)
        async with AsyncExitStack() as stack:
            yield Running(server, application, stack)
        server.should_exit = True
        await asyncio.wait_for(serving, PATIENCE_S)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of one answer."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        return head, await reader.readexactly(int(length.partition(b":")[2]))


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server closes the connection."""
    read = b""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while piece := await reader.read(1 << 20):
                read += piece
        except ConnectionError:
            pass
    return read


async def test_what_is_beyond_the_limit_is_closed_unheard_and_let_in_once_there_is_room():
    async with running(LIMITS) as up:
        idle = [await up.connect() for _ in range(4)]
        beyond = [await up.connect() for _ in range(20)]
        for reader, writer in beyond:
            writer.write(GET)
            assert await rest(reader) == b""
        assert len(up.server.guests) == 4
        for reader, writer in idle:
            writer.write(GET)
            assert (await answer(reader))[1] == b"ok 0"
        assert len(up.application.asked) == 4
        idle[0][1].close()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                reader, writer = await up.connect()
                writer.write(GET)
                if await reader.read(1):
                    break


async def test_one_address_does_not_take_all_connections():
    async with running(replace(LIMITS, of_one_address=2)) as up:
        for _ in range(2):
            await up.connect()
        reader, writer = await up.connect()
        writer.write(GET)
        assert await rest(reader) == b""
        reader, writer = await up.connect("127.0.0.2")
        writer.write(GET)
        assert (await answer(reader))[1] == b"ok 0"


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET", GET[:-2]], ids=range(4))
async def test_a_header_that_does_not_come_ends_the_connection(begun: bytes):
    async with running(HURRY) as up:
        reader, writer = await up.connect()
        writer.write(begun)
        assert await rest(reader) == b""
        await up.alone()
        assert up.application.asked == []


@pytest.mark.parametrize("drop", [b"\r\n", b"x"], ids=["lines", "letters"])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "later"])
async def test_a_header_that_drips_ends_the_connection(before: bytes, drop: bytes):
    async with running(replace(HURRY, head_s=0.5)) as up:
        reader, writer = await up.connect()
        writer.write(before)
        if before:
            await answer(reader)

        async def drip() -> None:
            while True:
                writer.write(drop)
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert b"ok" not in await rest(reader)
        dripping.cancel()
        await up.alone()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX: " + b"y" * 9_000,
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 2_000,
        b"GET /" + b"a" * 9_000,
    ],
    ids=["long", "many", "path"],
)
async def test_a_header_that_is_too_long_is_refused(head: bytes):
    async with running(LIMITS) as up:
        reader, writer = await up.connect()
        writer.write(head)
        said = await rest(reader)
        assert said.startswith(b"HTTP/1.1 400")
        assert b"too long" in said
        assert up.application.asked == []


async def test_a_body_that_does_not_come_ends_the_connection():
    async with running(HURRY) as up:
        for path in (b"/body", b"/small"):  # read by the application, and left unread
            reader, writer = await up.connect()
            writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc")
            await rest(reader)
        await up.alone()


async def test_a_body_without_end_ends_the_connection():
    async with running(LIMITS) as up:
        reader, writer = await up.connect()
        writer.write(b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await answer(reader))[1] == b"ok 0"
        for _ in range(100):
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert await rest(reader) == b""
        await up.alone()


async def test_who_does_not_read_the_answer_is_cut():
    async with running(HURRY) as up:
        _, writer = await up.connect(limit=1)
        writer.write(GET.replace(b"small", b"large"))
        await up.alone()


async def test_who_waits_for_the_next_request_is_closed_and_served_in_between():
    async with running(replace(LIMITS, idle_s=1.0)) as up:
        reader, writer = await up.connect()
        for _ in range(3):
            writer.write(GET)
            assert (await answer(reader))[1] == b"ok 0"
        writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
        assert (await answer(reader))[1] == b"ok 50000"
        assert await rest(reader) == b""
        await up.alone()


async def test_requests_that_come_before_the_answer_are_left_out():
    async with running(LIMITS) as up:
        reader, writer = await up.connect()
        post = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
        writer.write(post + post.replace(b"abc", b"def") * 200 + GET * 200)
        head, body = await answer(reader)
        assert b"connection: close" in head
        assert body == b"ok 3"
        assert await rest(reader) == b""
        assert up.application.asked == ["/body"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nmore and more",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\n\r\n",
    ],
    ids=range(12),
)
async def test_what_is_no_request_of_ours_harms_nobody(nonsense: bytes, caplog: pytest.LogCaptureFixture):
    async with running(LIMITS) as up:
        for _ in range(20):
            reader, writer = await up.connect()
            writer.write(nonsense)
            writer.write_eof()
            await rest(reader)
        await up.alone()
        reader, writer = await up.connect()
        writer.write(GET)
        assert (await answer(reader))[1] == b"ok 0"
    assert len(caplog.records) <= 6
    assert not any(record.exc_info for record in caplog.records)


async def test_a_crash_is_told_once_with_its_trace(caplog: pytest.LogCaptureFixture):
    async with running(LIMITS) as up:
        for _ in range(5):
            reader, writer = await up.connect()
            writer.write(GET.replace(b"small", b"crash"))
            assert (await rest(reader)).startswith(b"HTTP/1.1 500")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "as the test wants" in caplog.text


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)})
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


PIECES = st.one_of(
    st.sampled_from(
        [
            GET,
            GET[:-3],
            b"\r\n",
            b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
            b"POST /small HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"3\r\nabc\r\n",
            b"0\r\n",
            b"Trailer: x\r\n\r\n",
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\nUpgrade: h2c\r\n",
            b"x" * 5_000,
        ]
    ),
    st.binary(max_size=20),
)


@given(st.lists(PIECES, max_size=12), st.integers(1, 5_000))
async def test_whatever_bytes_come_one_request_is_served_at_a_time(pieces: list[bytes], size: int):
    busy, most = 0, 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        try:
            await Application()(scope, receive, send)
        finally:
            busy -= 1

    log = SeldomLogger(logging.getLogger("test"))
    config = uvicorn.Config(application, loop="none", lifespan="off", ws="none", log_config=None)
    state = ServerState()
    protocol = ImpatientProtocol(LIMITS, log, config=config, server_state=state, app_state={})
    transport, sent = Transport(), b"".join(pieces)
    protocol.connection_made(transport)
    for start in range(0, len(sent), size):
        protocol.data_received(sent[start : start + size])
        await asyncio.sleep(0)
    for _ in range(3):
        await asyncio.sleep(0)
    for head in transport.written.split(b"HTTP/1.1 ")[1:]:
        assert head[:3] in (b"100", b"200", b"400")
    protocol.connection_lost(None)
    assert protocol.lost.is_set()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*state.tasks)
    assert (busy, most) in ((0, 0), (0, 1))
    assert not state.connections


# -- TLS ------------------------------------------------------------------------------------------------


async def test_a_tls_handshake_counts_and_has_little_time(tmp_path: Path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("extender", "subjectAltName=IP:127.0.0.1")
    options = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    trust = ssl.create_default_context(cafile=str(authority.ca))
    async with running(replace(LIMITS, head_s=2.0), **options) as up:
        silent = [await up.connect() for _ in range(3)]
        reader, writer = await up.connect(ssl=trust)
        writer.write(GET)
        assert (await answer(reader))[1] == b"ok 0"
        assert len(up.server.guests) == 4
        with pytest.raises((OSError, EOFError)):
            await up.connect(ssl=trust)
        for waiting, _ in silent:
            assert await rest(waiting) == b""
        plain, plainly = await up.connect()
        plainly.write(GET)
        assert b"ok" not in await rest(plain)
        again, writer = await up.connect(ssl=trust)
        writer.write(GET)
        assert (await answer(again))[1] == b"ok 0"


# -- the service ----------------------------------------------------------------------------------------


@contextmanager
def crowd(port: int, number: int) -> Iterator[list[socket.socket]]:
    """Clients that connect and say nothing."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in range(number)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def test_a_crowd_at_the_drivers_port_takes_nothing_from_the_webhooks(
    cluster: TokenCluster, names: list[str]
) -> None:
    flags = {"drivers.max_connections": "5", "drivers.max_connections_per_address": "5"}
    async with listening(cluster, names, "a", **flags) as (service, client, (driver,)):
        await driver.tell(1, job(0, *DIAMOND))
        server = service._servers[-1]  # pyright: ignore[reportPrivateUsage]
        assert isinstance(server, LimitedServer)
        with crowd(service.ports[-1], 100) as clients:
            for each in clients:
                each.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(PATIENCE_S):  # all but a few are closed at once
                await asyncio.gather(*(loop.sock_recv(each, 1) for each in clients[5:]))
            assert len(server.guests) <= 5
            assert (await client.get("/livez"))[0] == 200
            assert (await client.filter(executor("a", 1), names)).names
        async with asyncio.timeout(PATIENCE_S):
            while len(server.guests) >= 5:
                await client.get("/livez")
        await driver.tell(2)


async def test_a_crowd_at_the_port_of_the_api_takes_nothing_from_the_webhooks(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, http__api_port="0") as (service, client, _):
        server = service._servers[1]  # pyright: ignore[reportPrivateUsage]
        assert isinstance(server, LimitedServer)
        with crowd(server.port, server.limits.of_one_address + 20) as clients:
            for each in clients:
                each.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(
                    *(loop.sock_recv(each, 1) for each in clients[server.limits.of_one_address :])
                )
            assert len(server.guests) == server.limits.of_one_address
            assert (await client.filter(executor("a", 1), names)).error == ""
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, local_addr=("127.0.0.2", 0)
            )
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in await rest(reader)
            writer.close()


# -- limits ---------------------------------------------------------------------------------------------


def test_connections_are_a_share_of_the_files_that_may_be_open(caplog: pytest.LogCaptureFixture):
    asked = Limits("driver_port", 256, 32, request_bytes=1)
    assert asked.within(1024) is asked
    assert caplog.text == ""
    lowered = asked.within(100)
    assert (lowered.connections, lowered.of_one_address) == (25, 25)
    assert asked.within(2).connections == 1
    assert "ulimit -n" in caplog.text
    assert os.sysconf("SC_OPEN_MAX") > 0


def test_guests_are_counted_by_address():
    guests = Guests(Limits("driver_port", 3, 2, request_bytes=1), SeldomLogger(logging.getLogger("test")))
    assert [guests.enter(address) for address in "aaabb"] == [True, True, False, True, False]
    guests.leave("a")
    assert len(guests) == 2
    assert guests.enter("b")
    assert not guests.enter("c")


def test_what_clients_cause_is_said_seldom_and_counted(caplog: pytest.LogCaptureFixture):
    now = [0.0]
    log = SeldomLogger(logging.getLogger("test"), lambda: now[0])
    for number in range(1_000):
        log.warning("refused %s", number)
    log.error("refused %s", ValueError("x"), exc_info=ValueError("x"))
    log.debug("refused")
    now[0] = 60.0
    log.warning("refused %s", "again")
    assert [record.getMessage() for record in caplog.records] == [
        "refused 0",
        "refused x",
        "refused again (and 999 times before)",
    ]
