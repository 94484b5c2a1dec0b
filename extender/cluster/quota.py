"""The budget of executors as a ResourceQuota: pods above it are refused when they are created.

What the quota was before us stands in an annotation on it, so that it is restored on exit, and also by the
next start after a crash.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import msgspec

from extender.cluster.backoff import Sleep
from extender.cluster.client import ApiClient, ApiError

ORIGINAL: Final = "carbon-scheduler/original-hard"
"""Annotation: `spec.hard` as it was before us, as JSON; `null` if the quota is ours."""

INTERVAL_S: Final = 5.0
_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Share:
    """An amount of cpu (millicores) and memory (bytes)."""

    cpu_milli: int = 0
    memory_bytes: int = 0

    def times(self, count: int) -> Share:
        """That many of it."""
        return Share(self.cpu_milli * count, self.memory_bytes * count)

    def plus(self, other: Share) -> Share:
        """Both together."""
        return Share(self.cpu_milli + other.cpu_milli, self.memory_bytes + other.memory_bytes)

    @property
    def hard(self) -> dict[str, str]:
        """As `spec.hard` has it."""
        return {"cpu": f"{self.cpu_milli}m", "memory": str(self.memory_bytes)}


class CapQuota:
    """Keeps one ResourceQuota at `executor` times the budget, plus what drivers take.

    `budget` is the number of executors allowed now, None while there is no limit: the quota is then as it
    was before us. `drivers` is what drivers may take beside them.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        name: str,
        executor: Share,
        budget: Callable[[], int | None],
        drivers: Callable[[], Share],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._client = client
        self._collection = f"/api/v1/namespaces/{quote(namespace, safe='')}/resourcequotas"
        self._path = f"{self._collection}/{quote(name, safe='')}"
        self._namespace = namespace
        self._name = name
        self._executor = executor
        self._budget = budget
        self._drivers = drivers
        self._sleep = sleep
        self._written: dict[str, str] | None = None
        self._dirty = True
        self.last_problem = ""

    async def run(self) -> None:
        """Keep it up to date, for ever. Ends only by cancellation; call `restore` then."""
        while True:
            try:
                await self.keep()
                self.last_problem = ""
            except ApiError as problem:
                self._dirty, self._written = True, None
                if str(problem) != self.last_problem:
                    _log.warning("quota %s/%s: %s", self._namespace, self._name, problem)
                self.last_problem = str(problem)
            await self._sleep(INTERVAL_S)

    async def keep(self) -> None:
        """Write the quota if it must change. Raises `ApiError`."""
        allowed = self._budget()
        if allowed is None:
            if self._dirty:
                await self.restore()
            return
        wanted = self._executor.times(allowed).plus(self._drivers()).hard
        if wanted == self._written:
            return
        self._dirty = True
        found = await self._find()
        if found is None:
            body = {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": self._name, "annotations": {ORIGINAL: "null"}},
                "spec": {"hard": wanted},
            }
            await self._client.post(self._collection, _encode(body))
        else:
            patch: dict[str, Any] = {"spec": {"hard": wanted}}
            if ORIGINAL not in _annotations(found):
                before = (found.get("spec") or {}).get("hard") or {}
                patch["metadata"] = {"annotations": {ORIGINAL: json.dumps(before)}}
            await self._client.patch(self._path, _encode(patch))
        self._written = wanted

    async def restore(self) -> None:
        """Leave the quota as it was before us. Raises `ApiError`."""
        found = await self._find()
        text = _annotations(found).get(ORIGINAL) if found is not None else None
        if text is not None:
            before = _hard(text)
            if before is None:
                await self._client.delete(self._path)
            else:
                # A merge patch keeps what it does not name: keys of ours that were not there are taken out.
                hard = {"cpu": None, "memory": None} | before
                patch = {"metadata": {"annotations": {ORIGINAL: None}}, "spec": {"hard": hard}}
                await self._client.patch(self._path, _encode(patch))
        self._written, self._dirty = None, False

    async def _find(self) -> Mapping[str, Any] | None:
        try:
            return json.loads(await self._client.get(self._path))
        except ApiError as problem:
            if problem.status == 404:
                return None
            raise


def _annotations(found: Mapping[str, Any]) -> Mapping[str, str]:
    return (found.get("metadata") or {}).get("annotations") or {}


def _hard(text: str) -> dict[str, str | None] | None:
    try:
        before = json.loads(text)
    except ValueError:
        before = {}
    return None if before is None else before if isinstance(before, dict) else {}
