"""How the store decides: every knob of the core in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from extender.core.carbon.plan.horizon import Risk
from extender.core.carbon.signal import Kind
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility
from extender.core.queue.packing import DEFAULT_PACKER

PLACE_LABELS: Final = (
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/region",
)
"""Labels from which a carbon zone is looked up, in this order."""


class FifoMode(StrEnum):
    """What a gang that does not fit does to the younger ones of its pool.

    strict            younger gangs wait until it is admitted
    strict-after-age  they wait only once it is older than `enforce_after_age_s`
    backfill          younger gangs that fit may start; places are planned oldest first
    off               no order: a gang is judged alone when kube-scheduler asks
    """

    STRICT = "strict"
    STRICT_AFTER_AGE = "strict-after-age"
    BACKFILL = "backfill"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class LabelPriority:
    """Prefer nodes by a label: `values` from best to worst; nodes with other values come last."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CapPolicy:
    """Budget of executors by carbon intensity (see `provisioning.cap`).

    `max_executors` None: as many of `executor_cpu_milli` as all usable nodes hold. `hysteresis` is the
    share of the budget by which it must change to be changed.
    """

    enabled: bool = False
    min_executors: int = 20
    max_executors: int | None = None
    executor_cpu_milli: int = 4000
    exact: bool = True
    hysteresis: float = 0.02


@dataclass(frozen=True, slots=True)
class PcapsPolicy:
    """StageDeferral-aware deferral of executors above a gang's minimum (see `provisioning.pcaps`).

    `gamma` is 0 (nothing is deferred) to 1 (most is).
    """

    enabled: bool = False
    gamma: float = 0.5


@dataclass(frozen=True, slots=True)
class Switches:
    """What may be turned off while everything runs; nothing is on that the settings do not turn on.

    `stage_order` and `executor_target` are what the in-driver agent does inside Spark.
    """

    pcaps: bool = True
    stage_order: bool = True
    executor_target: bool = True


@dataclass(frozen=True, slots=True)
class CarbonPolicy:
    """How the carbon signal is used. With weight 0 and no hold it is not used at all.

    A node's carbon zone is the value of `zone_label`, else what `zone_by_place` says of its zone label, else
    of its region label. `default` and `default_by_namespace` apply to gangs that say nothing themselves.
    The weights are relative to the packer's own order, which counts 1. Only intensities of one `kind` are
    used. `risk` is how far the plan follows an uncertain forecast.
    """

    zone_label: str = "carbon-scheduler/carbon-zone"
    zone_by_place: Mapping[str, str] = field(default_factory=dict[str, str])
    kind: Kind = Kind.AVERAGE
    stale_after_s: float = 21_600.0
    carbon_weight: float = 0.0
    energy_weight: float = 0.0
    fragmentation_weight: float = 0.0
    default: Flexibility = INFLEXIBLE
    default_by_namespace: Mapping[str, Flexibility] = field(default_factory=dict[str, Flexibility])
    threshold_percentile: float = 30.0
    risk: Risk = Risk.MODERATE
    cap: CapPolicy = CapPolicy()
    pcaps: PcapsPolicy = PcapsPolicy()

    def zone_of(self, labels: Mapping[str, str]) -> str:
        """Carbon zone of a node with these labels; empty when there is none."""
        own = labels.get(self.zone_label)
        if own:
            return own
        places = (labels.get(key, "") for key in PLACE_LABELS)
        return next((self.zone_by_place[place] for place in places if place in self.zone_by_place), "")

    @property
    def scores(self) -> bool:
        """Whether nodes are ordered by anything but the packer's own order."""
        return any((self.carbon_weight, self.energy_weight, self.fragmentation_weight))

    def flexibility(self, namespace: str, own: Flexibility) -> Flexibility:
        """What a gang allows: its own words, else its namespace's, else the cluster's."""
        return own.or_else(self.default_by_namespace.get(namespace, INFLEXIBLE)).or_else(self.default)


@dataclass(frozen=True, slots=True)
class Policy:
    """All options of the core.

    `namespaces` are those whose pods are served; none means all of them.
    `pool_label` is the node label whose required value on a leader names its pool (its queue).
    `hold_ttl_s` is how long an answer to filter is believed without a bind. `configuration_grace_s`
    is how long a leader without a readable configuration keeps its place in a strict queue. A leader
    that could start but has not been asked for since `silent_after_s` is woken; one that does not react
    within `dormant_after_s` more (another plugin refuses it before we are asked) stops holding others up.
    `extras_behind_queue`: while a gang of a strict pool waits for room, younger workers above their gang's
    minimum and younger single pods of that pool do not take it. `name_nodes`: the engine
    decides early for pods whose node it knows before kube-scheduler calls, and names the node.
    """

    scheduler_names: frozenset[str] = frozenset({"carbon-scheduler"})
    namespaces: frozenset[str] = frozenset()
    pool_label: str = "carbon-scheduler/pool"
    packer: str = DEFAULT_PACKER
    packer_by_pool: Mapping[str, str] = field(default_factory=dict[str, str])
    fifo: FifoMode = FifoMode.STRICT
    fifo_by_pool: Mapping[str, FifoMode] = field(default_factory=dict[str, FifoMode])
    enforce_after_age_s: float = 0.0
    enforce_after_age_by_pool_s: Mapping[str, float] = field(default_factory=dict[str, float])
    same_zone_workers: bool = False
    leader_label_priority: LabelPriority | None = None
    worker_label_priority: LabelPriority | None = None
    hold_ttl_s: float = 60.0
    configuration_grace_s: float = 10.0
    silent_after_s: float = 5.0
    dormant_after_s: float = 30.0
    extras_behind_queue: bool = True
    name_nodes: bool = True
    carbon: CarbonPolicy = CarbonPolicy()

    def serves(self, scheduler_name: str, namespace: str) -> bool:
        """Whether pods that name this scheduler in this namespace are judged here at all."""
        return scheduler_name in self.scheduler_names and not self.ignores(namespace)

    def ignores(self, namespace: str) -> bool:
        """Whether a namespace is outside those that are served."""
        return bool(self.namespaces) and namespace not in self.namespaces

    def fifo_for(self, pool: str) -> FifoMode:
        """Queue discipline of a pool."""
        return self.fifo_by_pool.get(pool, self.fifo)

    def enforce_after_for(self, pool: str) -> float:
        """Age in seconds from which a gang that does not fit blocks its pool (strict-after-age)."""
        return self.enforce_after_age_by_pool_s.get(pool, self.enforce_after_age_s)

    def packer_for(self, pool: str) -> str:
        """Packer of a pool."""
        return self.packer_by_pool.get(pool, self.packer)
