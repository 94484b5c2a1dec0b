"""`holds`: which gangs wait for clean power, and for how long at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from extender.core.carbon.plan.horizon import Risk
from extender.core.carbon.start.flexibility import HoldPolicy
from extender.settings.values import Delay, Group, Value, Yaml


class NamespaceHolds(Value):
    """Defaults for the gangs of one namespace."""

    policy: HoldPolicy | None = None
    max_delay_s: Delay | None = None
    runtime_estimate_s: Delay | None = None


class HoldSettings(Group):
    """Defaults for gangs without annotations. A gang without a maximum delay is never held."""

    policy: HoldPolicy | None = Field(
        default=None,
        description="Default of `carbon-scheduler/carbon-policy`: `plan`, `best-start`, `threshold`, "
        "`suspend-resume`, `cap` or `none`. Unset: `plan`, for applications that allow a delay.",
    )
    max_delay_s: Delay | None = Field(default=None, description="Default of `carbon-scheduler/max-delay`.")
    runtime_estimate_s: Delay | None = Field(
        default=None, description="Default of `carbon-scheduler/runtime-estimate`."
    )
    by_namespace: Annotated[Mapping[str, NamespaceHolds], Yaml] = Field(
        default={},
        description="Other values of these three for single namespaces: "
        "`{batch: {policy: threshold, max_delay_s: 21600, runtime_estimate_s: 3600}}`.",
    )
    threshold_percentile: Annotated[float, Field(ge=0, le=100)] = Field(
        default=30.0,
        description="Cleanest part of the forecast, in percent, in which `threshold` starts a gang.",
    )
    risk: Risk = Field(
        default=Risk.MODERATE,
        description="How far `plan` and `best-start` follow an uncertain forecast. They add to each expected "
        "intensity half a standard deviation of its forecast (`low`), a tenth (`moderate`) or nothing "
        "(`high`). Without intervals in the forecast all three are the same.",
    )
