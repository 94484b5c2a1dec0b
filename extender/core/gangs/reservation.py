"""The text of a reservation.

The reservation is the annotation `carbon-scheduler/reservation` on the leader pod. It travels in the
Binding, so it is durable exactly when the leader is bound; a slot that moves later is patched in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from extender.core.gangs.spec import GangSpec
from extender.core.nodes.resources import Resources

RESERVATION: Final = "carbon-scheduler/reservation"
VERSION: Final = 1
MOST_WORKERS: Final = 100_000
"""A reservation of more workers than this is not believed."""
MOST_RESERVED: Final = 1 << 56
"""Nor is one of more than this of a resource (64 PiB of memory): sums must stay exact."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What the annotation says: sizes, bounds, the nodes of the slots, and which version of it this is."""

    worker: Resources
    min_workers: int
    max_workers: int
    packer: str
    nodes: tuple[str, ...]
    sequence: int = 0


def encode(spec: GangSpec, nodes: Iterable[str], sequence: int = 0) -> str:
    """Compact JSON of a reservation; slots are written as [node, how many]."""
    numbers = Counter(nodes)
    return json.dumps(
        {
            "v": VERSION,
            "n": sequence,
            "min": spec.min_workers,
            "max": spec.max_workers,
            "packer": spec.packer,
            "worker": {name: spec.worker[name] for name in sorted(spec.worker)},
            "slots": [[node, number] for node, number in numbers.items()],
        },
        separators=(",", ":"),
    )


def decode(text: str) -> Reservation | None:
    """The reservation in an annotation, or None when it is not one of ours (never an exception)."""
    try:
        data = cast("dict[str, Any]", json.loads(text))
        runs = [(str(node), int(number)) for node, number in cast("list[tuple[str, int]]", data["slots"])]
        worker = {str(name): int(amount) for name, amount in cast("dict[str, int]", data["worker"]).items()}
        low, high = int(data["min"]), int(data["max"])
        packer = str(data.get("packer", ""))
        version, sequence = int(data["v"]), int(data.get("n", 0))
        if sum(number for _, number in runs) != low or low > MOST_WORKERS:
            return None
        nodes = tuple(node for node, number in runs for _ in range(number))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, MemoryError):
        return None
    if version != VERSION or not 0 <= low <= high or len(nodes) != low or not 0 <= sequence < 1 << 53:
        return None
    if any(amount < 0 or amount * max(low, 1) > MOST_RESERVED for amount in worker.values()):
        return None
    return Reservation(worker, low, high, packer, nodes, sequence)
