"""Gangs that run or wait, the slots reserved for their members, and how a reservation is written down.

The reservation is the annotation `carbon-scheduler/reservation` on the leader pod. It travels in the
Binding, so it is durable exactly when the leader is bound; a slot that moves later is patched in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

from extender.core.facts import GangKey, PodFacts
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.nodes.arrays import IntArray
from extender.core.nodes.resources import Resources

RESERVATION: Final = "carbon-scheduler/reservation"
VERSION: Final = 1
MOST_WORKERS: Final = 100_000
"""A reservation of more workers than this is not believed."""
MOST_HELD: Final = 1 << 56
"""Nor is one that holds more than this of a resource (64 PiB of memory): sums must stay exact."""
NOWHERE: Final = -1
"""Row of a slot for which no node has room now: it is owed, and placed as soon as room appears."""


@dataclass(slots=True, eq=False)
class Slot:
    """Room for one worker on a node. `pod_uid` is empty while nobody has it.

    `reserved` is the amount reserved on the node now. It is None once the pod that has the slot is bound
    (its own request is then accounted as used), and while the slot is NOWHERE.
    """

    row: int
    reserved: IntArray | None = None
    pod_uid: str = ""

    @property
    def open(self) -> bool:
        """Whether a worker may still take it."""
        return not self.pod_uid


@dataclass(slots=True, eq=False)
class Claim:
    """Room answered to filter for a pod that is not bound yet. It expires: there is no un-reserve call.

    `slot` is the reserved slot the pod will use, None for leaders, extra workers and single pods, whose
    room is then reserved by the claim itself (`reserved`).
    """

    pod: PodFacts
    row: int
    expires_s: float
    reserved: IntArray | None = None
    slot: Slot | None = None
    binding: bool = False


@dataclass(slots=True, eq=False)
class Gang:
    """One application: its leader pods (normally one), its workers, its slots.

    `sequence` numbers the reservation texts, whichever replica wrote them: a text with a lower number is an
    echo of an older state. `written` is what the latest text says.
    """

    key: GangKey
    leaders: dict[str, PodFacts] = field(default_factory=dict[str, PodFacts])
    specs: dict[str, GangSpec | SpecProblem] = field(default_factory=dict[str, "GangSpec | SpecProblem"])
    workers: dict[str, PodFacts] = field(default_factory=dict[str, PodFacts])
    owner_uid: str = ""
    spec: GangSpec | None = None
    slots: list[Slot] = field(default_factory=list[Slot])
    sequence: int = 0
    written: str = ""
    leader_ended: bool = False

    @property
    def owner(self) -> PodFacts | None:
        """The leader whose reservation this is: admitted or bound, not ended."""
        return self.leaders.get(self.owner_uid)

    def open_slots(self) -> Iterator[Slot]:
        """Slots nobody has yet, in slot order."""
        return (slot for slot in self.slots if not slot.pod_uid)


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
    if any(amount < 0 or amount * max(low, 1) > MOST_HELD for amount in worker.values()):
        return None
    return Reservation(worker, low, high, packer, nodes, sequence)
