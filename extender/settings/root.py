"""Every setting of `carbon-scheduler serve` in one frozen object: one file a group.

Where the values come from is in `loading`, how a setting is spelled in files, variables and flags in
`options`, which names settings had before in `renamed`, and the page about them in `document`.
"""

from __future__ import annotations

from typing import Any

from extender.core.policy import Policy
from extender.settings.accounting import AccountingSettings
from extender.settings.cap import CapSettings
from extender.settings.carbon import CarbonSettings, ScoringSettings
from extender.settings.drivers import DriverSettings
from extender.settings.holds import HoldSettings
from extender.settings.http import HttpSettings
from extender.settings.kubernetes import KubernetesSettings
from extender.settings.log import LogSettings
from extender.settings.policy import policy_of
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
        return policy_of(self)

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
