"""The Kubernetes API as plain HTTP: bytes in, bytes out, typed errors."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from extender.adapters.kubernetes.credentials import Credentials, anonymous, from_kubeconfig, in_cluster
from extender.adapters.kubernetes.patience import Patience
from extender.objects.structs import DECODE_ERRORS, decode_status

LONGEST_LINE: Final = 64 * 1024 * 1024
"""A watch line longer than this is no Kubernetes object (etcd takes 1.5 MB)."""

UNREADABLE: Final = "Unreadable"
"""Reason of an `ApiError` for an answer that is not what the API server should send."""

_JSON: Final = "application/json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"

Params = Mapping[str, str | int]


class ApiError(Exception):
    """A request the API server refused or never answered.

    `status` is the HTTP status, 0 when there was none: connection failed, cut, or timed out; whether
    the request took effect is then unknown. `reason` is the API's machine-readable reason (`Conflict`,
    `Expired`, ...), or `Unreachable` or `Timeout` with status 0.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status or 'no answer'} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def expired(self) -> bool:
        """Whether a resource version or continue token is too old, so that a new list is needed."""
        return self.status == 410

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have taken effect although it failed."""
        return self.status == 0 or self.status >= 500


class ApiClient:
    """One API server. Use as an asynchronous context manager, or call `close`.

    A request waits for its answer as long as `patience` says, which follows the answers, or the `timeout_s`
    it is called with; `connect_s` bounds its connection; watches are bounded by silence.
    """

    def __init__(
        self, credentials: Credentials, *, patience: Patience | None = None, connect_s: float = 5.0
    ) -> None:
        self._credentials = credentials
        self._patience = patience or Patience()
        self._connect_s = connect_s
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"ApiClient(host={self._credentials.host!r})"

    @classmethod
    async def from_kubeconfig(cls, path: Path | str | None = None, context: str | None = None) -> Self:
        """A client with the credentials of a kubeconfig file."""
        return cls(await from_kubeconfig(path, context))

    @classmethod
    async def in_cluster(cls) -> Self:
        """A client with the service account of the pod we run in."""
        return cls(await in_cluster())

    @classmethod
    async def anonymous(cls, host: str) -> Self:
        """A client without credentials."""
        return cls(await anonymous(host))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, params: Params | None = None, *, timeout_s: float | None = None) -> bytes:
        """Body of a GET. Raises `ApiError`."""
        return await self._request("GET", path, params, timeout_s=timeout_s)

    async def post(self, path: str, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """Body of the answer to a POST of JSON. Raises `ApiError`."""
        return await self._request("POST", path, None, body, _JSON, timeout_s)

    async def patch(
        self, path: str, body: bytes, *, strategic: bool = False, timeout_s: float | None = None
    ) -> bytes:
        """Body of the answer to a JSON merge patch, or to a strategic one. Raises `ApiError`.

        A strategic merge patch takes one element out of a list by its name.
        """
        kind = _STRATEGIC_PATCH if strategic else _MERGE_PATCH
        return await self._request("PATCH", path, None, body, kind, timeout_s)

    async def delete(self, path: str, *, timeout_s: float | None = None) -> bytes:
        """Body of the answer to a DELETE. Raises `ApiError`."""
        return await self._request("DELETE", path, None, None, None, timeout_s)

    @asynccontextmanager
    async def stream_chunks(
        self, path: str, params: Params | None = None, *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a GET whose body is read as it arrives; entering means the server answered 200.

        A stream that is silent for `silence_s` is cut with an `ApiError` (status 0, `Timeout`).
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s, sock_read=silence_s)
        try:
            async with await self._send("GET", path, params, None, None, timeout) as response:
                yield response.content.iter_any()
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise _unanswered(problem) from problem

    @asynccontextmanager
    async def stream_lines(
        self, path: str, params: Params | None = None, *, silence_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """As `stream_chunks`, line by line. An unfinished last line is dropped: a watch resumes before it."""
        async with (
            self.stream_chunks(path, params, silence_s=silence_s) as chunks,
            aclosing(_lines(chunks)) as lines,
        ):
            yield lines

    async def _request(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: bytes | None = None,
        content_type: str | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        within_s = timeout_s if timeout_s is not None else self._patience.timeout_s
        timeout = aiohttp.ClientTimeout(total=within_s, sock_connect=min(self._connect_s, within_s))
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            async with await self._send(method, path, params, body, content_type, timeout) as response:
                answer = await response.read()
        except ApiError:
            self._patience.answered(clock() - began_s)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            if isinstance(problem, TimeoutError) and timeout_s is None:
                self._patience.ran_out(within_s)
            raise _unanswered(problem) from problem
        self._patience.answered(clock() - began_s)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: bytes | None,
        content_type: str | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own kind of timeout
    ) -> aiohttp.ClientResponse:
        """Send, once more with a fresh token after a 401; return the response if its status is good."""
        header = await self._credentials.authorization()
        response = await self._send_once(method, path, params, body, content_type, timeout, header)
        if response.status == 401 and header is not None:
            fresh = await self._credentials.authorization(refused=header)
            if fresh != header:
                response.release()
                response = await self._send_once(method, path, params, body, content_type, timeout, fresh)
        if response.status >= 300:
            async with response:
                raise _refusal(response, await response.read())
        return response

    async def _send_once(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: bytes | None,
        content_type: str | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
        authorization: str | None,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": _JSON, "Accept-Encoding": "identity"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        if authorization is not None:
            headers["Authorization"] = authorization
        return await self._open_session().request(
            method,
            self._credentials.host + path,
            params=params,
            data=body,
            headers=headers,
            timeout=timeout,
            proxy=self._credentials.proxy,
            server_hostname=self._credentials.server_hostname,
            allow_redirects=False,
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = self._credentials.ssl_context()
            connector = aiohttp.TCPConnector(
                ssl=context if context is not None else True,
                limit=0,
                keepalive_timeout=30.0,
                socket_factory=_socket_that_notices_silence,
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=1 << 20
            )
        return self._session


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Split a stream into lines of any length; aiohttp's own reader has a limit pods can exceed."""
    unfinished: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        unfinished.append(first)
        size += len(first)
        if rest:
            yield b"".join(unfinished)
            for line in rest[:-1]:
                yield line
            unfinished, size = [rest[-1]], len(rest[-1])
        if size > LONGEST_LINE:
            raise ApiError(0, UNREADABLE, f"a line of the watch is longer than {LONGEST_LINE} bytes")


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    reason, message = response.reason or "Unknown", ""
    try:
        status = decode_status(body)
        reason, message = status.reason or reason, status.message or ""
    except DECODE_ERRORS:
        pass
    if not message:
        message = body[:200].decode("utf-8", "replace").strip() or "no message"
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
    return ApiError(response.status, reason, message, retry_after_s=seconds)


def _unanswered(problem: Exception) -> ApiError:
    reason = "Timeout" if isinstance(problem, TimeoutError) else "Unreachable"
    return ApiError(0, reason, f"{type(problem).__name__}: {problem}".rstrip(": "))


def _socket_that_notices_silence(address: Any) -> socket.socket:
    """A TCP socket with keep-alive probes, so that a peer that vanished is noticed within a minute."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made


def error_of(status_body: bytes) -> ApiError:
    """The error a watch reports in an ERROR event, whose object is a `Status`."""
    try:
        status = decode_status(status_body)
    except DECODE_ERRORS:
        return ApiError(0, UNREADABLE, "the watch reported an error that is not a Status")
    return ApiError(status.code or 0, status.reason or "Unknown", status.message or "")
