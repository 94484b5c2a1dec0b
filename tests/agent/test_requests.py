"""A request has an end, whatever the other side does with it."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from extender.adapters.spark.agent import sitecustomize as agent
from tests.agent.rig import ENVIRON, JOB, Rig, Wishes
from tests.patience import PATIENCE_S
from tests.wire.serving import Authority

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LIMIT_S = 0.2


@contextmanager
def server(talk: Callable[[socket.socket, Event], None]) -> Iterator[str]:
    """The address of one that does `talk(connection, over)` with its first client."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(PATIENCE_S)
                    talk(connection, over)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def read_request(connection: socket.socket) -> bytes:
    """All of it: headers and body come apart, and who closes before it has read cuts its answer off."""
    data = connection.recv(1 << 16)
    while data.startswith(b"POST") and not data.endswith(b"}") and (more := connection.recv(1 << 16)):
        data += more
    return data


def answering(*pieces: bytes, again: bytes = b"", pause_s: float = 0.0) -> Callable[[Any, Event], None]:
    """Reads something, answers the pieces, then `again` and again."""

    def talk(connection: socket.socket, over: Event) -> None:
        read_request(connection)
        for piece in pieces:
            connection.sendall(piece)
        while again and not over.wait(pause_s):
            connection.sendall(again)
        if not again and pause_s:
            over.wait(20)

    return talk


def settings(url: str) -> Any:
    return agent.Settings({**ENVIRON, "CARBON_SCHEDULER_URL": url})


def request(url: str, limit_s: float = LIMIT_S) -> tuple[int, bytes]:
    return agent.post(settings(url), "/v1", b'{"events": []}', limit_s)


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}",),
        (HEAD + b"\r\n", b"{}"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"Content-Length: 2\r\n\r\n{}"),
    ],
)
def test_answers_in_every_form_of_http_are_read(pieces: tuple[bytes, ...]) -> None:
    with server(answering(*pieces)) as url:
        assert request(url, 20) == (200, b"{}")


def test_an_answer_that_says_its_length_is_not_waited_for_longer() -> None:
    with server(answering(HEAD + b"Content-Length: 2\r\n\r\n{}", pause_s=20)) as url:
        assert request(url, 20) == (200, b"{}")


DRIPS = {
    "nothing": answering(pause_s=20),
    "status line": answering(b"HTTP/1.1 ", again=b"2", pause_s=0.01),
    "header": answering(HEAD + b"X: ", again=b"x", pause_s=0.01),
    "headers": answering(HEAD, again=b"X: x\r\n", pause_s=0.01),
    "continue": answering(again=b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.01),
    "body": answering(HEAD + b"Content-Length: 1000\r\n\r\n", again=b" ", pause_s=0.01),
    "body without a length": answering(HEAD + b"\r\n", again=b" ", pause_s=0.01),
    "chunks": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", again=b"1\r\n \r\n", pause_s=0.01),
    "chunk size": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", again=b"0", pause_s=0.01),
    "trailers": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", again=b"X: x\r\n", pause_s=0.01),
}
FLOODS = {
    "body": answering(HEAD + b"\r\n", again=b" " * 65_536),
    "longer than allowed": answering(HEAD + b"Content-Length: 1000000\r\n\r\n", again=b" " * 65_536),
    "chunks": answering(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", again=b"8\r\n        \r\n" * 5_000),
    "header": answering(HEAD + b"X: ", again=b"x" * 65_536),
    "headers": answering(HEAD, again=b"X: x\r\n" * 10_000),
    "continue": answering(again=b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000),
}


@pytest.mark.parametrize("talk", DRIPS.values(), ids=DRIPS)
def test_what_drips_moves_no_end(talk: Callable[[Any, Event], None]) -> None:
    with server(talk) as url, pytest.raises(TimeoutError):
        request(url)


@pytest.mark.parametrize("talk", FLOODS.values(), ids=FLOODS)
def test_an_answer_without_end_has_one(talk: Callable[[Any, Event], None]) -> None:
    """By its size: the end in time is far away."""
    with server(talk) as url, pytest.raises(Exception, match=r"too long|more than"):
        request(url, 1000)


def test_a_handshake_that_drips_has_an_end() -> None:
    talk = answering(b"\x16\x03\x03\x40\x00", again=b"\x02", pause_s=0.01)
    with server(talk) as url, pytest.raises(OSError, match="timed out"):
        request(url.replace("http:", "https:"))


def test_an_extender_that_does_not_read_has_an_end() -> None:

    def talk(_connection: socket.socket, over: Event) -> None:
        over.wait(20)

    with server(talk) as url, pytest.raises(TimeoutError):
        agent.post(settings(url), "/v1", b" " * (64 << 20), LIMIT_S)


def test_a_port_that_nobody_answers_at_has_an_end() -> None:
    """A full queue of connections drops the next handshake."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            each.connect_ex(address)
            waiting.append(each)
        with pytest.raises(TimeoutError):
            request(f"http://127.0.0.1:{address[1]}")
        for each in waiting:
            each.close()


def test_authorities_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    first, second = Authority(tmp_path), Authority(tmp_path / "new")
    mounted = tmp_path / "ca.crt"
    mounted.write_bytes(first.ca.read_bytes())
    context = agent._tls_context(str(mounted))
    assert agent._tls_context(str(mounted)) is context
    mounted.write_bytes(second.ca.read_bytes())
    os.utime(mounted, ns=(1, 1))
    renewed = agent._tls_context(str(mounted))
    assert renewed.get_ca_certs() != context.get_ca_certs()


def test_a_missing_authority_is_a_request_that_failed_and_no_more(tmp_path: Path) -> None:
    """The ConfigMap with it is optional. Nothing is said to an extender that nobody vouches for."""
    heard: list[bytes] = []

    def talk(connection: socket.socket, _over: Event) -> None:
        heard.append(read_request(connection))

    wishes = Wishes()
    rig = Rig(wishes)
    rig.agent.put("JobStart", JOB)
    rig.agent._send = agent.post
    with server(talk) as url:
        rig.agent.settings.url = url.replace("http:", "https:")
        rig.agent.settings.ca_file = str(tmp_path / "ca.crt")
        rig.later(0)
    assert not any(heard)
    assert rig.agent.active
    assert not rig.agent.healthy
    assert (len(rig.agent.updates), rig.agent.updates.dropped) == (1, 0)
    assert wishes.wishes == []


@pytest.mark.parametrize("named", [True, False])
def test_only_a_token_that_is_named_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """The account's own opens the Kubernetes API."""
    (tmp_path / "token").write_text("secret")
    monkeypatch.setattr(agent, "_ACCOUNT", f"{tmp_path}/")
    heard: list[bytes] = []

    def talk(connection: socket.socket, _over: Event) -> None:
        heard.append(read_request(connection))
        connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")

    token = {"CARBON_SCHEDULER_TOKEN_FILE": str(tmp_path / "token")} if named else {}
    with server(talk) as url:
        environ = {**ENVIRON, **token, "CARBON_SCHEDULER_URL": url}
        assert agent.post(agent.Settings(environ), "/v1", b"{}", 20) == (200, b"{}")
    assert heard[0].count(b"Authorization: Bearer secret") == named
    assert heard[0].count(b"Authorization") == named


EXCHANGE = """
import sys
import sitecustomize as agent
agent.Agent.run = lambda agent: None
agent._listen = lambda context, settings: agent.Agent(settings, "spark-1", str)
class Context:
    _jsc, applicationId = "a JVM", "spark-1"
attached = agent.attach(Context)
known = set(sys.modules)
attached.put("JobStart", '{"Job ID": 1, "Submission Time": 2}')
attached.step()
print(attached.healthy, sorted(set(sys.modules) - known))
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_request_imports_nothing(scheme: str, tmp_path: Path) -> None:
    """A process forked while a thread imports something could never import it."""
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.issue("server", "subjectAltName=IP:127.0.0.1"))

    def talk(connection: socket.socket, over: Event) -> None:
        secure = scheme == "https"
        with tls.wrap_socket(connection, server_side=True) if secure else connection as wrapped:
            answering(HEAD + b"Content-Length: 2\r\n\r\n{}")(wrapped, over)

    with server(talk) as url:
        done = subprocess.run(
            [sys.executable, "-c", EXCHANGE],
            env={
                **ENVIRON,
                "PYTHONPATH": str(Path(agent.__file__).parent),
                "CARBON_SCHEDULER_URL": url.replace("http:", f"{scheme}:"),
                "CARBON_SCHEDULER_CA_FILE": str(authority.ca),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert (done.stdout, done.stderr) == ("True []\n", "")


def test_a_bad_token_is_named_by_its_file_only(tmp_path: Any) -> None:
    token = tmp_path / "token"
    token.write_text("sec\nret")
    environ = {**ENVIRON, "CARBON_SCHEDULER_TOKEN_FILE": str(token)}
    with pytest.raises(ValueError, match="no token in") as caught:
        agent.post(agent.Settings(environ), "/v1", b"{}")
    assert "ret" not in str(caught.value).replace(str(token), "")


class Hanging:
    """A request that ends when it is let go, as one to a resolver that does not answer."""

    def __init__(self) -> None:
        self.go = Event()
        self.count = 0

    def __call__(self, *_request: Any) -> tuple[int, bytes]:
        self.count += 1
        assert self.go.wait(20)
        return 200, b"{}"


def test_a_request_that_hangs_holds_nobody_and_is_the_only_one() -> None:
    hanging = Hanging()
    courier = agent.Courier(hanging, patience_s=0.01)
    for words in ("the request hangs", "earlier request hangs"):
        with pytest.raises(TimeoutError, match=words):
            courier("request")
    hanging.go.set()
    assert courier._thread is not None
    courier._thread.join()
    assert agent.Courier(hanging)("request") == (200, b"{}")
    assert hanging.count == 2


def test_what_a_request_raises_comes_back() -> None:
    def refused(_request: str) -> tuple[int, bytes]:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(ConnectionRefusedError, match="nobody there"):
        agent.Courier(refused)("request")


def test_steering_ends_in_time_while_a_request_hangs() -> None:
    wishes = Wishes()
    rig = Rig(wishes)
    rig.network.answer = (200, b'{"target_executors": 4}')
    rig.later(0)
    hanging = Hanging()
    rig.agent._send = agent.Courier(hanging, patience_s=0.01)
    for _ in range(61):
        rig.later(1)
    hanging.go.set()
    assert wishes.wishes[0]["target_executors"] == 4
    assert wishes.wishes[-1] == {}
    assert hanging.count == 1


def test_the_bounds_of_a_request_are_well_within_the_lease() -> None:
    assert agent._REQUEST_S < agent._PATIENCE_S < agent._STEERING_LEASE_S / 10
