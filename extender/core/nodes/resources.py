"""Resource amounts in whole base units.

cpu is counted in millicores, memory and ephemeral-storage in bytes, everything else (pods,
devices, extended resources) in pieces. Amounts are integers, so that sums are exact and the same
on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

Resources = Mapping[str, int]

CPU: Final = "cpu"
MEMORY: Final = "memory"
PODS: Final = "pods"
GPU: Final = "nvidia.com/gpu"

NOT_OFFERED: Final = "not-offered"
"""Stands for all resources that no node offers: a pod that requests one of them fits nowhere."""

BASE_COLUMNS: Final = (CPU, MEMORY, PODS, GPU, NOT_OFFERED)
"""Columns every NodeTable has; the extended resources that nodes offer come after them."""


def total(parts: Iterable[Resources]) -> dict[str, int]:
    """Sum of several amounts, key by key."""
    out: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            out[name] = out.get(name, 0) + amount
    return out


def largest(parts: Iterable[Resources]) -> dict[str, int]:
    """Largest of several amounts, key by key."""
    out: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            if amount > out.get(name, 0):
                out[name] = amount
    return out


def one_pod(requests: Resources) -> dict[str, int]:
    """The requests of a single pod, with the pod slot it takes on its node."""
    out = {name: amount for name, amount in requests.items() if amount}
    out[PODS] = 1
    return out
