"""Requests to a provider. The result is a `Reply` or a `Fault`; keys reach neither logs nor texts."""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from carbon_api import times
from carbon_api.readings import Missing, Reason
from carbon_api.sources.base import Answer, SourceError

_LARGEST_BYTES: Final = 32 * 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024
_LONGEST_WAIT_S: Final = 86_400.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Fault:
    """No usable answer: why, the HTTP status if there was one, and the time until the next request."""

    missing: Missing
    status: int | None = None
    retry_after_s: float | None = None

    def answer(self) -> Answer:
        """The same as an answer without values."""
        return Answer(None, self.missing, self.retry_after_s)


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of an answer with status 200."""

    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The decoded JSON, or `Missing` if it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return Missing(Reason.UNREADABLE, "the answer is not JSON")


class Web:
    """Sends requests with a timeout and a size limit; opens its connections on first use."""

    def __init__(self, timeout_s: float = 20.0, wall: Callable[[], float] = time.time) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._wall = wall
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        auth: aiohttp.BasicAuth | None = None,
    ) -> Reply | Fault:
        """Send a GET. Redirects are not followed: they would carry the key to another host."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.get(
                url, params=params, headers=headers, auth=auth, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    return self._refused(reply.status, reply.headers.get("Retry-After"))
                body = bytearray()
                async for part in reply.content.iter_chunked(_CHUNK_BYTES):
                    body += part
                    if len(body) > _LARGEST_BYTES:
                        return Fault(Missing(Reason.UNREADABLE, "the answer is far too large"), 200)
                return Reply(bytes(body))
        except TimeoutError:
            return Fault(Missing(Reason.SOURCE_DOWN, "no answer in time"))
        # The texts of these exceptions can hold the URL, and with it a key: only the type is shown.
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return Fault(Missing(Reason.SOURCE_DOWN, f"no connection ({type(problem).__name__})"))

    def _refused(self, status: int, retry_after: str | None) -> Fault:
        if status == 401:
            reason = Reason.NO_CREDENTIALS
        elif status == 429:
            reason = Reason.RATE_LIMITED
        elif status >= 500:
            reason = Reason.SOURCE_DOWN
        else:
            reason = Reason.SOURCE_REFUSED
        wait_s = self._wait_s(retry_after)
        return Fault(Missing(reason, f"answered {status}"), status, wait_s)

    def _wait_s(self, retry_after: str | None) -> float | None:
        """Seconds of a Retry-After header, which is a number or an HTTP date."""
        if retry_after is None:
            return None
        try:
            wait_s = float(retry_after)
        except ValueError:
            try:
                wait_s = email.utils.parsedate_to_datetime(retry_after).timestamp() - self._wall()
            except (ValueError, TypeError, OverflowError):
                return None
        return min(max(wait_s, 0.0), _LONGEST_WAIT_S) if math.isfinite(wait_s) else None


def mapping(document: object) -> Mapping[str, Any]:
    """A JSON object as it is; an empty one in place of anything else."""
    return document if isinstance(document, dict) else {}


def objects(document: object, key: str) -> list[Mapping[str, Any]] | Missing:
    """The list of objects under a key of a JSON object; `Missing` if there is no such thing."""
    if isinstance(document, Missing):
        return document
    found = mapping(document).get(key)
    if not isinstance(found, list):
        return Missing(Reason.UNREADABLE, f"the answer has no list {key!r}")
    return [entry for entry in found if isinstance(entry, dict)]


def moment(raw: object) -> float:
    """Epoch seconds of a time in an answer; NaN if it is none, which no reading accepts."""
    try:
        return times.parse(raw)
    except ValueError:
        return math.nan


def base_url(url: str, with_key: bool) -> str:
    """A checked base URL without a trailing slash. A key travels over https, or stays on this machine.

    Raises `SourceError` for anything else.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise SourceError(f"url {url!r} cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise SourceError(f"url {url!r} must look like https://host/path")
    if parts.username or parts.password:
        raise SourceError("url must not hold credentials; name key files instead")
    if with_key and parts.scheme == "http" and host not in _LOOPBACK:
        raise SourceError(f"url {url!r} must begin with https://, because a key is sent")
    return url.rstrip("/")
