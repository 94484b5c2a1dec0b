"""A small Kubernetes for the store: the API's truth, an extender over it, and faults between the two.

Watch events can be late, Bindings can fail or be answered late, annotation writes can be lost, and the
extender can be killed at any step and rebuilt from the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from extender.core.decisions import FilterDecision
from extender.core.events import (
    AnnotatePod,
    BindFailed,
    Event,
    Instruction,
    NodeGone,
    NodeSeen,
    PodBound,
    PodGone,
    PodRead,
    PodSeen,
    SpecRead,
    Synced,
    Tick,
    VerifyPod,
)
from extender.core.facts import GangKey, NodeFacts, PodFacts, Role
from extender.core.gangs.spec import WAIT_FOR_CONFIGURATION, GangSpec, SpecProblem
from extender.core.invariants import violations
from extender.core.nodes.resources import CPU, MEMORY, PODS
from extender.core.offers import Listed
from extender.core.policy import Policy
from extender.core.store import Store
from extender.core.wakes import WAKE

GIB = 1 << 30


def node(
    name: str, cpu: int = 8, memory: int = 32, *, pods: int = 110, zone: str = "", **kwargs: Any
) -> NodeFacts:
    """A ready node; cpu in cores, memory in GiB."""
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    labels.update(kwargs.pop("labels", {}))
    allocatable = {CPU: cpu * 1000, MEMORY: memory * GIB, PODS: pods, **kwargs.pop("extra", {})}
    return NodeFacts(name, allocatable, labels, **kwargs)


def size(cpu: int = 1, memory: int = 1, **more: int) -> dict[str, int]:
    """A request; cpu in cores, memory in GiB."""
    return {CPU: cpu * 1000, MEMORY: memory * GIB, **more}


def spec(workers: int, most: int | None = None, **kwargs: Any) -> GangSpec:
    """A gang of `workers` workers of 1 core and 1 GiB."""
    worker = kwargs.pop("worker", size())
    return GangSpec(worker, workers, workers if most is None else most, **kwargs)


@dataclass
class World:
    """Truth (`nodes`, `pods`, `specs`), the store, and the clock.

    `standby` is the store of a second extender: the watch tells it everything, kube-scheduler asks it
    nothing. `writes` are the annotations that were written, and by whom:
    "asked" or "standby".
    """

    policy: Policy = field(default_factory=Policy)
    now: float = 1_000.0
    nodes: dict[str, NodeFacts] = field(default_factory=dict)
    pods: dict[str, PodFacts] = field(default_factory=dict)
    specs: dict[str, GangSpec | SpecProblem] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)
    writes: list[tuple[str, AnnotatePod]] = field(default_factory=list)
    lose_writes: bool = False
    outdated: bool = False  # a write was lost, so the API says less than the store knows
    standby: Store | None = None
    store: Store = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.policy)
        self.store.apply(Synced(), self.now)

    # -- the extender --------------------------------------------------------------------------

    def restart(self) -> None:
        """Kill the extender; a new one rebuilds its state from the API."""
        self.store = self.rebuilt()
        self.outdated = False
        self.tick()

    def start_standby(self) -> None:
        """A second extender starts; kube-scheduler goes on asking the first one."""
        self.standby = self.rebuilt()

    def fail_over(self) -> None:
        """The other kube-scheduler becomes leader; from now on its extender is asked."""
        assert self.standby is not None
        self.store, self.standby = self.standby, self.store

    def rebuilt(self) -> Store:
        """The store of an extender that starts now."""
        store = Store(self.policy)
        for facts in self.nodes.values():
            store.apply(NodeSeen(facts), self.now)
        for pod in self.pods.values():
            store.apply(PodSeen(pod), self.now)
        for uid, wanted in self.specs.items():
            if uid in self.pods:
                store.apply(SpecRead(self.pods[uid], wanted), self.now)
        store.apply(Synced(), self.now)
        return store

    def tell(self, event: Event) -> None:
        """Every extender learns of an event."""
        for store in [self.store] if self.standby is None else [self.store, self.standby]:
            self.do(store.apply(event, self.now), store)

    def do(self, instructions: Sequence[Instruction], by: Store | None = None) -> None:
        """Carry out what a store (by default the one that is asked) wants done."""
        for instruction in instructions:
            if isinstance(instruction, VerifyPod):
                self._answer(instruction, by)
                continue
            assert isinstance(instruction, AnnotatePod)
            pod = self.pods.get(instruction.uid)
            self.writes.append(("standby" if by is not None and by is self.standby else "asked", instruction))
            if instruction.wake:
                assert set(instruction.annotations) == {WAKE}
                self.woken.append(instruction.name)
            if pod is not None and self.lose_writes:
                self.outdated = True
            elif pod is not None:
                self.pods[pod.uid] = replace(pod, annotations={**pod.annotations, **instruction.annotations})
                self.see(pod.uid)

    def _answer(self, asked: VerifyPod, by: Store | None) -> None:
        """The API server says what a pod is that the watch has not shown."""
        pod = self.pods.get(asked.uid)
        store = by or self.store
        self.do(store.apply(PodGone(asked.uid) if pod is None else PodRead(pod), self.now), store)

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass."""
        self.now += seconds
        self.tell(Tick())

    # -- nodes and pods ------------------------------------------------------------------------

    def add(self, *nodes: NodeFacts) -> None:
        """Add or change nodes."""
        for facts in nodes:
            self.nodes[facts.name] = facts
            self.tell(NodeSeen(facts))

    def remove_node(self, name: str) -> None:
        """Delete a node; its pods stay until somebody deletes them."""
        del self.nodes[name]
        self.tell(NodeGone(name))

    def see(self, uid: str) -> None:
        """The watch delivers a pod as it is now."""
        self.tell(PodSeen(self.pods[uid]))

    def pod(self, name: str, *, seen: bool = True, **fields: Any) -> PodFacts:
        """Create a pod of our scheduler in namespace `ns` (or as `fields` say)."""
        values: dict[str, Any] = {
            "uid": f"uid-{name}",
            "namespace": "ns",
            "name": name,
            "scheduler_name": "carbon-scheduler",
            "requests": size(),
            "created_s": self.now,
        }
        pod = PodFacts(**{**values, **fields})
        self.pods[pod.uid] = pod
        if seen:
            self.see(pod.uid)
        return pod

    def leader(self, app: str, wanted: GangSpec | SpecProblem | None, **fields: Any) -> PodFacts:
        """Create a driver; `wanted` None means that its configuration has not come yet."""
        namespace = str(fields.get("namespace", "ns"))
        name = str(fields.pop("name", f"{app}-driver"))
        seen = bool(fields.pop("seen", True))
        pod = self.pod(name, role=Role.LEADER, gang=GangKey(namespace, app), seen=seen, **fields)
        if wanted is not None:
            self.configure(pod, wanted)
        return pod

    def configure(self, leader: PodFacts, wanted: GangSpec | SpecProblem) -> None:
        """The driver's configuration becomes readable."""
        self.specs[leader.uid] = wanted
        self.tell(SpecRead(leader, wanted))

    def worker(self, app: str, number: int, **fields: Any) -> PodFacts:
        """Create an executor."""
        namespace = str(fields.get("namespace", "ns"))
        name = str(fields.pop("name", f"{app}-exec-{number}"))
        return self.pod(name, role=Role.WORKER, gang=GangKey(namespace, app), **fields)

    def foreign(self, name: str, on: str, **fields: Any) -> PodFacts:
        """A pod of the default scheduler, bound."""
        return self.pod(name, scheduler_name="default-scheduler", node=on, phase="Running", **fields)

    def end(self, name: str, phase: str = "Succeeded") -> None:
        """A pod ends; its object stays."""
        uid = self.uid(name)
        self.pods[uid] = replace(self.pods[uid], phase=phase)
        self.see(uid)

    def delete(self, name: str) -> None:
        """A pod object goes."""
        uid = self.uid(name)
        del self.pods[uid]
        self.tell(PodGone(uid))

    def uid(self, name: str) -> str:
        """The uid of the pod of this name."""
        return next(uid for uid, pod in self.pods.items() if pod.name == name)

    def node_of(self, name: str) -> str:
        """Where a pod is bound."""
        return self.pods[self.uid(name)].node

    def change(self, name: str, *, seen: bool = True, **fields: Any) -> PodFacts:
        """A pod changes."""
        uid = self.uid(name)
        self.pods[uid] = replace(self.pods[uid], **fields)
        if seen:
            self.see(uid)
        return self.pods[uid]

    # -- what the extender believes --------------------------------------------------------------

    def held(self, *, by: Store | None = None) -> dict[str, int]:
        """Pods for which room is held, by node."""
        table = (by or self.store).state.nodes
        pods = table.reserved[table.columns.index(PODS)]
        return {name: int(pods[row]) for name, row in table.row_of.items() if pods[row]}

    def slots(self, app: str, namespace: str = "ns", *, by: Store | None = None) -> list[tuple[str, str]]:
        """Node and pod of each slot of an application, sorted; "" for none."""
        state = (by or self.store).state
        gang = state.gangs.get(GangKey(namespace, app))
        names = {pod.uid: pod.name for pod in self.pods.values()}
        return sorted(
            (state.nodes.names[slot.row] if slot.row >= 0 else "", names.get(slot.pod_uid, slot.pod_uid))
            for slot in (gang.slots if gang is not None else ())
        )

    def sound(self) -> None:
        """No invariant is broken."""
        assert violations(self.store.state) == []

    # -- kube-scheduler ------------------------------------------------------------------------

    def filter(self, name: str, offered: Sequence[str] | None = None) -> FilterDecision:
        """One filter call; by default with every node on which the pod fits beside bound pods."""
        pod = self.pods[self.uid(name)]
        if pod.role is Role.LEADER and not self.store.knows_spec(pod.uid):
            wanted = self.specs.get(pod.uid, WAIT_FOR_CONFIGURATION)
            self.do(self.store.apply(SpecRead(pod, wanted), self.now))
        names = self.feasible(pod) if offered is None else offered
        return self.store.filter(pod, Listed(names), self.now)

    def filter_probe(self) -> None:
        """kube-scheduler asks for another scheduler's pod: the extender that is asked is the one to act."""
        probe = PodFacts(uid="probe", namespace="ns", name="probe", scheduler_name="somebody-else")
        self.store.filter(probe, Listed(()), self.now)

    def feasible(self, pod: PodFacts) -> list[str]:
        """What kube-scheduler's own filters leave: fit beside bound pods, readiness, constraints."""
        free: dict[str, dict[str, int]] = {
            name: dict(facts.allocatable) for name, facts in self.nodes.items()
        }
        for other in self.pods.values():
            if other.occupies and other.node in free:
                left = free[other.node]
                for resource, amount in {**other.requests, PODS: 1}.items():
                    left[resource] = left.get(resource, 0) - amount
        need: Mapping[str, int] = {**pod.requests, PODS: 1}
        return [
            name
            for name, facts in self.nodes.items()
            if facts.ready
            and not facts.unschedulable
            and pod.terms.accept_taints(facts.taints)
            and pod.terms.accept_labels(facts.labels, name)
            and all(free[name].get(resource, 0) >= amount for resource, amount in need.items())
        ]

    def bind(self, name: str, on: str, *, fails: bool = False, seen: bool = True, told: bool = True) -> str:
        """One bind call; returns the error text, empty when the pod is bound."""
        uid = self.uid(name)
        decision = self.store.bind(uid, on, self.now)
        if decision.error:
            return decision.error
        if decision.already_bound:
            return ""
        if fails:
            self.do(self.store.apply(BindFailed(uid), self.now))
            return "the API server refused"
        pod = self.pods[uid]
        self.pods[uid] = replace(pod, node=on, annotations={**pod.annotations, **decision.annotations})
        if told:
            self.do(self.store.apply(PodBound(uid, on), self.now))
        if seen:
            self.see(uid)
        return ""

    def schedule(self, name: str) -> FilterDecision:
        """Filter and, if a node is answered, bind."""
        decision = self.filter(name)
        if decision.node:
            error = self.bind(name, decision.node)
            assert not error, error
        return decision

    def run(self, app: str, workers: int) -> None:
        """Schedule a leader and its first workers."""
        decision = self.schedule(f"{app}-driver")
        assert decision.node, decision.reason
        for number in range(1, workers + 1):
            self.worker(app, number)
            decision = self.schedule(f"{app}-exec-{number}")
            assert decision.node, decision.reason
