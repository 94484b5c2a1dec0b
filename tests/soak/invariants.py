"""The invariants of the design, judged from the API objects: after every write, and once all is calm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.core.events import NodeSeen, PodSeen, Synced
from extender.core.gangs.reservation import RESERVATION, decode
from extender.core.invariants import snapshot, violations
from extender.engine import Engine
from extender.lab.registry import (
    NODE,
    POD,
    Change,
    Object,
    Registry,
    encode,
    node_of,
    occupies,
    phase_of,
    uid_of,
)
from extender.lab.scheduler import project_pod
from extender.objects.projection import PodProjector, node_facts
from extender.objects.structs import decode_node, decode_pod
from extender.runtime.service import Service
from tests.soak.api import Server

OURS: Final = "carbon-scheduler"
RACE_S: Final = 40.0
"""A foreign pod that came within this time may have taken what a Binding under way counted on."""


class Judge:
    """Hears every write. `problems` are the broken invariants, in words, each once."""

    def __init__(self, registry: Registry, server: Server, clock: Callable[[], float]) -> None:
        self.problems: list[str] = []
        self.wanted: dict[str, int] = {}
        self.foreign_s: dict[str, float] = {}
        self.disturbed_s: dict[str, float] = {}
        self.two_leaders_until_s = 0.0
        self.calm = False
        self._registry = registry
        self._server = server
        self._clock = clock
        self._projector = PodProjector(identify)
        registry.subscribe(self._hear)

    def broken(self, what: str, detail: str) -> None:
        """An invariant does not hold."""
        text = f"{what}: {detail}"
        if text not in self.problems and len(self.problems) < 20:
            self.problems.append(text)

    def submitted(self, app: str, executors: int) -> None:
        """A user wants an application to run."""
        self.wanted[app] = executors

    def withdrawn(self, app: str) -> None:
        """A user has deleted it."""
        self.wanted.pop(app, None)

    # -- after every write -------------------------------------------------------------------------

    def _hear(self, change: Change) -> None:
        if change.kind != POD or change.type != "MODIFIED" or not self._server.writer:
            return
        before, after = change.before, change.object
        assert before is not None
        if node_of(before) or not node_of(after):
            return
        self._binding(after)

    def _binding(self, made: Object) -> None:
        """The extender has just bound this pod."""
        name, node = made["metadata"]["name"], node_of(made)
        if made["spec"].get("schedulerName") != OURS:
            self.broken("a pod of another scheduler was bound", f"{name} to {node}")
        found = self._registry.find(NODE, "", node)
        if found is None:
            if not self._disturbed(node):
                self.broken("a pod was bound to a node that does not exist", f"{name} to {node}")
            return
        if found["spec"].get("taints"):
            self.broken("a pod was bound against a taint", f"{name} to {node}")
        if self._cores(node) < self._used(node) and not self._contested([node]):
            self.broken("a node is over-committed by a Binding", f"{name} to {node}")
        if (made["metadata"].get("labels") or {}).get("spark-role") == "driver":
            self._driver(made)

    def _driver(self, made: Object) -> None:
        name = made["metadata"]["name"]
        reservation = decode(made["metadata"].get("annotations", {}).get(RESERVATION, ""))
        if reservation is None:
            self.broken("a driver was bound without a reservation", name)
            return
        if reservation.min_workers != self.wanted.get(_app(made), reservation.min_workers):
            self.broken("a driver was bound with a reservation of another size", name)
        nodes = sorted({*reservation.nodes, node_of(made)})
        if any(not node or self._registry.find(NODE, "", node) is None for node in reservation.nodes):
            if not any(self._disturbed(node) for node in nodes):
                self.broken("a driver was bound although a slot has no node", f"{name} {reservation.nodes}")
            return
        if self._contested(nodes):
            return
        for node in nodes:
            taken = self._used(node) + self._reserved(node)
            if taken > self._cores(node):
                self.broken("a driver was bound to room that is not there", f"{name}: {node} {taken} cores")

    def _contested(self, nodes: Sequence[str]) -> bool:
        """Whether others may have caused it: a foreign pod, a node that changed, two leaders at once."""
        now = self._clock()
        recent = any(now - self.foreign_s.get(node, -1e9) < RACE_S for node in nodes)
        return recent or now < self.two_leaders_until_s or any(self._disturbed(node) for node in nodes)

    def _disturbed(self, node: str) -> bool:
        return self._clock() < self.disturbed_s.get(node, 0.0)

    def _cores(self, node: str) -> int:
        found = self._registry.find(NODE, "", node)
        return int(found["status"]["allocatable"]["cpu"]) if found is not None else 0

    def _used(self, node: str) -> int:
        pods = self._registry.all(POD)
        return (
            sum(
                project_pod(each).requests.get("cpu", 0)
                for each in pods
                if occupies(each) and node_of(each) == node
            )
            // 1000
        )

    def _reserved(self, node: str) -> int:
        """Slots on a node that no executor has taken yet, of all bound drivers, as their texts say."""
        pods = self._registry.all(POD)
        open_slots = 0
        for each in pods:
            role = (each["metadata"].get("labels") or {}).get("spark-role")
            if role != "driver" or not occupies(each) or each["metadata"].get("deletionTimestamp"):
                continue
            reservation = decode(each["metadata"].get("annotations", {}).get(RESERVATION, ""))
            if reservation is None:
                continue
            slots = Counter(reservation.nodes)
            bound = [node_of(one) for one in pods if _is_executor(one, _app(each)) and occupies(one)]
            away = 0
            for place in bound:
                if slots[place] > 0:
                    slots[place] -= 1
                else:
                    away += 1
            if away == 0:
                open_slots += slots[node]
        return open_slots

    def refused_twice(self, calls: Any, body: bytes, text: bytes) -> None:
        """The same request on the same state gives the same answer, byte for byte."""
        again = calls._filter(body).body
        if again != text:
            self.broken("the same request was answered otherwise", f"{text!r} then {again!r}")

    # -- once all is calm --------------------------------------------------------------------------

    def settled(self) -> bool:
        """Whether every application that a user still wants has run."""
        return all(self._ended(app) for app in self.wanted)

    def _ended(self, app: str) -> bool:
        found = self._registry.find(POD, "team", f"{app}-driver")
        return found is None or phase_of(found) == "Succeeded"

    def at_the_end(self, services: Sequence[Service], leader: int) -> None:
        """What must be so once faults have stopped."""
        for app in self.wanted:
            if not self._ended(app):
                self.broken("an application was never admitted", app)
        bound = {uid_of(each) for each in self._registry.all(POD) if occupies(each)}
        for number, service in enumerate(services):
            who = "ab"[number]
            state = service.store.state
            for text in violations(state):
                self.broken(f"replica {who}", text)
            if set(state.seats) != bound:
                self.broken(
                    f"replica {who} counts other pods than run", str(sorted(set(state.seats) ^ bound))
                )
            for cache in service.health.caches():
                if cache.stale_for_s(service._clock()):
                    self.broken(f"replica {who}", f"the watch of {cache.name} is silent and nobody looks")
        self._texts(services[leader])
        self._rebuilt(services[leader])

    def _texts(self, service: Service) -> None:
        for gang in service.store.state.gangs.values():
            owner = gang.owner
            if owner is None or not owner.node:
                continue
            found = self._registry.find(POD, owner.namespace, owner.name)
            carried = found and found["metadata"].get("annotations", {}).get(RESERVATION)
            if carried != gang.written:
                self.broken("a driver does not carry the newest reservation", f"{carried} not {gang.written}")

    def _rebuilt(self, service: Service) -> None:
        """A process that starts now knows the same."""
        engine = Engine(service.store.policy, SpecReader())
        now = service._clock()
        for each in self._registry.all(NODE):
            engine.observe(NodeSeen(node_facts(decode_node(encode(each)))), now)
        for each in self._registry.all(POD):
            engine.observe(PodSeen(self._projector.facts(decode_pod(encode(each)))), now)
        engine.observe(Synced(), now)
        before, after = snapshot(service.store.state), snapshot(engine.store.state)
        if before != after and not service.store.state.claims:
            self.broken("a rebuilt state differs", f"{_difference(before, after)}")


def _difference(before: Any, after: Any) -> str:
    parts = []
    for part in before:
        keys = before[part].keys() | after[part].keys()
        parts += [
            f"{key}: {before[part].get(key)} / {after[part].get(key)}"
            for key in sorted(keys)
            if before[part].get(key) != after[part].get(key)
        ]
    return "; ".join(parts)[:500]


def _app(made: Object) -> str:
    return (made["metadata"].get("labels") or {}).get("spark-app-selector", "")


def _is_executor(made: Object, app: str) -> bool:
    return (made["metadata"].get("labels") or {}).get("spark-role") == "executor" and _app(made) == app
