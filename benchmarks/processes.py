"""Programs of the benchmarks in processes of their own, and a client that adds little to what it measures."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT

_GRACE_S = 10.0
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Program:
    """A running program and the port it listens on."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


class ProgramFailed(Exception):
    """A program of the benchmarks did not start or answered something unexpected."""


@contextlib.contextmanager
def program(module: str, *arguments: str) -> Iterator[Program]:
    """Run `python -m benchmarks.MODULE`, which prints its port. It is gone afterwards.

    Raises:
        ProgramFailed: it ended before it listened; its error output went to ours.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # programs end when it closes, so that they never outlive a killed run
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdecimal():
            raise ProgramFailed(f"benchmarks.{module} did not start (said {line!r}); see its errors above")
        yield Program(process.pid, int(line))
    finally:
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process in 10^6 bytes, now and at its highest."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    )
    now, high = (int(fields[key].split()[0]) * 1024 / 1e6 for key in ("VmRSS", "VmHWM"))
    return now, high


class Connection:
    """One kept connection, one request at a time; reads bytes and decodes nothing that is timed."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(8 << 20)

    def post(self, path: str, body: bytes) -> tuple[float, memoryview]:
        """Seconds from the first byte sent to the last received, and the body (valid until the next call).

        Raises:
            ProgramFailed: the status is not 200 or the server hung up.
        """
        return self._call("POST", path, body)

    def get(self, path: str) -> tuple[float, memoryview]:
        """As `post`, for a GET."""
        return self._call("GET", path, b"")

    def text(self, path: str) -> str:
        """The body of a GET."""
        return bytes(self.get(path)[1]).decode()

    def _call(self, method: str, path: str, body: bytes) -> tuple[float, memoryview]:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)
        view = memoryview(self._buffer)
        began_s = time.perf_counter()
        self._socket.sendall(request)
        size, start, end = 0, 0, -1
        while end < 0 or size < end:
            read = self._socket.recv_into(view[size:])
            if not read:
                raise ProgramFailed(f"{path}: the server closed the connection")
            size += read
            if end < 0 and (at := self._buffer.find(b"\r\n\r\n", 0, size)) >= 0:
                start = at + 4
                end = start + _content_length(bytes(view[:at]))
        took_s = time.perf_counter() - began_s
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            raise ProgramFailed(f"{path}: {bytes(view[:end])!r}")
        return took_s, view[start:end]

    def json(self, path: str, body: bytes) -> tuple[float, Any]:
        """As `post`, the reply decoded (outside the measured time)."""
        took_s, reply = self.post(path, body)
        return took_s, json.loads(bytes(reply))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ProgramFailed("the reply has no Content-Length")
