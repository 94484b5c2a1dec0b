"""Instant queries to Prometheus' HTTP API. A failure is an answer, not an exception."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import msgspec

from extender.adapters.accounting.amounts import Missing

TIMEOUT_S: Final = 5.0
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Reply(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus (or Thanos, Mimir, VictoriaMetrics) that answers below `url`."""

    url: str
    session: aiohttp.ClientSession
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = TIMEOUT_S

    async def query(self, expression: str) -> list[Sample] | Missing:
        """The current vector of an expression. Series without a finite value are left out."""
        timeout = aiohttp.ClientTimeout(total=self.timeout_s)
        try:
            async with self.session.post(
                f"{self.url.rstrip('/')}/api/v1/query",
                data={"query": expression},
                headers=dict(self.headers),
                timeout=timeout,
            ) as response:
                body = await _limited(response)
                status = response.status
        except TimeoutError:
            return Missing(f"no answer from {self.url} within {self.timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            return Missing(f"{self.url}: {problem or type(problem).__name__}")
        if body is None:
            return Missing(f"{self.url}: an answer of more than {MOST_BYTES >> 20} MiB")
        return _samples(self.url, status, body)


async def _limited(response: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _samples(url: str, status: int, body: bytes) -> list[Sample] | Missing:
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Missing(f"{url}: HTTP {status} and no Prometheus answer; is this the address of its API?")
    if reply.status != "success" or reply.data is None:
        return Missing(f"{url}: HTTP {status}: {reply.error or reply.status}")
    if reply.data.result_type != "vector":
        return Missing(f"{url}: a {reply.data.result_type} instead of the requested vector")
    try:
        series = msgspec.json.decode(reply.data.result, type=list[_Series])
        samples = [Sample(each.metric, float(each.value[1])) for each in series]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return Missing(f"{url}: an unreadable vector")
    return [sample for sample in samples if math.isfinite(sample.value)]
