"""What the API needs to know of the service around the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """How one watch is doing. `last_event_s` is seconds since the epoch, None before the first list."""

    name: str
    synced: bool
    connected: bool
    last_event_s: float | None
    restarts: int
    lists: int
    skipped: int
    last_problem: str


class ServiceHealth(Protocol):
    """The running service as probes and metrics see it."""

    def caches(self) -> Sequence[CacheHealth]:
        """Its watches."""
        ...

    def binds_under_way(self) -> int:
        """Bindings being written."""
        ...

    def annotations_waiting(self) -> int:
        """Pods whose annotations are not written yet."""
        ...
