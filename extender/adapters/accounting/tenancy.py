"""A node and the pods on it: what it draws now, and which holders draw it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from extender.adapters.accounting.attribution import Attribution, PodLoad, attribute
from extender.adapters.accounting.books import NOBODY, PodRow
from extender.adapters.accounting.power import NodeModel, NodePower, estimate
from extender.adapters.accounting.readings import NodeReading, PodRef, PodWatts
from extender.core.facts import GangKey, NodeFacts, Role
from extender.core.nodes.resources import CPU, GPU, Resources


@dataclass(slots=True)
class Share:
    """Power and requested cores of one holder on a node. A leader's energy shrinks with the run time."""

    app: GangKey
    leads: bool
    watts: float = 0.0
    cores: float = 0.0


@dataclass(slots=True)
class Tenancy:
    """A node from `since_s` on. `facts` is None while only its pods are known."""

    name: str
    since_s: float
    facts: NodeFacts | None = None
    zone: str = ""
    model: NodeModel | None = None
    pue: float = 1.0
    pods: dict[str, PodRow] = field(default_factory=dict[str, PodRow])
    reading: NodeReading | None = None
    reading_until_s: float = -math.inf
    _shares: tuple[str, list[Share]] | None = None

    def changed(self) -> None:
        """Pods, facts or the reading changed: what was computed no longer holds."""
        self._shares = None

    def shares(self) -> tuple[str, list[Share]]:
        """Where the numbers come from, and every holder's power; the sum is the node's power."""
        if self._shares is None:
            self._shares = self._compute()
        return self._shares

    def power(self) -> tuple[str, NodePower]:
        """The node's power, PUE included, and its source (`source+gpu source`)."""
        if self.facts is None or self.model is None:
            return "unknown", NodePower(0.0, 0.0)
        allocatable, reading = self.facts.allocatable, self.reading
        gpus = allocatable.get(GPU, 0)
        given = sum(pod.requests.get(GPU, 0) for pod in self.pods.values())
        modelled = estimate(self.model, self._utilisation(allocatable), gpus, given)
        source, idle_w, dynamic_w = self.model.name, modelled.idle_w, modelled.dynamic_w
        if reading is not None and reading.total_w is not None:
            source = reading.source
            idle_w = min(modelled.idle_w if reading.idle_w is None else reading.idle_w, reading.total_w)
            dynamic_w = reading.total_w - idle_w
        gpu_idle_w, gpu_dynamic_w = modelled.gpu_idle_w, modelled.gpu_dynamic_w
        if reading is not None and reading.gpu_w is not None:
            source += f"+{reading.gpu_source}"
            gpu_idle_w = min(gpu_idle_w, reading.gpu_w)
            gpu_dynamic_w = reading.gpu_w - gpu_idle_w
        elif gpus:
            source += "+gpu-model"
        return source, NodePower(idle_w, dynamic_w, gpu_idle_w, gpu_dynamic_w).times(self.pue)

    def _utilisation(self, allocatable: Resources) -> float:
        """Of the node's cores: in use if that is measured, else requested."""
        cores = allocatable.get(CPU, 0) / 1000
        if cores <= 0:
            return 0.0
        usage = self.reading.pods_cores if self.reading is not None else None
        if usage is not None:
            return math.fsum(usage.get(_ref(pod), 0.0) for pod in self.pods.values()) / cores
        return sum(pod.requests.get(CPU, 0) for pod in self.pods.values()) / 1000 / cores

    def _compute(self) -> tuple[str, list[Share]]:
        source, power = self.power()
        allocatable = self.facts.allocatable if self.facts is not None else {}
        attribution = attribute(power, allocatable, [self._load(pod) for pod in self.pods.values()])
        return f"{source}/{attribution.rule}", self._by_holder(attribution, allocatable)

    def _load(self, pod: PodRow) -> PodLoad:
        reading, ref = self.reading, _ref(pod)
        if reading is None:
            return PodLoad(pod.uid, pod.requests)
        return PodLoad(
            pod.uid,
            pod.requests,
            usage_cores=_of(reading.pods_cores, ref, 1.0),
            # Only watts of the meter whose total is used can be compared with that total.
            measured_w=_of(reading.pods_w, ref, self.pue) if reading.total_w is not None else None,
            measured_gpu_w=_of(reading.pods_gpu_w, ref, self.pue) if reading.gpu_w is not None else None,
        )

    def _by_holder(self, attribution: Attribution, allocatable: Resources) -> list[Share]:
        by_holder: dict[tuple[GangKey, bool], Share] = {}
        requested = 0.0
        for pod in self.pods.values():
            leads = pod.role is Role.LEADER
            share = by_holder.setdefault((pod.app, leads), Share(pod.app, leads))
            cores = pod.requests.get(CPU, 0) / 1000
            share.watts += attribution.pods_w[pod.uid]
            share.cores += cores
            requested += cores
        free = max(0.0, allocatable.get(CPU, 0) / 1000 - requested)
        return [*by_holder.values(), Share(NOBODY, False, attribution.remainder_w, free)]


def _ref(pod: PodRow) -> PodRef:
    return PodRef(pod.app.namespace, pod.name)


def _of(watts: PodWatts | None, ref: PodRef, factor: float) -> float | None:
    """A pod's part; 0 for a pod the meter does not list, None where there is no such meter."""
    return None if watts is None else watts.get(ref, 0.0) * factor
