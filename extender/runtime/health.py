"""How the running service is doing, for probes, metrics and `/healthz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from extender.adapters.api.ports import Books, CacheHealth, CarbonSource, StageSourcesHealth
from extender.adapters.carbon.client import CarbonClient
from extender.adapters.kubernetes.patching import PodPatcher
from extender.adapters.kubernetes.quota import CapQuota
from extender.adapters.kubernetes.reflector import Reflector
from extender.adapters.kubernetes.rights import RightsCheck
from extender.adapters.webhooks.binds import Binds
from extender.core import queries
from extender.core.policy import Switches
from extender.core.store import Store
from extender.runtime.doctor import signal_reaches_no_node
from extender.runtime.ledger_recorder import Bookkeeper
from extender.runtime.stage_polling import StageSources
from extender.settings.root import Settings
from extender.support.passwords import without_passwords


@dataclass(frozen=True, slots=True)
class Health:
    """Reads the parts of a service (`ServiceHealth`). A part that is not configured is None."""

    settings: Settings
    store: Store
    reflectors: Sequence[Reflector[Any]]
    binds: Binds
    patcher: PodPatcher
    rights: RightsCheck
    sources: StageSources
    carbon: CarbonClient | None
    bookkeeper: Bookkeeper | None
    quota: CapQuota | None

    def caches(self) -> list[CacheHealth]:
        """How the watches are doing."""
        return [
            CacheHealth(
                name=each.name,
                synced=each.synced.is_set(),
                connected=each.health.connected,
                last_event_s=each.health.last_event_s,
                restarts=each.health.restarts,
                lists=each.health.lists,
                skipped=each.health.skipped,
                last_problem=each.health.last_problem,
                fresh_s=each.health.fresh_s,
            )
            for each in self.reflectors
        ]

    def binds_under_way(self) -> int:
        """Bindings being written."""
        return len(self.binds)

    def annotations_waiting(self) -> int:
        """Pods whose annotations are not written yet."""
        return self.patcher.backlog

    def carbon_source(self) -> CarbonSource | None:
        """How the carbon service is doing."""
        if self.carbon is None:
            return None
        health = self.carbon.health
        url = without_passwords(health.url)
        return CarbonSource(url, health.polls, health.failures, health.last_good_s, health.problems)

    def books(self) -> Books | None:
        """How accounting is doing."""
        books = self.bookkeeper
        if books is None:
            return None
        return Books(books.writes, books.problem, books.unwritten, books.fallbacks)

    def stage_sources(self) -> StageSourcesHealth | None:
        """How event logs and drivers' REST APIs are doing."""
        return self.sources.health if self.sources.enabled else None

    def problems(self) -> list[str]:
        """Problems besides watches and nodes."""
        problems = [f"missing right: {right} ({right.purpose})" for right in self.rights.missing]
        if self.quota is not None and self.quota.last_problem:
            problems.append(f"the ResourceQuota of CAP cannot be kept: {self.quota.last_problem}")
        if self.bookkeeper is not None and self.bookkeeper.problem:
            problems.append(f"the ledger cannot be written: {self.bookkeeper.problem}")
        if zones := signal_reaches_no_node(self.settings, queries.node_facts(self.store)):
            problems.append(zones)
        return problems

    def allowed(self) -> Switches:
        """Features that the settings turn on."""
        return self.settings.stages.allowed()
