"""The options of carbon, energy and accounting: a part of `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit, urlunsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from extender.core.carbon.signal import Kind
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.policy import CapPolicy, CarbonPolicy, PcapsPolicy
from extender.core.stages.decima import Decima
from extender.core.stages.decima_weights import DecimaWeights
from extender.core.stages.importance import CriticalPath, ImportanceProvider, WeightedFair
from extender.settings.cloud_regions import ZONE_BY_REGION

LONGEST_DELAY_S: Final = 366 * 86_400.0


def from_yaml(value: object) -> object:
    """A value as such, or as YAML in a flag or variable."""
    if isinstance(value, str):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError as problem:
            raise ValueError(f"not YAML: {problem}") from None
    return value


def _url(value: object) -> object:
    if value is None or (
        isinstance(value, str) and value.startswith(("http://", "https://")) and urlsplit(value).hostname
    ):
        return value
    raise ValueError("must be a URL that begins with http:// or https://")


_Yaml = BeforeValidator(from_yaml)
_Name = Annotated[str, Field(min_length=1)]
_Url = Annotated[str | None, BeforeValidator(_url)]
_Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Delay = Annotated[float, Field(ge=0, le=LONGEST_DELAY_S, allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Importance(StrEnum):
    """What tells how important a stage is."""

    CRITICAL_PATH = "critical-path"
    WEIGHTED_FAIR = "weighted-fair"
    DECIMA = "decima"


class HoldDefaults(BaseModel):
    """What applies to gangs of one namespace that say nothing themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: HoldPolicy | None = None
    max_delay_s: _Delay | None = None
    runtime_estimate_s: _Delay | None = None

    def to_flexibility(self) -> Flexibility:
        """As the core has it."""
        return Flexibility(self.policy, None, self.max_delay_s, self.runtime_estimate_s)


class CarbonSettings(BaseModel):
    """Options of carbon, energy and accounting. None of them does anything unless it is set."""

    carbon_url: _Url = Field(
        None,
        description="Where the carbon service answers (`carbon-scheduler carbon-api`). Unset: no signal.",
    )
    carbon_poll_s: _Seconds = Field(60.0, description="Time between two questions to the carbon service.")
    carbon_timeout_s: _Seconds = Field(10.0, description="How long an answer of it is waited for.")
    carbon_zone_label: _Name = Field(
        "carbon-scheduler/carbon-zone", description="Node label whose value is the node's carbon zone."
    )
    carbon_zone_by_place: Annotated[Mapping[str, _Name], _Yaml] = Field(
        {},
        description="Carbon zone by the value of a node's zone or region label, for nodes without "
        "`carbon_zone_label`. With `carbon_url` it is joined with the regions of the large clouds "
        "(`extender/settings/cloud_regions.py`); what is given here comes first.",
    )
    carbon_kind: Kind = Field(
        Kind.AVERAGE,
        description="Intensity that is used: `average`, or `marginal` (WattTime). Zones whose source states "
        "the other one are neutral.",
    )
    carbon_stale_after_s: _Seconds = Field(
        21_600.0,
        description="Age from which a value is not used any more: the zone is then neutral. Where the carbon "
        "service drops the values of a source sooner (`stale-after-s` there), that counts.",
    )
    carbon_weight: _Weight = Field(
        0.0,
        description="Weight of a node's carbon (intensity of its zone times its power per core) against the "
        "packer's order, which counts 1.",
    )
    energy_weight: _Weight = Field(0.0, description="The same for the energy a placement costs.")
    fragmentation_weight: _Weight = Field(0.0, description="The same for cpu and memory that run out apart.")
    carbon_policy: HoldPolicy | None = Field(
        None,
        description="Default of `carbon-scheduler/carbon-policy`: `none`, `threshold`, `suspend-resume` or "
        "`cap`.",
    )
    max_delay_s: _Delay | None = Field(None, description="Default of `carbon-scheduler/max-delay`.")
    runtime_estimate_s: _Delay | None = Field(
        None, description="Default of `carbon-scheduler/runtime-estimate`."
    )
    holds_by_namespace: Annotated[Mapping[str, HoldDefaults], _Yaml] = Field(
        {},
        description="These three for single namespaces: "
        "`{batch: {policy: threshold, max_delay_s: 21600, runtime_estimate_s: 3600}}`.",
    )
    threshold_percentile: Annotated[float, Field(ge=0, le=100)] = Field(
        30.0, description="Cleanest part of the time ahead, in percent, in which `threshold` starts a gang."
    )
    cap: bool = Field(False, description="Limit the executors of the cluster by the carbon intensity (CAP).")
    cap_min_executors: Annotated[int, Field(ge=0)] = Field(
        20, description="B: executors that are always allowed."
    )
    cap_max_executors: Annotated[int, Field(ge=1)] | None = Field(
        None, description="K: executors allowed at the cleanest hour. Unset: as many as all nodes hold."
    )
    cap_executor_cores: Annotated[float, Field(gt=0, le=1e6)] = Field(
        4.0, description="Cores of one executor, where K is counted from the nodes."
    )
    cap_exact: bool = Field(
        True, description="Thresholds by the exact competitive ratio; false: by its limit for many executors."
    )
    cap_hysteresis: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="Part of K by which the budget must change to be changed."
    )
    cap_quota_namespace: _Name | None = Field(
        None,
        description="Namespace in which the budget is also kept as a ResourceQuota (see "
        "`manifests/components/cap-quota`). Unset: it is not.",
    )
    cap_quota_name: _Name = Field("carbon-scheduler-cap", description="Name of that ResourceQuota.")
    cap_executor_memory_gib: Annotated[float, Field(gt=0, le=1e6)] = Field(
        8.0, description="Memory of one executor in that quota, in GiB."
    )
    cap_quota_spare_drivers: Annotated[int, Field(ge=0, le=100_000)] = Field(
        10,
        description="New drivers, each as large as an executor, for which that quota has room at any time.",
    )
    pcaps: bool = Field(
        False,
        description="Keep back executors above a gang's minimum while only stages of little importance could "
        "use them and the intensity is high (PCAPS). Acts on applications whose stages are known.",
    )
    pcaps_gamma: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="How much PCAPS keeps back: 0 nothing, 1 all but the most important work."
    )
    importance: Importance = Field(
        Importance.CRITICAL_PATH,
        description="What makes a stage important: `critical-path`, `weighted-fair`, or `decima`.",
    )
    decima_weights: Path | None = Field(
        None, description="Weights (`.npz`) of the learned policy, for `importance: decima`."
    )
    stage_order: bool = Field(
        False,
        description="Let the in-driver agent run an application's most important stages first "
        "(`TaskSetManager.priority`).",
    )
    executor_target: bool = Field(
        False,
        description="Let the in-driver agent ask Kubernetes for no more executors than PCAPS wants now "
        "(`requestTotalExecutors`, static allocation only).",
    )
    ledger: str | None = Field(
        None,
        min_length=1,
        description="Where energy and carbon are booked: a path (SQLite) or `postgresql://...`.",
    )
    flush_s: _Seconds = Field(60.0, description="Time between two writes to the ledger.")
    ledger_keep_days: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = Field(
        None,
        description="Days that the ledger keeps; what is older is deleted once a day. Unset: it keeps all.",
    )
    pue: Annotated[float, Field(ge=1, le=10)] = Field(
        1.0,
        description="Power usage effectiveness of the site: what the building draws for one watt of a node.",
    )
    prometheus_url: _Url = Field(
        None,
        description="Prometheus with the power of nodes by Kepler or Scaphandre and of GPUs by DCGM. Unset: "
        "power is estimated by models.",
    )
    rapl_node: _Name | None = Field(
        None, description="Name of the node this process runs on, to read its power from RAPL."
    )

    @model_validator(mode="after")
    def _decima_has_weights(self) -> Self:
        if (self.importance is Importance.DECIMA) != (self.decima_weights is not None):
            raise ValueError("importance: decima and decima_weights belong together; give both or none")
        return self

    @model_validator(mode="after")
    def _bounds_of_cap(self) -> Self:
        if self.cap_max_executors is not None and self.cap_max_executors < self.cap_min_executors:
            raise ValueError("cap_max_executors is below cap_min_executors; raise it or lower that")
        return self

    def to_carbon_policy(self) -> CarbonPolicy:
        """The part of these settings the core decides by."""
        known = ZONE_BY_REGION if self.carbon_url is not None else {}
        return CarbonPolicy(
            zone_label=self.carbon_zone_label,
            zone_by_place={**known, **self.carbon_zone_by_place},
            kind=self.carbon_kind,
            stale_after_s=self.carbon_stale_after_s,
            carbon_weight=self.carbon_weight,
            energy_weight=self.energy_weight,
            fragmentation_weight=self.fragmentation_weight,
            default=Flexibility(self.carbon_policy, None, self.max_delay_s, self.runtime_estimate_s),
            default_by_namespace={
                name: each.to_flexibility() for name, each in self.holds_by_namespace.items()
            },
            threshold_percentile=self.threshold_percentile,
            cap=CapPolicy(
                enabled=self.cap,
                min_executors=self.cap_min_executors,
                max_executors=self.cap_max_executors,
                executor_cpu_milli=round(self.cap_executor_cores * 1000),
                exact=self.cap_exact,
                hysteresis=self.cap_hysteresis,
            ),
            pcaps=PcapsPolicy(self.pcaps, self.pcaps_gamma),
        )

    def to_provider(self) -> ImportanceProvider:
        """What tells how important stages are.

        Raises:
            ValueError: the weights cannot be used; the text says why.
        """
        match self.importance:
            case Importance.CRITICAL_PATH:
                return CriticalPath()
            case Importance.WEIGHTED_FAIR:
                return WeightedFair()
            case Importance.DECIMA:
                assert self.decima_weights is not None
                try:
                    data = self.decima_weights.read_bytes()
                except OSError as problem:
                    raise ValueError(f"decima_weights {self.decima_weights}: {problem.strerror}") from None
                return Decima(DecimaWeights.from_npz(data))


def without_password(url: str) -> str:
    """A URL for people: what stands before the host's `@` is masked."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
