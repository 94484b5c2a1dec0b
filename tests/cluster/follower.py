"""A sink that keeps what it is told, and a reflector that feeds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from extender.adapters.kubernetes.client import ApiClient
from extender.adapters.kubernetes.reflector import Reflector
from extender.objects.structs import Pod, decode_pod
from tests.cluster.apiserver import PATHS, ApiServer, Object


class Mirror:
    """Pods by uid, as (name, node, resourceVersion)."""

    def __init__(self) -> None:
        self.pods: dict[str, tuple[str, str, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.lists = 0
        self._changed = asyncio.Event()

    def seen(self, item: Pod) -> None:
        assert item.metadata is not None
        assert item.spec is not None
        metadata = item.metadata
        uid = metadata.uid or ""
        self.pods[uid] = (metadata.name or "", item.spec.node_name or "", metadata.resource_version or "")
        self._note("seen", uid)

    def gone(self, key: str) -> None:
        self.pods.pop(key, None)
        self._note("gone", key)

    def listed(self) -> None:
        self.lists += 1
        self._note("listed", "")

    def _note(self, call: str, key: str) -> None:
        self.calls.append((call, key))
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a call after which the condition holds."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def until_same_as(self, server: ApiServer) -> None:
        await self.until(lambda: self.pods == truth(server))


def truth(server: ApiServer) -> dict[str, tuple[str, str, str]]:
    """What a mirror of the server's pods must hold."""

    def fields(obj: Object) -> tuple[str, str, str]:
        metadata = obj["metadata"]
        return metadata["name"], obj["spec"].get("nodeName", ""), metadata["resourceVersion"]

    return {each["metadata"]["uid"]: fields(each) for each in server.objects["pods"].values()}


class Naps:
    """Stands in for sleeping: returns at once and remembers for how long it should have been."""

    def __init__(self) -> None:
        self.asked_s: list[float] = []

    async def __call__(self, delay_s: float) -> None:
        self.asked_s.append(delay_s)
        await asyncio.sleep(0)


def reflector(client: ApiClient, mirror: Mirror, **options: Any) -> Reflector[Pod]:
    options.setdefault("sleep", Naps())
    options.setdefault("draw", lambda: 0.5)
    return Reflector(client, PATHS["pods"], decode_pod, mirror, name="pods", **options)


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Run something that ends only by cancellation."""
    task = asyncio.create_task(work.run())
    try:
        yield task
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
