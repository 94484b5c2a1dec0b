"""Attribute a node's power to its pods. The parts and the node's remainder add up to the node's power.

The rule:

- idle power goes to pods by what they request: the mean of their share of the node's CPU and of its
  memory. The idle power of unrequested room is the node's remainder; no pod carries it.
- dynamic power goes to pods by their measured watts if a meter gives them, else by their CPU usage, else
  by their CPU requests. Measured watts that exceed the node's are cut in proportion.
- power of GPUs goes to pods by measured watts, else by devices they request; an idle device that
  no pod requested is remainder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from extender.adapters.accounting.power import NodePower
from extender.core.nodes.resources import CPU, GPU, MEMORY, Resources


class Rule(StrEnum):
    """How dynamic power was attributed."""

    MEASURED = "measured"
    USAGE = "usage"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class PodLoad:
    """A pod on a node. `usage_cores`, `measured_w` and `measured_gpu_w` are None where no meter measured."""

    uid: str
    requests: Resources
    usage_cores: float | None = None
    measured_w: float | None = None
    measured_gpu_w: float | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Watts of each pod by uid, and what remains with the node."""

    pods_w: Mapping[str, float]
    remainder_w: float
    rule: Rule


def attribute(power: NodePower, allocatable: Resources, pods: Sequence[PodLoad]) -> Attribution:
    """Split the power of a node. The sum of all parts is `power.total_w`, up to rounding."""
    rule, dynamic = _dynamic_shares(power.dynamic_w, pods)
    idle = _idle_shares(allocatable, pods)
    gpu_idle = _capped([_share(pod.requests, allocatable, GPU) or 0.0 for pod in pods])
    gpu_dynamic = _gpu_shares(power.gpu_dynamic_w, pods)
    watts = {
        pod.uid: math.fsum(
            (
                power.idle_w * idle[index],
                power.dynamic_w * dynamic[index],
                power.gpu_idle_w * gpu_idle[index],
                power.gpu_dynamic_w * gpu_dynamic[index],
            )
        )
        for index, pod in enumerate(pods)
    }
    remainder_w = math.fsum((power.total_w, *(-each for each in watts.values())))
    return Attribution(watts, max(0.0, remainder_w), rule)


def _idle_shares(allocatable: Resources, pods: Sequence[PodLoad]) -> list[float]:
    shares: list[float] = []
    for pod in pods:
        parts = [_share(pod.requests, allocatable, name) for name in (CPU, MEMORY)]
        known = [part for part in parts if part is not None]
        shares.append(sum(known) / len(known) if known else 0.0)
    return _capped(shares)


def _share(requests: Resources, allocatable: Resources, name: str) -> float | None:
    offered = allocatable.get(name, 0)
    return requests.get(name, 0) / offered if offered > 0 else None


def _capped(shares: list[float]) -> list[float]:
    """Shares of an over-committed node are scaled down, so that they add up to 1 at most."""
    whole = math.fsum(shares)
    return [share / whole for share in shares] if whole > 1 else shares


def _dynamic_shares(watts: float, pods: Sequence[PodLoad]) -> tuple[Rule, list[float]]:
    if any(pod.measured_w is not None for pod in pods):
        return Rule.MEASURED, _measured(watts, [pod.measured_w for pod in pods])
    if any(pod.usage_cores is not None for pod in pods):
        return Rule.USAGE, _in_proportion([pod.usage_cores or 0.0 for pod in pods])
    return Rule.REQUESTS, _in_proportion([float(pod.requests.get(CPU, 0)) for pod in pods])


def _gpu_shares(watts: float, pods: Sequence[PodLoad]) -> list[float]:
    if any(pod.measured_gpu_w is not None for pod in pods):
        return _measured(watts, [pod.measured_gpu_w for pod in pods])
    return _in_proportion([float(pod.requests.get(GPU, 0)) for pod in pods])


def _measured(watts: float, measured: Sequence[float | None]) -> list[float]:
    claims = [max(0.0, each or 0.0) for each in measured]
    whole = max(watts, math.fsum(claims))
    return [claim / whole for claim in claims] if whole > 0 else claims


def _in_proportion(weights: Sequence[float]) -> list[float]:
    positive = [max(0.0, weight) for weight in weights]
    whole = math.fsum(positive)
    return [weight / whole for weight in positive] if whole > 0 else positive
