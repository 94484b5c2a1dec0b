"""The engine: the store, the requests of gangs as read from pods, and those who take note of what happens.

Changes and requests go in, instructions and answers come out. The engine has no event loop and no clock:
every call says what time it is. So the service, the lab, the tests and the benchmarks all drive the same one,
and the same changes and requests in the same order give the same answers, byte for byte.

```
changes  ──►  observe(change, now)  ──►  instructions (annotate this pod, take that gate off)
requests ──►  filter, bind, prioritize, preempt  ──►  decisions
time     ──►  tick(now)  ──►  instructions
```
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from extender.core import queries
from extender.core.decisions import BindDecision, FilterDecision
from extender.core.early import EarlyDecisions
from extender.core.events import Event, Instruction, PodGone, PodRead, PodSeen, SpecRead, Tick
from extender.core.facts import PodFacts, Role
from extender.core.faults import Subject
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.offers import Offer
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from extender.core.store import Store


@dataclass(frozen=True, slots=True)
class ConfigMapSeen:
    """A ConfigMap was added or changed. `data` is what a dialect reads of it; None: nothing."""

    key: str
    data: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class ConfigMapGone:
    """A ConfigMap was deleted. Requests that were read from it stay: a running driver's may go before it."""

    key: str


Change = Event | ConfigMapSeen | ConfigMapGone


class Reader(Protocol):
    """Reads a gang's request from its leader and the ConfigMaps the leader mounts."""

    def read(
        self,
        leader: PodFacts,
        config_map: Mapping[str, str] | None,
        template: Mapping[str, str] | None = None,
    ) -> GangSpec | SpecProblem:
        """The request, or why it is not known. Never raises."""
        ...


class Observer(Protocol):
    """Takes note of what the engine has taken in and answered. It never waits; what it raises is a fault."""

    def after(self, event: Event, now: float) -> None:
        """The store has taken an event."""
        ...

    def answered(self, pod: PodFacts, decision: FilterDecision, now: float) -> None:
        """The store has answered filter."""
        ...


Reading = Callable[[PodFacts], GangSpec | SpecProblem]

_UNREAD: Final = SpecProblem(Outcome.INTERNAL_ERROR)


class Engine:
    """Everything the extender knows and decides.

    `reader` reads the requests of gangs. `observers` see each event and each answer of filter, in order.
    """

    def __init__(self, policy: Policy, reader: Reader, observers: Iterable[Observer] = ()) -> None:
        self.store = Store(policy)
        self.early = EarlyDecisions(self.store)
        self.requests = RequestIndex(reader)
        self.observers = list(observers)
        self.faults = self.store.faults

    # -- changes -----------------------------------------------------------------------------------

    def observe(self, change: Change, now: float) -> list[Instruction]:
        """Take in what happened; returns what is to be done about it. `now` is seconds since the epoch."""
        match change:
            case ConfigMapSeen():
                return self._learn(self.requests.keep(change.key, change.data), now)
            case ConfigMapGone():
                self.requests.keep(change.key, None)
                return []
            case PodSeen():
                instructions = self._apply(change, now) + self._read(change.pod, now)
                return instructions + self.early.seen(change.pod, now)
            case PodRead():
                return self._apply(change, now) + self._reread(change.pod, now)
            case PodGone():
                self.requests.forget(change.uid)
                self.early.forget(change.uid)
                return self._apply(change, now)
            case _:
                return self._apply(change, now)

    def tick(self, now: float) -> list[Instruction]:
        """Time passed: claims expire, holds end, what waits is woken."""
        return self._apply(Tick(), now)

    def introduce(self, pod: PodFacts, now: float) -> list[Instruction]:
        """Read the request of a gang before its leader is judged.

        kube-scheduler may know a driver a moment before the watch delivers it.
        """
        store = self.store
        if pod.role is not Role.LEADER or pod.gang is None or not queries.synced(store):
            return []
        if not store.policy.serves(pod.scheduler_name, pod.namespace) or store.knows_spec(pod.uid):
            return []
        return self._apply(SpecRead(pod, self._spec(pod, now, self.requests.read)), now)

    # -- requests ----------------------------------------------------------------------------------

    def filter(self, pod: PodFacts, offer: Offer, now: float) -> FilterDecision:
        """One node for a pod, or the reason why there is none."""
        decision = self.early.asked(pod.uid, self.store.filter(pod, offer, now))
        for observer in self.observers:
            self._tell(observer, now, lambda each: each.answered(pod, decision, now))
        return decision

    def bind(self, uid: str, node: str, now: float) -> BindDecision:
        """The annotations that the Binding of a pod must carry, or why it must not be made."""
        return self.store.bind(uid, node, now)

    def prioritize(self, pod: PodFacts, names: Sequence[str], now: float) -> list[int]:
        """Scores 0..10, one a name."""
        return self.store.prioritize(pod, names, now)

    def preempt(self, pod: PodFacts, victims: Mapping[str, Sequence[str]], now: float) -> list[str]:
        """The nodes on which evicting these pods (uids by node) would really let the pod start."""
        return self.store.preempt(pod, victims, now)

    # -- steps -------------------------------------------------------------------------------------

    def _apply(self, event: Event, now: float) -> list[Instruction]:
        instructions = self.early.released(self.store.apply(event, now), now)
        for observer in self.observers:
            self._tell(observer, now, lambda each: each.after(event, now))
        return instructions

    def _tell(self, observer: Observer, now: float, tell: Callable[[Observer], None]) -> None:
        """An observer that raises stops nothing."""
        subject = Subject("observer", type(observer).__name__)
        self.faults.guard(subject, "note", now, lambda: tell(observer), None, always=True, reads_only=True)

    def _spec(self, leader: PodFacts, now: float, read: Reading) -> GangSpec | SpecProblem:
        """The request of a gang. A reader that raises is tried again when its leader is judged."""
        return self.faults.guard(
            Subject.pod(leader),
            "read",
            now,
            lambda: read(leader),
            _UNREAD,
            name=f"{leader.namespace}/{leader.name}",
            always=True,
            reads_only=True,
        )

    def _read(self, pod: PodFacts, now: float) -> list[Instruction]:
        """A leader's request is read along with the leader."""
        if pod.role is not Role.LEADER or not self.store.policy.serves(pod.scheduler_name, pod.namespace):
            return []
        if pod.finished:
            self.requests.forget(pod.uid)
            return []
        return self._learn([pod], now)

    def _reread(self, pod: PodFacts, now: float) -> list[Instruction]:
        """A leader that the watch has not shown: its request is read, and not followed yet."""
        if pod.role is not Role.LEADER or queries.pod(self.store, pod.uid) is None:
            return []
        return self._apply(SpecRead(pod, self.requests.read(pod)), now)

    def _learn(self, leaders: Iterable[PodFacts], now: float) -> list[Instruction]:
        return [
            instruction
            for leader in leaders
            for instruction in self._apply(
                SpecRead(leader, self._spec(leader, now, self.requests.follow)), now
            )
        ]


@dataclass(slots=True)
class _Leader:
    pod: PodFacts
    config_map: Mapping[str, str] | None
    template: Mapping[str, str] | None
    spec: GangSpec | SpecProblem


class RequestIndex:
    """Requests of gangs: read once for each version of a leader and of the ConfigMaps it mounts."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._config_maps: dict[str, Mapping[str, str]] = {}
        self._leaders: dict[str, _Leader] = {}
        self._mounting: dict[str, dict[str, None]] = {}

    def __len__(self) -> int:
        """ConfigMaps kept."""
        return len(self._config_maps)

    def read(self, leader: PodFacts) -> GangSpec | SpecProblem:
        """The request of the gang led by this pod, or why it is not known (yet)."""
        config_map, template = (
            self._data(leader, leader.config_map),
            self._data(leader, leader.template_config_map),
        )
        known = self._leaders.get(leader.uid)
        if (
            known is not None
            and known.config_map is config_map
            and known.template is template
            and _asks_alike(known.pod, leader)
        ):
            return known.spec
        spec = self._reader.read(leader, config_map, template)
        if known is not None:
            self._leaders[leader.uid] = _Leader(leader, config_map, template, spec)
        return spec

    def follow(self, leader: PodFacts) -> GangSpec | SpecProblem:
        """As `read`; from now on the leader is found by the ConfigMaps it mounts."""
        spec = self.read(leader)
        if leader.uid not in self._leaders:
            config_map, template = (
                self._data(leader, leader.config_map),
                self._data(leader, leader.template_config_map),
            )
            self._leaders[leader.uid] = _Leader(leader, config_map, template, spec)
        self._leaders[leader.uid].pod = leader
        for name in _mounted(leader):
            self._mounting.setdefault(name, {})[leader.uid] = None
        return spec

    def forget(self, uid: str) -> None:
        """A pod is gone or has ended."""
        known = self._leaders.pop(uid, None)
        for name in _mounted(known.pod) if known is not None else ():
            uids = self._mounting.get(name, {})
            uids.pop(uid, None)
            if not uids:
                self._mounting.pop(name, None)

    def keep(self, key: str, data: Mapping[str, str] | None) -> list[PodFacts]:
        """A ConfigMap appeared, changed, or (None) is gone; returns the leaders that mount it."""
        before = self._config_maps.get(key)
        if data is None:
            self._config_maps.pop(key, None)
        elif data != before:
            self._config_maps[key] = data
        if data == before:
            return []
        return [self._leaders[uid].pod for uid in self._mounting.get(key, ())]

    def _data(self, leader: PodFacts, name: str) -> Mapping[str, str] | None:
        return self._config_maps.get(f"{leader.namespace}/{name}") if name else None


def _mounted(leader: PodFacts) -> list[str]:
    names = (leader.config_map, leader.template_config_map)
    return [f"{leader.namespace}/{name}" for name in names if name]


def _asks_alike(before: PodFacts, now: PodFacts) -> bool:
    return (
        before.annotations == now.annotations
        and before.terms == now.terms
        and before.requests == now.requests
        and before.config_map == now.config_map
        and before.template_config_map == now.template_config_map
        and before.admitted == now.admitted
    )
