"""Every setting of `carbon-scheduler serve` in one frozen object: one file a group.

Where the values come from is in `loading`, how a setting is spelled in files, variables and flags in
`options`, which names settings had before in `renamed`, and the page about them in `document`.
"""

from __future__ import annotations

from typing import Any

from extender.core.policy import CarbonPolicy, Policy
from extender.settings.accounting import AccountingSettings
from extender.settings.cap import CapSettings
from extender.settings.carbon import CarbonSettings, ScoringSettings
from extender.settings.drivers import DriverSettings
from extender.settings.holds import HoldSettings
from extender.settings.http import HttpSettings
from extender.settings.kubernetes import KubernetesSettings
from extender.settings.log import LogSettings
from extender.settings.pools import PoolSettings
from extender.settings.stages import StageSettings
from extender.settings.values import Group
from extender.support.passwords import without_passwords


class Settings(Group):
    """All groups."""

    http: HttpSettings = HttpSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    pools: PoolSettings = PoolSettings()
    holds: HoldSettings = HoldSettings()
    carbon: CarbonSettings = CarbonSettings()
    scoring: ScoringSettings = ScoringSettings()
    cap: CapSettings = CapSettings()
    stages: StageSettings = StageSettings()
    drivers: DriverSettings = DriverSettings()
    accounting: AccountingSettings = AccountingSettings()
    log: LogSettings = LogSettings()

    def config_map_namespaces(self) -> tuple[str, ...]:
        """Namespaces whose ConfigMaps are read: those of applications, and the switches'; "" means all."""
        if not self.kubernetes.namespaces:
            return ("",)
        switches = () if self.stages.switches is None else (self.stages.switches.partition("/")[0],)
        return tuple(dict.fromkeys((*self.kubernetes.namespaces, *switches)))

    def to_policy(self) -> Policy:
        """The part of the settings that the core decides by."""
        pools, kubernetes = self.pools, self.kubernetes
        leader, worker = pools.leader_label_priority, pools.worker_label_priority
        return Policy(
            scheduler_names=frozenset(kubernetes.scheduler_names),
            namespaces=frozenset(kubernetes.namespaces),
            pool_label=pools.label,
            packer=pools.packer,
            packer_by_pool=pools.packer_by_pool(),
            fifo=pools.fifo,
            fifo_by_pool=pools.fifo_by_pool(),
            enforce_after_age_s=pools.enforce_after_age_s,
            enforce_after_age_by_pool_s=pools.enforce_after_age_by_pool_s(),
            same_zone_workers=pools.same_zone_workers,
            leader_label_priority=leader.to_priority() if leader is not None else None,
            worker_label_priority=worker.to_priority() if worker is not None else None,
            hold_ttl_s=kubernetes.claim_ttl_s,
            extras_behind_queue=pools.elastic_behind_queue,
            carbon=self._carbon_policy(),
        )

    def _carbon_policy(self) -> CarbonPolicy:
        holds, carbon, scoring = self.holds, self.carbon, self.scoring
        return CarbonPolicy(
            zone_label=carbon.zone_label,
            zone_by_place=carbon.known_places(),
            kind=carbon.kind,
            stale_after_s=carbon.stale_after_s,
            carbon_weight=scoring.carbon_weight,
            energy_weight=scoring.energy_weight,
            fragmentation_weight=scoring.fragmentation_weight,
            default=holds.to_flexibility(),
            default_by_namespace={name: each.to_flexibility() for name, each in holds.by_namespace.items()},
            threshold_percentile=holds.threshold_percentile,
            cap=self.cap.to_policy(),
            pcaps=self.stages.to_pcaps_policy(),
        )

    def redacted(self) -> dict[str, Any]:
        """Values for people and logs, without the passwords in URLs."""
        return _redacted(self.model_dump(mode="json"))


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return without_passwords(value)
        case dict():
            return {key: _redacted(each) for key, each in value.items()}
        case list():
            return [_redacted(each) for each in value]
        case _:
            return value
