"""Packers: ordered nodes and sizes in, slots out. One file a packer."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from extender.core.queue.packing.base import Packer, Packing, Problem, first_leader, leader_in_a_zone
from extender.core.queue.packing.distribute_evenly import distribute_evenly
from extender.core.queue.packing.minimal_fragmentation import minimal_fragmentation
from extender.core.queue.packing.single_zone import (
    az_aware_tightly_pack,
    single_az_minimal_fragmentation,
    single_az_tightly_pack,
)
from extender.core.queue.packing.tightly_pack import tightly_pack

__all__ = [
    "DEFAULT_PACKER",
    "PACKERS",
    "SINGLE_ZONE",
    "Packer",
    "Packing",
    "Problem",
    "feasible",
    "packer_named",
]

DEFAULT_PACKER: Final = "distribute-evenly"

PACKERS: Final[Mapping[str, Packer]] = MappingProxyType(
    {
        "tightly-pack": tightly_pack,
        "distribute-evenly": distribute_evenly,
        "az-aware-tightly-pack": az_aware_tightly_pack,
        "single-az-tightly-pack": single_az_tightly_pack,
        "minimal-fragmentation": minimal_fragmentation,
        "single-az-minimal-fragmentation": single_az_minimal_fragmentation,
    }
)
"""Every packer by the name users write."""

SINGLE_ZONE: Final = frozenset({"single-az-tightly-pack", "single-az-minimal-fragmentation"})
"""Packers that never spread a gang over zones: workers moved or added later stay in its zone too."""


def feasible(name: str, problem: Problem) -> bool:
    """Whether the packer of that name would find a placement; costs less than finding it.

    The single-zone packers need a zone that takes leader and workers; the others any nodes together.
    """
    fits_a_zone = leader_in_a_zone if name in SINGLE_ZONE else first_leader
    return fits_a_zone(problem) is not None


def packer_named(name: str) -> Packer:
    """The packer of that name; ValueError listing the known names when there is none."""
    packer = PACKERS.get(name)
    if packer is None:
        raise ValueError(f"unknown packer {name!r}: use one of {', '.join(sorted(PACKERS))}")
    return packer
