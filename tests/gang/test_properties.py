"""The design's invariants under any order of events, faults and restarts."""

from __future__ import annotations

import copy
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from extender.core.carbon.signal import Signal
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.events import CarbonSeen, StagesReported, Tick
from extender.core.facts import PodFacts
from extender.core.invariants import snapshot, violations
from extender.core.offers import Listed
from extender.core.outcomes import Outcome
from extender.core.policy import CapPolicy, CarbonPolicy, FifoMode, PcapsPolicy, Policy
from extender.core.queries import target
from extender.core.queue.packing import PACKERS
from extender.core.stages.events import JobStarted, StageInfo
from extender.core.stages.store import StageStore
from tests.gang.world import World, node, size, spec

FLEXIBLE = [
    Flexibility(policy, max_delay_s=delay_s, runtime_s=30.0)
    for policy in (HoldPolicy.THRESHOLD, HoldPolicy.SUSPEND_RESUME, HoldPolicy.CAP)
    for delay_s in (20.0, 100.0)
]
PROBE = PodFacts(uid="probe", namespace="ns", name="probe", scheduler_name="somebody-else")


class GangMachine(RuleBasedStateMachine):
    """Random life of a small cluster."""

    world: World

    @initialize(
        packer=st.sampled_from(sorted(PACKERS)),
        fifo=st.sampled_from(list(FifoMode)),
        same_zone=st.booleans(),
        nodes=st.lists(
            st.tuples(st.integers(3, 12), st.integers(4, 14), st.sampled_from("ab")), min_size=1, max_size=4
        ),
        carbon=st.booleans(),
        weight=st.sampled_from([0.0, 1.0]),
    )
    def start(
        self,
        packer: str,
        fifo: FifoMode,
        same_zone: bool,
        nodes: list[tuple[int, int, str]],
        carbon: bool,
        weight: float,
    ) -> None:
        used = CarbonPolicy(
            zone_label="topology.kubernetes.io/zone" if carbon else "none",
            carbon_weight=weight,
            cap=CapPolicy(enabled=True, min_executors=2, max_executors=9),
            pcaps=PcapsPolicy(enabled=True, gamma=0.5),
        )
        self.world = World(
            Policy(packer=packer, fifo=fifo, same_zone_workers=same_zone, hold_ttl_s=20, carbon=used)
        )
        for number, (cpu, pods, zone) in enumerate(nodes):
            self.world.add(node(f"n{number}", cpu, 16, pods=pods, zone=zone))
        self.count = 0
        self.foreign = False

    # -- what users and the cluster do ---------------------------------------------------------

    @rule(
        workers=st.integers(0, 4),
        extra=st.integers(0, 2),
        cpu=st.sampled_from([1, 1, 2]),
        driver=st.sampled_from([1, 1, 2]),
        readable=st.booleans(),
        priority=st.sampled_from([0, 0, 10]),
        allowed=st.sampled_from([INFLEXIBLE, INFLEXIBLE, *FLEXIBLE]),
    )
    def submit(
        self,
        workers: int,
        extra: int,
        cpu: int,
        driver: int,
        readable: bool,
        priority: int,
        allowed: Flexibility = INFLEXIBLE,
    ) -> None:
        self.count += 1
        self.world.now += 0.25
        wanted = spec(workers, workers + extra, worker=size(cpu), flexibility=allowed)
        leader = self.world.leader(
            f"app{self.count}", wanted if readable else None, requests=size(driver), priority=priority
        )
        self.world.specs.setdefault(leader.uid, wanted)

    @rule(data=st.data(), real=st.sampled_from([None, None, 1, 2]))
    def create_worker(self, data: st.DataObject, real: int | None) -> None:
        leaders = [
            p for p in self.world.pods.values() if p.role == "leader" and p.occupies and not p.deleting
        ]
        if leaders:
            leader = data.draw(st.sampled_from(sorted(leaders, key=lambda p: p.name)))
            self.count += 1
            assert leader.gang is not None
            wanted = self.world.specs[leader.uid]
            requests = size(real) if real else wanted.worker  # type: ignore[union-attr]
            self.world.worker(leader.gang.app_id, self.count, requests=requests)

    @rule(data=st.data(), phase=st.sampled_from(["Succeeded", "Failed"]))
    def finish(self, data: st.DataObject, phase: str) -> None:
        names = sorted(p.name for p in self.world.pods.values() if p.occupies)
        if names:
            self.world.end(data.draw(st.sampled_from(names)), phase)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        names = sorted(p.name for p in self.world.pods.values())
        if names:
            self.world.delete(data.draw(st.sampled_from(names)))

    @rule(
        data=st.data(),
        fields=st.sampled_from(
            [{"unschedulable": True}, {"unschedulable": False}, {"ready": False}, {"ready": True}]
        ),
    )
    def change_node(self, data: st.DataObject, fields: dict[str, bool]) -> None:
        names = sorted(self.world.nodes)
        if names:
            name = data.draw(st.sampled_from(names))
            self.world.add(replace(self.world.nodes[name], **fields))

    @rule(data=st.data())
    def remove_node(self, data: st.DataObject) -> None:
        if len(self.world.nodes) > 1:
            name = data.draw(st.sampled_from(sorted(self.world.nodes)))
            self.world.remove_node(name)
            for pod in [p for p in self.world.pods.values() if p.node == name]:
                self.world.delete(pod.name)

    @rule(cpu=st.integers(2, 8), pods=st.integers(3, 12))
    def add_node(self, cpu: int, pods: int) -> None:
        self.count += 1
        self.world.add(node(f"m{self.count}", cpu, 16, pods=pods, zone="b"))

    @precondition(lambda self: self.count % 3 == 0)
    @rule(data=st.data(), cpu=st.integers(1, 3))
    def foreign_pod(self, data: st.DataObject, cpu: int) -> None:
        """The default scheduler does not see our holds; it does see bound pods."""
        self.count += 1
        probe = replace(self.world.pod(f"f{self.count}", seen=False), requests=size(cpu))
        del self.world.pods[probe.uid]
        names = self.world.feasible(probe)
        if names:
            self.foreign = True
            self.world.foreign(probe.name, data.draw(st.sampled_from(sorted(names))), requests=size(cpu))

    # -- what the grid and drivers say ---------------------------------------------------------

    @rule(
        zone=st.sampled_from("ab"),
        values=st.lists(st.sampled_from([float("nan"), 50.0, 200.0, 600.0]), min_size=1, max_size=4),
    )
    def carbon_signal(self, zone: str, values: list[float]) -> None:
        now = self.world.now
        self.world.tell(
            CarbonSeen(Signal(zone, now, values[0], forecast=tuple(values), forecast_start_s=now, step_s=30))
        )

    @rule(data=st.data(), tasks=st.lists(st.integers(0, 8), min_size=1, max_size=3))
    def report_stages(self, data: st.DataObject, tasks: list[int]) -> None:
        keys = sorted(self.world.store.state.gangs)
        if keys:
            self.count += 1
            stages = tuple(
                StageInfo(10 * self.count + n, 10 * self.count + n, many) for n, many in enumerate(tasks)
            )
            key = data.draw(st.sampled_from(keys))
            self.world.tell(StagesReported(key, (JobStarted(self.count, stages),)))

    # -- what kube-scheduler does --------------------------------------------------------------

    @rule(data=st.data(), all_nodes=st.sampled_from([True, True, True, False]))
    def filter_one(self, data: st.DataObject, all_nodes: bool) -> None:
        pod = self._waiting(data)
        if pod is None:
            return
        world = self.world
        names = world.feasible(world.pods[world.uid(pod)])
        if not all_nodes:
            names = [name for name in names if data.draw(st.booleans())]
        before = set(world.store.state.nodes.overcommitted())
        first = world.filter(pod, names)
        if first.node:
            assert first.node in names
            assert set(world.store.state.nodes.overcommitted()) <= before
        again = world.filter(pod, names)
        assert (again.node, bool(again.node)) == (first.node, bool(first.node))
        if not first.node:
            assert again == first

    @rule(
        data=st.data(),
        fails=st.sampled_from([False, False, False, True]),
        told=st.booleans(),
        seen=st.booleans(),
    )
    def bind_one(self, data: st.DataObject, fails: bool, told: bool, seen: bool) -> None:
        claims = {
            uid: claim for uid, claim in self.world.store.state.claims.items() if uid in self.world.pods
        }
        waiting = sorted((self.world.pods[uid].name, claim.row) for uid, claim in claims.items())
        if waiting:
            name, row = data.draw(st.sampled_from(waiting))
            node_name = self.world.store.state.nodes.names[row]
            if node_name in self.world.nodes:
                # The Binding is always noticed: by the answer or by the watch.
                self.world.bind(name, node_name, fails=fails, told=told, seen=seen or not told)

    @rule(data=st.data())
    def schedule_one(self, data: st.DataObject) -> None:
        """Filter and bind, as kube-scheduler does when nothing goes wrong."""
        pod = self._waiting(data)
        if pod is not None:
            self.world.schedule(pod)

    @rule(workers=st.integers(1, 4), extra=st.integers(0, 2))
    def start_application(self, workers: int, extra: int) -> None:
        """A gang that starts with all its workers, if it can."""
        self.submit(workers, extra, cpu=1, driver=1, readable=True, priority=0)
        app = f"app{self.count}"
        if self.world.schedule(f"{app}-driver").node:
            for _ in range(workers + extra):
                self.count += 1
                self.world.schedule(self.world.worker(app, self.count).name)

    @rule(seconds=st.sampled_from([1, 1, 5, 25, 60]))
    def pass_time(self, seconds: int) -> None:
        self.world.tick(seconds)

    # -- faults --------------------------------------------------------------------------------

    @rule(lost=st.booleans())
    def lose_writes(self, lost: bool) -> None:
        self.world.lose_writes = lost

    @rule()
    def repeat_a_watch_event(self) -> None:
        for uid in list(self.world.pods)[:2]:
            self.world.see(uid)

    @rule()
    def kill_and_restart(self) -> None:
        """Nothing bound is lost and nothing is doubled."""
        self.world.restart()

    @precondition(lambda self: not self.world.lose_writes and not self.world.outdated)
    @rule()
    def rebuilt_equals_kept(self) -> None:
        """Invariant 5, up to tentative holds."""
        world = self.world
        # Graphs are not written down: drivers tell them again.
        world.store.entitlements.refresh(world.now)
        kept = copy.deepcopy(world, {id(world.store.state.stages): StageStore()})
        kept.store.filter(PROBE, Listed(()), kept.now)  # being asked makes it the replica that writes
        for uid in list(kept.store.state.claims):
            kept.store.state.release_claim(uid, kept.now, "expired")
        kept.do(kept.store.apply(Tick(), kept.now))
        rebuilt = copy.deepcopy(kept)
        rebuilt.restart()
        if not self.foreign:
            assert _held(rebuilt) == _held(kept), (_held(rebuilt), _held(kept))

    def _waiting(self, data: st.DataObject) -> str | None:
        names = sorted(p.name for p in self.world.pods.values() if p.waiting)
        return data.draw(st.sampled_from(names)) if names else None

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "world"):
            return
        broken = violations(self.world.store.state)
        for key, gang in self.world.store.state.gangs.items():
            wanted = target(self.world.store, key, self.world.now)
            assert wanted is None or gang.admission is None or wanted >= gang.admission.spec.min_workers
        if self.foreign:
            broken = [text for text in broken if "over-committed" not in text]
        assert not broken, broken

    def teardown(self) -> None:
        """Invariant 9: once faults stop, every admissible gang is admitted."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.lose_writes = False
        for pod in [p for p in world.pods.values() if p.role != "leader"]:
            world.delete(pod.name)
        for pod in [p for p in world.pods.values() if p.node]:
            world.delete(pod.name)
        for name in list(world.nodes):
            world.add(replace(world.nodes[name], unschedulable=False, ready=True))
        world.tick(200)
        for _ in range(len(world.pods) + 1):
            for pod in sorted(world.pods.values(), key=lambda p: (-p.priority, p.created_s)):
                decision = world.schedule(pod.name)
                if decision.node:
                    world.end(pod.name)
                    world.delete(pod.name)
                else:
                    assert decision.outcome in (Outcome.EXCEEDS_CLUSTER, Outcome.EARLIER_GANG_WAITS), decision
        left = [world.filter(pod.name).outcome for pod in world.pods.values()]
        assert set(left) <= {Outcome.EXCEEDS_CLUSTER}, left


def _held(world: World) -> object:
    taken = snapshot(world.store.state)
    return {key: value[:5] for key, value in taken["gangs"].items()}, taken["nodes"]


GangMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)
TestGangs = GangMachine.TestCase
