"""`carbon`: the carbon service, the carbon zones of nodes, and how intensity ranks nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from extender.core.carbon.signal import Kind
from extender.settings.cloud_regions import ZONE_BY_REGION
from extender.settings.values import Group, Name, Seconds, Url, Yaml

_Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class ScoringSettings(Group):
    """Preferences among nodes, beside the order of the packer."""

    carbon_weight: _Weight = Field(
        default=0.0,
        description="Weight of a node's carbon (intensity of its zone times its power per core). The "
        "packer's order has weight 1.",
    )
    energy_weight: _Weight = Field(default=0.0, description="Weight of the energy that a placement costs.")
    fragmentation_weight: _Weight = Field(
        default=0.0, description="Weight of cpu or memory that a placement leaves unusable."
    )


class CarbonSettings(Group):
    """Where carbon intensity comes from. Without `carbon.url` there is no signal."""

    url: Url = Field(
        default=None,
        description="URL of the carbon service (`carbon-scheduler carbon-api`). Unset: no signal.",
    )
    poll_s: Seconds = Field(default=60.0, description="Time between two requests to the carbon service.")
    zone_label: Name = Field(
        default="carbon-scheduler/carbon-zone",
        description="Node label whose value is the node's carbon zone.",
    )
    zone_by_place: Annotated[Mapping[str, Name], Yaml] = Field(
        default={},
        description="Carbon zone by the value of a node's zone or region label, for nodes without "
        "`carbon.zone_label`. With `carbon.url` set, the regions of the large clouds "
        "(`extender/settings/cloud_regions.py`) are known too; this setting overrides them.",
    )
    kind: Kind = Field(
        default=Kind.AVERAGE,
        description="Intensity to use: `average`, or `marginal` (WattTime). Zones whose source states the "
        "other kind are neutral.",
    )
    stale_after_s: Seconds = Field(
        default=21_600.0,
        description="Age from which a value is too old; its zone is then neutral. The carbon service may "
        "drop the values of a source earlier (`stale_after_s` in its file).",
    )

    def known_places(self) -> dict[str, str]:
        """Carbon zones by zone or region label: the large clouds' and the operator's."""
        known = ZONE_BY_REGION if self.url is not None else {}
        return {**known, **self.zone_by_place}
