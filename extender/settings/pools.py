"""`pools`: queues, their order, and how gangs are packed onto nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from extender.core.policy import FifoMode
from extender.core.queue.packing import DEFAULT_PACKER, packer_named
from extender.settings.values import Group, Name, Value, Yaml


def _fifo(value: object) -> object:
    # YAML reads a bare `off` as false.
    return FifoMode.OFF if value is False else value


def _packer(name: str) -> str:
    packer_named(name)
    return name


_PackerName = Annotated[str, BeforeValidator(_packer)]
_Fifo = Annotated[FifoMode, BeforeValidator(_fifo)]
_Age = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NodePreference(Value):
    """Prefer nodes by a label: values from best to worst."""

    label: Name
    values: Annotated[tuple[Name, ...], Field(min_length=1)]


class Pool(Value):
    """Exceptions of one pool."""

    packer: _PackerName | None = None
    fifo: _Fifo | None = None
    enforce_after_age_s: _Age | None = None


_Preference = Annotated[NodePreference | None, Yaml]


class PoolSettings(Group):
    """Rules of every pool, and the exceptions of single pools."""

    label: Name = Field(
        default="carbon-scheduler/pool",
        description="Node label that defines pools. The value that a driver pod requires of it names the "
        "driver's pool; each pool has a queue of its own.",
    )
    packer: _PackerName = Field(default=DEFAULT_PACKER, description="Algorithm that packs gangs onto nodes.")
    fifo: _Fifo = Field(
        default=FifoMode.STRICT,
        description="Effect of a gang that does not fit on younger gangs of its pool: `strict`, "
        "`strict-after-age`, `backfill` or `off`.",
    )
    enforce_after_age_s: _Age = Field(
        default=0.0, description="Age from which a gang blocks its pool in `strict-after-age`."
    )
    by_name: Annotated[Mapping[str, Pool], Yaml] = Field(
        default={},
        description="Other values of `packer`, `fifo` and `enforce_after_age_s` for single pools: "
        "`{etl: {fifo: backfill, packer: tightly-pack}}`.",
    )
    elastic_behind_queue: bool = Field(
        default=True,
        description="While a gang of a strict pool waits for room, younger elastic executors and younger "
        "single pods of that pool wait behind it.",
    )
    same_zone_workers: bool = Field(
        default=False,
        description="Keep the elastic executors of a gang that a single-zone packer placed in its zone.",
    )
    leader_label_priority: _Preference = Field(
        default=None, description="Prefer nodes for drivers by a label: `{label: disk, values: [ssd, hdd]}`."
    )
    worker_label_priority: _Preference = Field(
        default=None, description="Prefer nodes for executors and single pods by a label."
    )

    def exceptions(self, name: str) -> dict[str, Any]:
        """Values of a setting by pool, for the pools that have one of their own."""
        values = {pool: getattr(exceptions, name) for pool, exceptions in self.by_name.items()}
        return {pool: value for pool, value in values.items() if value is not None}
