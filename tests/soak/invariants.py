"""The invariants of the design, judged from the API objects: after every write, and once all is calm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.core.events import NodeSeen, PodSeen, Synced
from extender.core.gangs.reservation import RESERVATION
from extender.core.invariants import snapshot, violations
from extender.core.outcomes import Outcome
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
from extender.objects.projection import PodProjector, node_facts
from extender.objects.structs import decode_node, decode_pod
from extender.runtime.service import Service
from tests.soak.accounts import Accounts
from tests.soak.api import Server
from tests.soak.objects import OURS, TEAM, annotation, app_of, cores_of, gated, role_of
from tests.soak.surroundings import Disk

RACE_S: Final = 40.0
"""Beside faults of requests and watches: a foreign pod that came within this time may not be known yet."""
QUIET_RACE_S: Final = 1.5
"""The same without such faults."""
LEADING_S: Final = 15.0
"""For so long after a change of leaders answers are judged by what was bound when it happened."""
HELD_SLACK_S: Final = 5.0


class Judge:
    """Hears every write. `problems` are the broken invariants, in words, each once."""

    def __init__(self, registry: Registry, server: Server, clock: Callable[[], float]) -> None:
        self.problems: list[str] = []
        self.accounts = Accounts()
        self.wanted: dict[str, int] = {}
        self.race_s = QUIET_RACE_S
        self.foreign_s: dict[str, float] = {}
        self.disturbed_s: dict[str, float] = {}
        self.two_leaders_until_s = 0.0
        self.led_s = 0.0
        self._latest_s: dict[str, float] = {}
        self._binds_asked_s: dict[tuple[str, str], float] = {}
        self._newest: dict[str, int] = {}
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

    def submitted(self, app: str, executors: int, max_delay_s: float = 0.0) -> None:
        """A user wants an application to run, and allows it to wait so long for clean power."""
        self.wanted[app] = executors
        self._latest_s[app] = self._clock() + max_delay_s if max_delay_s else 0.0

    def withdrawn(self, app: str) -> None:
        """A user has deleted it."""
        self.wanted.pop(app, None)

    # -- after every write -------------------------------------------------------------------------

    def _hear(self, change: Change) -> None:
        """Only what the extender writes can break an invariant; all that is written counts."""
        held = dict(self.accounts.held) if self._server.writer else {}
        self.accounts.hear(change, self._clock())
        if change.kind != POD or change.type != "MODIFIED" or not self._server.writer:
            return
        before, after = change.before, change.object
        assert before is not None
        if not node_of(before) and node_of(after):
            self._binding(after)
        elif role_of(after) == "driver":
            self._text(after)
            moved = [node for node in self.accounts.held if self.accounts.held[node] > held.get(node, 0)]
            self._room_of(moved, f"the reservation of {after['metadata']['name']} was moved to it")

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
        if self._too_full(node, held=False) and not self._unforeseen(uid_of(made), node):
            self.broken("a node is over-committed by a Binding", f"{name} to {node}")
        if role_of(made) == "driver":
            self._driver(made)
        elif not self.accounts.held[node]:
            return
        else:
            self._room_of([node], f"{name} was bound to it")

    def _driver(self, made: Object) -> None:
        name = made["metadata"]["name"]
        reservation = self.accounts.taken[uid_of(made)].reservation
        if reservation is None:
            self.broken("a driver was bound without a reservation", name)
            return
        if reservation.min_workers != self.wanted.get(app_of(made), reservation.min_workers):
            self.broken("a driver was bound with a reservation of another size", name)
        self._newest[uid_of(made)] = reservation.sequence
        nodes = sorted({*reservation.nodes, node_of(made)})
        if any(not node or self._registry.find(NODE, "", node) is None for node in reservation.nodes):
            if not any(self._disturbed(node) for node in nodes):
                self.broken("a driver was bound although a slot has no room", f"{name} {reservation.nodes}")
            return
        self._room_of(nodes, f"{name} was bound")

    def _text(self, made: Object) -> None:
        """The extender has written a reservation: what it wrote last but one is not to come back for long."""
        found = self.accounts.taken.get(uid_of(made))
        if found is not None and found.reservation is not None:
            newest = self._newest.get(found.uid, 0)
            self._newest[found.uid] = max(newest, found.reservation.sequence)

    def _room_of(self, nodes: Sequence[str], what: str) -> None:
        if self._contested(nodes):
            return
        for node in nodes:
            if self._too_full(node, held=True):
                taken = self.accounts.used[node] + self.accounts.held[node]
                self.broken("there is no room for what was promised", f"{what}: {node} {taken} cores")

    def _too_full(self, node: str, *, held: bool) -> bool:
        accounts = self.accounts
        more = accounts.held[node] if held else 0
        cores, pods = self._capacity(node)
        return accounts.used[node] + more > cores or accounts.pods[node] + more > pods

    def _capacity(self, node: str) -> tuple[int, int]:
        found = self._registry.find(NODE, "", node)
        if found is None:
            return 0, 0
        offered = found["status"]["allocatable"]
        return int(offered["cpu"]), int(offered["pods"])

    def _contested(self, nodes: Sequence[str]) -> bool:
        """Whether others may have caused it: a foreign pod, a node that changed, two leaders at once."""
        now = self._clock()
        recent = any(now - self.foreign_s.get(node, -1e9) < self.race_s for node in nodes)
        return recent or now < self.two_leaders_until_s or any(self._disturbed(node) for node in nodes)

    def _unforeseen(self, uid: str, node: str) -> bool:
        """Whether the last look before this Binding could not show why the pod has no room."""
        asked_s = self._binds_asked_s.get((uid, node), self._clock())
        after = self.foreign_s.get(node, -1e9) >= asked_s
        return after or self._clock() < self.two_leaders_until_s or self._disturbed(node)

    def _disturbed(self, node: str) -> bool:
        return self._clock() < self.disturbed_s.get(node, 0.0)

    # -- answers -----------------------------------------------------------------------------------

    def bind_asked(self, made: Object, node: str) -> None:
        """kube-scheduler sends a bind; its Binding may come much later."""
        self._binds_asked_s.setdefault((uid_of(made), node), self._clock())

    def refused_twice(self, calls: Any, body: bytes, text: bytes) -> None:
        """The same request on the same state gives the same answer, byte for byte."""
        again = calls._filter(body).body
        if again != text:
            self.broken("the same request was answered otherwise", f"{text!r} then {again!r}")

    def refused(self, made: Object, reply: dict[str, Any]) -> None:
        """Carbon makes only those wait who allow it, and no longer than they allow."""
        reasons = " ".join((reply.get("FailedAndUnresolvableNodes") or {}).values())
        app = app_of(made)
        if Outcome.HELD_FOR_CARBON.value not in reasons or app not in self._latest_s:
            return
        if self._clock() > self._latest_s[app] + HELD_SLACK_S:
            self.broken("carbon makes an application wait longer than it allows", f"{app}: {reasons[:80]}")

    def placed(self, made: Object, node: str) -> None:
        """A leader decides on caches at least as new as the moment at which it began to lead."""
        now = self._clock()
        if now - self.led_s > LEADING_S or now < self.two_leaders_until_s or self._disturbed(node):
            return
        app = app_of(made)
        if role_of(made) == "executor":
            return  # its own application's slots count for it
        taken = self.accounts.committed_before(self.led_s, node, app)
        if taken + cores_of(made) > self._capacity(node)[0]:
            name = made["metadata"]["name"]
            what = "a new leader gave room away that was taken before"
            self.broken(what, f"{name} to {node}: {taken} cores")

    def evicted(self, node: str, cores: int, victims: Sequence[str]) -> None:
        """Pods are evicted only where that lets the pod start."""
        if self._contested([node]):
            return
        accounts = self.accounts
        freed = sum(accounts.taken[uid].cores for uid in victims if uid in accounts.taken)
        if accounts.used[node] - freed + cores > self._capacity(node)[0]:
            self.broken("pods were evicted for nothing", f"{node}: {victims}")

    def in_time(self, name: str, within_s: float) -> None:
        """A driver that fits must be bound by now."""
        found = self._registry.find(POD, TEAM, name)
        if found is not None and not node_of(found) and not gated(found):
            self.broken("an application that fits was not admitted", f"{name} within {within_s:g} s")

    # -- once all is calm --------------------------------------------------------------------------

    def settled(self) -> bool:
        """Whether every application that a user still wants has run."""
        return all(self._ended(app) for app in self.wanted)

    def _ended(self, app: str) -> bool:
        found = self._registry.find(POD, TEAM, f"{app}-driver")
        return found is None or phase_of(found) == "Succeeded"

    def once_calm(self, service: Service) -> None:
        """What must be so a while after the last fault, while applications still run."""
        state = service.store.state
        if service.store.leadership.leads(service._clock()):
            self._texts(service)
        existing = {uid_of(each) for each in self._registry.all(POD)}
        for uid in sorted({*state.pods, *state.seats, *state.claims} - existing):
            self.broken("a pod that does not exist is counted", uid)

    def at_the_end(self, services: Sequence[Service], leader: int) -> None:
        """What must be so once faults have stopped."""
        if self._registry.listener_failure is not None:
            self.broken("the model failed", repr(self._registry.listener_failure))
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
            if service.bookkeeper is not None and service.bookkeeper.problem:
                self.broken(f"replica {who}", service.bookkeeper.problem)
        self._booked(services[leader].settings.accounting.ledger)
        self.once_calm(services[leader])
        self._rebuilt(services[leader])

    def _booked(self, url: str | None) -> None:
        """Each second of each core is in the ledger once, unless a process or a clock was disturbed."""
        if url is None or self.race_s == RACE_S or self.disturbed_s:
            return
        ledger = Disk(url)
        ((core_s, since_s),) = ledger.select(
            "SELECT SUM(core_s), MIN(start_s) FROM bookings WHERE kind = 'actual'"
        )
        until_s = ledger.until_s() or 0.0
        ledger.close()
        cores = sum(self._capacity(each["metadata"]["name"])[0] for each in self._registry.all(NODE))
        if abs((core_s or 0.0) - cores * (until_s - (since_s or 0.0))) > 1.0:
            self.broken("the ledger lacks time or counts it twice", f"{core_s} s of {cores} cores")

    def _texts(self, service: Service) -> None:
        """The newest reservation is what a driver carries, by its number and by what the leader knows."""
        for admission in service.store.state.admissions():
            owner, written = admission.leader, admission.written
            if not owner.node:
                continue
            found = self._registry.find(POD, owner.namespace, owner.name)
            if found is None or uid_of(found) != owner.uid:
                continue
            carried = annotation(found, RESERVATION)
            if carried != written:
                self.broken("a driver does not carry the newest reservation", f"{carried} not {written}")
        for uid, pod in self.accounts.taken.items():
            number = pod.reservation.sequence if pod.reservation is not None else -1
            if pod.holds and number < self._newest.get(uid, 0):
                self.broken("a driver carries an older reservation", f"{pod.app}: {number}")

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
