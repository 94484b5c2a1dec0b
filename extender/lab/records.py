"""Each submitted application as seen from outside: its pods, its reservation, its place in line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from extender.core.gangs.reservation import RESERVATION, decode
from extender.core.nodes.resources import one_pod
from extender.lab.registry import Object, node_of, uid_of
from extender.lab.spark import SparkApplication

Amounts = Mapping[str, int]
"""By resource, in base units."""


@dataclass
class GangRecord:
    """One submitted application, as the checks know it. Times are seconds since the epoch."""

    app: SparkApplication
    driver: Object
    created_s: float
    refused: bool = False
    placed: bool = False
    placed_s: float = 0.0
    bound_s: float | None = None
    ended_s: float | None = None
    executors: dict[str, Object] = field(default_factory=dict[str, Object])
    let_go: bool = False
    held: bool = False
    last_held_s: float | None = None
    refused_since_hold: bool = False

    @property
    def rank(self) -> tuple[int, str, str]:
        """Place in its queue: priority, creation time as the API server writes it, uid."""
        created = self.driver["metadata"]["creationTimestamp"]
        return -self.app.priority, created, uid_of(self.driver)

    @property
    def latest_start_s(self) -> float | None:
        """From then on carbon must not hold it; None if it never may. Not what the extender says."""
        delay_s = self.app.max_delay_s
        return None if delay_s is None else self.created_s + delay_s

    @property
    def waits(self) -> bool:
        """Whether it could be admitted one day and has not been."""
        return self.app.admissible and not self.placed and self.bound_s is None and self.ended_s is None

    def slots(self) -> Counter[str]:
        """Reserved slots by node, as written on the driver pod."""
        text = (self.driver["metadata"].get("annotations") or {}).get(RESERVATION, "")
        reservation = decode(text) if text else None
        return Counter(name for name in reservation.nodes if name) if reservation else Counter()

    def owed(self) -> dict[str, int]:
        """Executors of the minimum that are still to come, by the node their room is reserved on.

        Where a slot has moved and the annotation does not say so yet, fewer are counted, never more.
        """
        if self.bound_s is None or self.ended_s is not None:
            return {}
        bound = Counter(node_of(pod) for pod in self.executors.values())
        slots = self.slots()
        open_slots = {name: slots[name] - min(slots[name], bound[name]) for name in slots}
        surplus = sum(open_slots.values()) - max(0, self.app.executors - bound.total())
        return {name: max(0, number - max(0, surplus)) for name, number in open_slots.items()}


def fits(free: Iterable[Amounts], app: SparkApplication) -> bool:
    """Whether driver and minimum executors of an application fit into these free amounts of nodes."""
    driver, executor = one_pod(app.driver_requests), one_pod(app.executor_requests)
    nodes = list(free)
    rooms = [_room(each, executor) for each in nodes]
    for node, room in zip(nodes, rooms, strict=True):
        left = {each: node[each] - driver.get(each, 0) for each in node}
        if min(left.values()) >= 0 and sum(rooms) - room + _room(left, executor) >= app.executors:
            return True
    return False


def _room(free: Amounts, request: Amounts) -> int:
    return max(0, min(free.get(each, 0) // amount for each, amount in request.items()))
