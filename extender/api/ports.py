"""What the API needs to know of the service around the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class CarbonSource:
    """How the carbon service is doing. `last_good_s` is seconds since the epoch, None before the first value.

    `problems` says, by carbon zone, why its value is not known.
    """

    url: str
    polls: int
    failures: int
    last_good_s: float | None
    problems: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Books:
    """How accounting is doing. `problem` is empty while all is written."""

    problem: str
    unwritten: int
    fallbacks: Mapping[str, str]


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

    def carbon_source(self) -> CarbonSource | None:
        """The carbon service, if one is configured."""
        ...

    def books(self) -> Books | None:
        """Accounting, if it is configured."""
        ...
