"""Every setting that the core decides by reaches it, and only constants keep their defaults."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from extender.core.policy import CapPolicy, CarbonPolicy, PcapsPolicy, Policy
from extender.settings.loading import load

CONSTANTS = {
    Policy: {"configuration_grace_s", "silent_after_s", "dormant_after_s"},
    CarbonPolicy: set[str](),
    CapPolicy: {"exact", "hysteresis"},
    PcapsPolicy: set[str](),
}
"""Fields of policies that are no settings."""

OTHER_THAN_DEFAULT = {
    "kubernetes.scheduler_names": "a, b",
    "kubernetes.namespaces": "team",
    "kubernetes.claim_ttl_s": "61",
    "pools.label": "pool",
    "pools.packer": "tightly-pack",
    "pools.fifo": "backfill",
    "pools.enforce_after_age_s": "5",
    "pools.by_name": "{ml: {packer: tightly-pack, fifo: strict, enforce_after_age_s: 7}}",
    "pools.elastic_behind_queue": "false",
    "pools.same_zone_workers": "true",
    "pools.leader_label_priority": "{label: disk, values: [ssd]}",
    "pools.worker_label_priority": "{label: disk, values: [hdd]}",
    "holds.policy": "threshold",
    "holds.by_namespace": "{batch: {max_delay_s: 3600}}",
    "holds.threshold_percentile": "20",
    "holds.risk": "low",
    "carbon.zone_label": "zone",
    "carbon.zone_by_place": "{rack-7: YY}",
    "carbon.kind": "marginal",
    "carbon.stale_after_s": "60",
    "scoring.carbon_weight": "1",
    "kubernetes.name_nodes": "false",
    "scoring.energy_weight": "2",
    "scoring.fragmentation_weight": "3",
    "cap.enabled": "true",
    "cap.min_executors": "5",
    "cap.max_executors": "50",
    "cap.executor_cores": "1.5",
    "stages.pcaps.enabled": "true",
    "stages.pcaps.gamma": "0.9",
}


def as_default(policy: Any) -> set[str]:
    """Fields of a policy that are as if nothing were set."""
    default = type(policy)()
    return {each.name for each in fields(policy) if getattr(policy, each.name) == getattr(default, each.name)}


def test_every_field_of_a_policy_is_a_setting_or_a_constant() -> None:
    policy = load(None, OTHER_THAN_DEFAULT).to_policy()
    parts = (policy, policy.carbon, policy.carbon.cap, policy.carbon.pcaps)
    assert {type(part): as_default(part) for part in parts} == CONSTANTS
