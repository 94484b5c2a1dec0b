"""The extender as kube-scheduler calls it: JSON over HTTP, one connection kept open, latencies noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import msgspec

from extender.lab.registry import POD, Object, encode, typed


class ExtenderError(Exception):
    """A call that failed or was answered with an error; kube-scheduler retries after a while."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """Reply to filter: the nodes that passed, and the reason of the others (empty when there is none)."""

    names: Sequence[str]
    reason: str


class ExtenderClient:
    """Calls one extender. `latencies_s` collects, by verb, how long it took from call to decoded reply."""

    def __init__(
        self, url: str, *, timeout_s: float = 5.0, timer: Callable[[], float] = time.perf_counter
    ) -> None:
        self.latencies_s: dict[str, list[float]] = {"filter": [], "prioritize": [], "bind": []}
        self._url = url.rstrip("/")
        self._timer = timer
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def filter(self, pod: Object, names: Sequence[str]) -> Filtered:
        """The nodes on which the extender lets the pod run. Raises `ExtenderError`."""
        reply = await self._call("filter", {"Pod": typed(POD, pod), "Nodes": None, "NodeNames": names})
        if reply.get("Error"):
            raise ExtenderError(str(reply["Error"]))
        passed = set(reply.get("NodeNames") or ())
        reasons = {**(reply.get("FailedNodes") or {}), **(reply.get("FailedAndUnresolvableNodes") or {})}
        return Filtered([name for name in names if name in passed], next(iter(reasons.values()), ""))

    async def prioritize(self, pod: Object, names: Sequence[str]) -> Mapping[str, int]:
        """A score for each node. Raises `ExtenderError`."""
        body = {"Pod": typed(POD, pod), "Nodes": None, "NodeNames": names}
        return {each["Host"]: int(each["Score"]) for each in await self._call("prioritize", body)}

    async def bind(self, pod: Object, node: str) -> None:
        """Let the extender bind the pod. Raises `ExtenderError`."""
        metadata = pod["metadata"]
        body = {"PodName": metadata["name"], "PodNamespace": metadata["namespace"]}
        reply = await self._call("bind", {**body, "PodUID": metadata["uid"], "Node": node})
        if reply.get("Error"):
            raise ExtenderError(str(reply["Error"]))

    async def _call(self, verb: str, body: Mapping[str, Any]) -> Any:
        began_s = self._timer()
        try:
            async with self._session.post(
                f"{self._url}/{verb}", data=encode(body), headers={"Content-Type": "application/json"}
            ) as response:
                text = await response.read()
            if response.status != 200:
                raise ExtenderError(f"{verb}: the extender answered HTTP {response.status}")
            return msgspec.json.decode(text)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as problem:
            raise ExtenderError(f"{verb}: {type(problem).__name__}: {problem}".rstrip(": ")) from problem
        finally:
            self.latencies_s[verb].append(self._timer() - began_s)
