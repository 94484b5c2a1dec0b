"""The parts of the service that the API needs besides the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from extender.core.facts import GangKey
from extender.core.policy import Switches

STALE_AFTER_S: Final = 120.0
"""A watch that works is known to be complete about every minute."""


@dataclass(frozen=True, slots=True)
class CacheHealth:
    """How one watch is doing. Times are seconds since the epoch, None before the first list.

    `last_event_s` is when something came last, `fresh_s` when it was last certain that nothing is missing.
    """

    name: str
    synced: bool
    connected: bool
    last_event_s: float | None
    restarts: int
    lists: int
    skipped: int
    last_problem: str
    fresh_s: float | None = None

    def stale_for_s(self, now: float) -> float:
        """Seconds for which the cache may have missed something; 0 up to `STALE_AFTER_S`."""
        age_s = 0.0 if self.fresh_s is None else now - self.fresh_s
        return age_s if age_s > STALE_AFTER_S else 0.0


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
    """How accounting is doing. `problem` is empty while all is written.

    `writes` says whether this replica writes the ledger; others that share it stand by.
    """

    writes: bool
    problem: str
    unwritten: int
    fallbacks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StageSourcesHealth:
    """How event logs and the REST APIs of drivers are doing.

    `followed` are logs that are read, `answering` drivers whose REST API answers, `left_out` running
    applications beyond the most that are watched. `events` counts what was handed over, `nonsense` what
    cannot be true. `problems` say what fails and why, 20 at most.
    """

    followed: int = 0
    answering: int = 0
    left_out: int = 0
    events: int = 0
    nonsense: int = 0
    problems: Mapping[str, str] = field(default_factory=dict[str, str])


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

    def stage_sources(self) -> StageSourcesHealth | None:
        """Event logs and REST APIs of drivers, if they are configured."""
        ...

    def problems(self) -> Sequence[str]:
        """Problems besides watches and nodes: missing rights, a quota or ledger that cannot be written."""
        ...

    def allowed(self) -> Switches:
        """Features that the settings turn on; the switches can only turn them off."""
        ...


@dataclass(frozen=True, slots=True)
class Caller:
    """The pod that a driver's token was issued to."""

    namespace: str
    pod: str
    uid: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A driver is not served: HTTP status, and what to do about it. 0 s means that asking again is vain."""

    status: int
    detail: str
    retry_after_s: float = 0.0


class Identify(Protocol):
    """Finds out who sends a bearer token from an address."""

    async def __call__(self, token: str, source: str) -> Caller | Refused:
        """The pod behind a token. Never raises."""
        ...


class BadReport(ValueError):
    """A report that cannot be read; the text says where it is wrong."""


class Reports(Protocol):
    """The receiver of agents' reports."""

    async def take(self, key: GangKey, body: bytes) -> bytes:
        """Take one report of an application; returns the answer's JSON. Raises `BadReport`."""
        ...
