"""Kubernetes quantities ("1500m", "896Mi") as exact numbers, and what a pod asks of a node."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from tests.e2e.harness.client import Object

BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def quantity(text: str) -> Fraction:
    """Exact value: sums of requests are compared with capacity, and a rounding error would reject a pod."""
    for suffix, factor in BINARY.items():
        if text.endswith(suffix):
            return Fraction(text.removesuffix(suffix)) * factor
    suffix = text[-1] if text[-1] in DECIMAL else ""
    return Fraction(text.removesuffix(suffix)) * Fraction(10) ** DECIMAL[suffix]


def amounts(resources: Mapping[str, str] | None) -> dict[str, Fraction]:
    return {name: quantity(str(value)) for name, value in (resources or {}).items()}


def pod_requests(pod: Object) -> dict[str, Fraction]:
    """Largest of the init containers or the sum of the others, plus overhead; and one pod slot."""
    spec = pod["spec"]
    total: dict[str, Fraction] = {}
    for container in spec["containers"]:
        for name, value in amounts(container.get("resources", {}).get("requests")).items():
            total[name] = total.get(name, Fraction(0)) + value
    for container in spec.get("initContainers", []):
        for name, value in amounts(container.get("resources", {}).get("requests")).items():
            total[name] = max(total.get(name, Fraction(0)), value)
    for name, value in amounts(spec.get("overhead")).items():
        total[name] = total.get(name, Fraction(0)) + value
    return total | {"pods": Fraction(1)}
