"""The reason that kube-scheduler wrote on a pod, read when a person asks for it.

The watch does not keep it: kube-scheduler writes it at each try, and no decision depends on it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from extender.adapters.kubernetes.binding import pod_path
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.objects.structs import DECODE_ERRORS

FRESH_S: Final = 10.0
"""However often people ask, the API server is asked once in this time for a pod."""

_MOST_KEPT: Final = 256
_AT_ONCE: Final = 4
_PATIENCE_S: Final = 2.0


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    conditions: list[_Condition] = []


class _Pod(msgspec.Struct):
    status: _Status | None = None


_DECODER: Final = msgspec.json.Decoder(_Pod)


class PodConditions:
    """Answers `PodScheduled` messages; empty where there is none, or no answer comes in time."""

    def __init__(self, client: ApiClient, clock: Callable[[], float]) -> None:
        self._client = client
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def why_unscheduled(self, namespace: str, name: str) -> str:
        """kube-scheduler's message about a pod that waits. Never raises."""
        key = namespace, name
        async with self._turn:
            at_s, text = self._known.get(key, (float("-inf"), ""))
            if self._clock() - at_s < FRESH_S:
                return text
            text = await self._read(namespace, name)
            self._known[key] = self._clock(), text
            self._known.move_to_end(key)
            if len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
            return text

    async def _read(self, namespace: str, name: str) -> str:
        try:
            pod = _DECODER.decode(await self._client.get(pod_path(namespace, name), timeout_s=_PATIENCE_S))
        except (ApiError, *DECODE_ERRORS):
            return ""
        conditions = pod.status.conditions if pod.status is not None else []
        found = (
            each.message for each in conditions if each.type == "PodScheduled" and each.status == "False"
        )
        return next(found, "")
