"""States of a cluster to decide in: nodes in use, gangs with reserved slots, drivers that wait."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from benchmarks import bodies
from benchmarks.bodies import Object
from extender.core.events import Instruction, PodBound
from extender.core.facts import PodFacts
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import FifoMode
from extender.core.queue.packing import DEFAULT_PACKER, SINGLE_ZONE
from extender.core.store import Store
from extender.objects.projection import PodProjector, node_facts
from extender.objects.structs import decode_node, decode_pod
from extender.runtime.watch_sinks import WatchSinks

GANG_EXECUTORS = 8
"""Executors of every gang that fits: 500m and 256Mi each, like its driver."""
RESERVED = {"cpu": "100m", "executor_cpu": "100m", "executor_memory": "64Mi", "memory": "64Mi"}
"""The gangs that run: small, so that 500 of them have room on 100 nodes."""
BIG_MIB = 32 * 1024
"""Pods of which two fit an empty node and exactly one fits a node in use, however the rest is packed:
all other sizes leave 50m and 33Gi of every node, and every node runs something."""


class Queue(StrEnum):
    """Kinds of waiting drivers.

    fits     each has room, oldest first: all of them are planned before the youngest is answered
    blocked  none has room, and each has to be tried: its executors fit in sum, but its driver takes the
             room of one of them wherever it goes (the archived extender's defect D27)
    varied   the same, but no two ask for the same and each asks for less than the ones before, so that
             no refusal says anything of the next
    """

    FITS = "fits"
    BLOCKED = "blocked"
    VARIED = "varied"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One state to measure in."""

    nodes: int = 5000
    gangs: int = 500
    queued: int = 50
    queue: Queue = Queue.FITS
    packer: str = DEFAULT_PACKER
    fifo: FifoMode = FifoMode.STRICT

    @property
    def name(self) -> str:
        """As it stands in the names of figures."""
        queue = f"{self.queued} {self.queue}" if self.queued else "0"
        return f"nodes={self.nodes} gangs={self.gangs} queue={queue} packer={self.packer}"

    def to_json(self) -> str:
        """For the command line of a program."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Scenario:
        """Read the text of `to_json`."""
        given = json.loads(text)
        return Scenario(**{**given, "queue": Queue(given["queue"]), "fifo": FifoMode(given["fifo"])})

    def settings(self) -> dict[str, str]:
        """Options of the service in this scenario."""
        return {"pools.packer": self.packer, "pools.fifo": self.fifo}


class World:
    """Fills a store through the sinks of the watches, as a service is filled."""

    def __init__(self, sinks: WatchSinks, projector: PodProjector, scenario: Scenario) -> None:
        self.scenario = scenario
        self.names = self.names_of(scenario)
        self._sinks = sinks
        self._projector = projector

    @staticmethod
    def names_of(scenario: Scenario) -> list[str]:
        """Names of the nodes, in the order in which they are offered."""
        return [bodies.node_name(number) for number in range(scenario.nodes)]

    @property
    def store(self) -> Store:
        """The store that is filled."""
        return self._sinks.engine.store

    def fill(self) -> None:
        """Nodes, foreign pods, reserved gangs, then the queue. The same in every run."""
        for number in range(self.scenario.nodes):
            self._sinks.nodes.seen(node_facts(decode_node(bodies.encoded(bodies.node(number)))))
        draw = random.Random(8420)
        for number, name in enumerate(self.names):
            foreign: dict[str, Any] = {"node": name, "phase": "Running", "scheduler": bodies.FOREIGN}
            cpu, memory = str(draw.randint(0, 10)), f"{draw.randint(3, 14)}Gi"
            self.see(bodies.pod(f"foreign-{number}", cpu=cpu, memory=memory, **foreign))
        for kind in ("nodes", "pods", "config maps"):
            self._sinks.listed(kind)
        for number in range(self.scenario.gangs):
            self.admit(bodies.driver(f"reserved-{number}", GANG_EXECUTORS, **RESERVED))
        for number in range(self.scenario.queued):
            self.see(self.waiting_driver(self.scenario, number))

    @staticmethod
    def waiting_driver(scenario: Scenario, number: int) -> Object:
        """The pod of the queue's driver of that number."""
        app, created = f"waiting-{number}", f"2026-11-24T07:{number // 60 % 60:02d}:{number % 60:02d}Z"
        if scenario.queue is Queue.BLOCKED:
            return World.blocked_driver(scenario, app, created=created)
        if scenario.queue is Queue.VARIED:
            more_mib = scenario.queued - number
            return World.blocked_driver(scenario, app, created=created, more_mib=more_mib)
        return bodies.driver(app, GANG_EXECUTORS, created=created)

    @staticmethod
    def blocked_driver(scenario: Scenario, app: str, *, created: str, more_mib: int = 0) -> Object:
        """A driver whose executors fit the free room exactly, which the driver then does not leave them."""
        zones = len(bodies.ZONES) if scenario.packer in SINGLE_ZONE else 1
        size = f"{BIG_MIB + more_mib}Mi"
        return bodies.driver(
            app,
            -(-scenario.nodes // zones),  # all nodes, or those of the largest zone
            created=created,
            cpu="10m",
            memory=size,
            executor_cpu="10m",
            executor_memory=size,
        )

    def admit(self, made: Object) -> str:
        """Bring a driver all the way to its node; returns the node."""
        facts = self.see(made)
        now = time.time()
        decision = self.store.filter(facts, Listed(self.names), now)
        if decision.outcome is not Outcome.ADMITTED:
            raise RuntimeError(f"{facts.name} was to be admitted: {decision.reason}")
        bound = self.store.bind(facts.uid, decision.node, now)
        if bound.error:
            raise RuntimeError(f"{facts.name} was to be bound: {bound.error}")
        self.store.apply(PodBound(facts.uid, decision.node), now)
        return decision.node

    def facts(self, made: Object) -> PodFacts:
        """A pod as the core sees it."""
        return self._projector.facts(decode_pod(bodies.encoded(made)))

    def see(self, made: Object) -> PodFacts:
        """The watch shows a pod."""
        facts = self.facts(made)
        self._sinks.pods.seen(facts)
        return facts

    def lose(self, made: Object) -> None:
        """The watch shows that a pod is gone."""
        self._sinks.pods.gone(made["metadata"]["uid"])


def nothing(instructions: Iterable[Instruction]) -> None:
    """Carries out nothing: for a store without a cluster."""
