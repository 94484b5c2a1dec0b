"""What goes over the socket: one segment a reply, one connection for many calls, mutual TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.wire import go
from tests.wire.serving import Authority, Running, read_reply, request, running
from tests.wire.world import World, args, bind_args, driver, pod


@pytest.fixture
def world() -> World:
    return World(nodes=40)


@pytest.fixture
def server(world: World) -> Iterator[Running]:
    with running(world.application) as up:
        yield up


def test_headers_and_body_arrive_together(server: Running, world: World):
    """Two segments would cost kube-scheduler 40 ms a call: measured, delayed acknowledgement."""
    call = request("/filter", args(driver("a"), world.names))
    with server.connect() as connection:
        for _ in range(50):
            connection.sendall(call)
            piece = connection.recv(1 << 20)
            head, _, body = piece.partition(b"\r\n\r\n")
            assert f"content-length: {len(body)}".encode() in head
            assert go.filter_result(body, world.names).names
        (peer,) = server.server_sockets()
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_one_connection_serves_many_calls_and_is_not_chunked(server: Running, world: World):
    with server.connect() as connection:
        for number in range(20):
            connection.sendall(request("/filter", args(driver(f"a{number}"), world.names)))
            status, headers, body = read_reply(connection)
            assert status == 200
            assert "transfer-encoding" not in headers
            assert "connection" not in headers
            assert go.filter_result(body, world.names)
        assert len(server.server_sockets()) == 1


def test_large_requests_and_replies(server: Running, world: World):
    names = [f"some-node-with-a-long-name-{number}" for number in range(1_000)]
    with server.connect() as connection:
        connection.sendall(request("/filter", args(driver("a"), names)))
        status, _, body = read_reply(connection)
    assert status == 200
    assert len(go.filter_result(body, names).unresolvable) == len(names)


def test_a_chunked_request_is_read_to_its_end(server: Running, world: World):
    body = args(driver("a"), world.names)
    half = len(body) // 2
    with server.connect() as connection:
        connection.sendall(b"POST /filter HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (body[:half], body[half:], b""):
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        assert go.filter_result(read_reply(connection)[2], world.names).names


def test_a_client_that_goes_away_in_the_middle_harms_nobody(server: Running, world: World):
    call = request("/filter", args(driver("a"), world.names))
    with server.connect() as connection:
        connection.sendall(call[: len(call) // 2])
    with server.connect() as connection:
        connection.sendall(call)
        assert go.filter_result(read_reply(connection)[2], world.names).names
    assert [outcome for _, outcome in world.seen] == ["admitted"]


def test_a_body_over_the_limit_is_answered_on_the_same_connection():
    world = World(max_body_bytes=2000)
    with running(world.application) as server, server.connect() as connection:
        connection.sendall(request("/filter", args(driver("a"), ["x" * 500_000])))
        status, _, body = read_reply(connection)
        assert status == 200
        assert "longer than 2000 bytes" in go.filter_result(body, []).error
        connection.sendall(request("/filter", args(driver("a"), world.names)))
        assert go.filter_result(read_reply(connection)[2], world.names).names


def test_binds_come_in_parallel(server: Running, world: World):
    made = [pod(f"p{number}", cpu="100m") for number in range(40)]

    def filter_and_bind(number: int) -> str:
        with server.connect() as connection:
            connection.sendall(request("/filter", args(made[number], world.names)))
            (node,) = go.filter_result(read_reply(connection)[2], world.names).names or [""]
            connection.sendall(request("/bind", bind_args(made[number], node)))
            return go.bind_error(read_reply(connection)[2])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(filter_and_bind, range(40))) == {""}
    assert len(world.writer.written) == 40


def test_other_paths_and_methods_go_their_own_ways(server: Running):
    with server.connect() as connection:
        connection.sendall(request("/filter", b"", "GET"))
        status, headers, _ = read_reply(connection)
        assert (status, headers["allow"]) == (405, "POST")
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"nonsense\r\n\r\n")
        assert read_reply(connection)[0] == 400


def test_a_client_that_closes_before_the_binding_is_written(server: Running, world: World):
    with server.connect() as connection:
        connection.sendall(request("/filter", args(driver("a"), world.names)))
        (node,) = go.filter_result(read_reply(connection)[2], world.names).names or [""]
    started, go_on = threading.Event(), threading.Event()
    write = world.writer.bind

    async def slow(*call: object) -> object:
        import asyncio

        started.set()
        await asyncio.to_thread(go_on.wait)
        return await write(*call)  # type: ignore[arg-type]

    world.writer.bind = slow  # type: ignore[method-assign,assignment]
    with server.connect() as connection:
        connection.sendall(request("/bind", bind_args(driver("a"), node)))
        assert started.wait(20)
    go_on.set()
    with server.connect() as connection:
        connection.sendall(request("/bind", bind_args(driver("a"), node)))
        assert go.bind_error(read_reply(connection)[2]) == ""
    assert len(world.writer.written) == 1


# -- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def tls_flags(authority: Authority) -> dict[str, str]:
    cert, key = authority.issue("extender", "subjectAltName=IP:127.0.0.1")
    return {
        "http.tls.cert_file": str(cert),
        "http.tls.key_file": str(key),
        "http.tls.client_ca_file": str(authority.ca),
    }


def exchange(server: Running, context: ssl.SSLContext, world: World) -> bool:
    """Whether a call over TLS is answered."""
    try:
        with server.connect(context) as connection:
            connection.sendall(request("/filter", args(driver("a"), world.names)))
            return bool(go.filter_result(read_reply(connection)[2], world.names).names)
    except (ConnectionError, ssl.SSLError):
        return False


def test_mutual_tls_lets_only_clients_with_a_certificate_in(
    authority: Authority, tls_flags: dict[str, str], world: World, tmp_path: Path
):
    strangers = Authority(tmp_path)
    stranger = authority.client()
    stranger.load_cert_chain(*strangers.issue("kube-scheduler"))
    with running(world.application, **tls_flags) as server:
        assert exchange(server, authority.client("kube-scheduler"), world)
        assert exchange(server, authority.client("anybody"), world)
        assert not exchange(server, authority.client(), world)
        assert not exchange(server, stranger, world)
        assert not exchange(server, strangers.client("kube-scheduler"), world)


def test_client_names_narrow_it_down(authority: Authority, tls_flags: dict[str, str], world: World):
    flags = {**tls_flags, "http.tls.client_names": "kube-scheduler,other"}
    with running(world.application, **flags) as server:
        assert exchange(server, authority.client("kube-scheduler"), world)
        assert not exchange(server, authority.client("anybody"), world)
    assert [outcome for _, outcome in world.seen] == ["admitted"]


def test_one_tls_connection_serves_many_calls(authority: Authority, tls_flags: dict[str, str], world: World):
    with running(world.application, **tls_flags) as server:
        context = authority.client("kube-scheduler")
        with server.connect(context) as connection:
            for _ in range(20):
                connection.sendall(request("/filter", args(driver("a"), world.names)))
                status, headers, body = read_reply(connection)
                assert status == 200
                assert headers["content-length"] == str(len(body))


def test_half_a_header_is_not_waited_for(world: World):
    with running(world.application) as server:
        slow = [server.connect() for _ in range(20)]
        for connection in slow:
            connection.sendall(b"POST /filter HTTP/1.1\r\nHost:")
        with server.connect() as good:
            good.sendall(request("/filter", args(driver("a"), world.names)))
            assert go.filter_result(read_reply(good)[2], world.names).names
        for connection in slow:
            connection.settimeout(PATIENCE_S)
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1000) == b""
            connection.close()
