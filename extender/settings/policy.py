"""The settings that the core decides by, as the core's own frozen values.

A group of settings has the fields of its policy under the same names, so one generic step makes the policy:
`value_of`. This module names what a setting has in another unit or under another name.
"""

from __future__ import annotations

from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel

from extender.core.carbon.start.flexibility import Flexibility
from extender.core.policy import CapPolicy, CarbonPolicy, LabelPriority, PcapsPolicy, Policy
from extender.settings.holds import HoldSettings, NamespaceHolds
from extender.settings.pools import NodePreference

if TYPE_CHECKING:
    from extender.settings.root import Settings


class _Value(Protocol):
    """A dataclass of the core."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


V = TypeVar("V", bound=_Value)


def value_of(kind: type[V], *groups: BaseModel, **more: Any) -> V:
    """A value of the core: each field is the setting of the same name in one of the groups, or is in `more`.

    Fields that neither has keep their defaults: they are constants, not settings.
    """
    names = {field.name for field in fields(kind)} - more.keys()
    found = {
        name: getattr(group, name) for group in groups for name in names & type(group).model_fields.keys()
    }
    return kind(**found, **more)


def policy_of(settings: Settings) -> Policy:
    """All options of the core."""
    pools, kubernetes = settings.pools, settings.kubernetes
    return value_of(
        Policy,
        pools,
        scheduler_names=frozenset(kubernetes.scheduler_names),
        namespaces=frozenset(kubernetes.namespaces),
        pool_label=pools.label,
        packer_by_pool=pools.exceptions("packer"),
        fifo_by_pool=pools.exceptions("fifo"),
        enforce_after_age_by_pool_s=pools.exceptions("enforce_after_age_s"),
        leader_label_priority=_preference(pools.leader_label_priority),
        worker_label_priority=_preference(pools.worker_label_priority),
        hold_ttl_s=kubernetes.claim_ttl_s,
        name_nodes=kubernetes.name_nodes,
        extras_behind_queue=pools.elastic_behind_queue,
        carbon=_carbon(settings),
    )


def _carbon(settings: Settings) -> CarbonPolicy:
    holds, cap = settings.holds, settings.cap
    return value_of(
        CarbonPolicy,
        settings.carbon,
        settings.scoring,
        holds,
        zone_by_place=settings.carbon.known_places(),
        default=_flexibility(holds),
        default_by_namespace={name: _flexibility(each) for name, each in holds.by_namespace.items()},
        cap=value_of(CapPolicy, cap, executor_cpu_milli=round(cap.executor_cores * 1000)),
        pcaps=value_of(PcapsPolicy, settings.stages.pcaps),
    )


def _flexibility(holds: HoldSettings | NamespaceHolds) -> Flexibility:
    return value_of(Flexibility, holds, runtime_s=holds.runtime_estimate_s)


def _preference(preference: NodePreference | None) -> LabelPriority | None:
    return None if preference is None else value_of(LabelPriority, preference)
