"""One simulated run: nodes, submissions and grids around the engine of the service, from beginning to end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from extender.adapters.spark.reader import SpecReader
from extender.core.decisions import FilterDecision
from extender.core.events import CarbonSeen
from extender.core.facts import NodeFacts, PodFacts, Role
from extender.core.nodes.resources import CPU, MEMORY, PODS
from extender.core.outcomes import Outcome
from extender.core.policy import Policy
from extender.engine import Engine, Observer
from extender.lab.simulation.applications import Application, Applications, Delays
from extender.lab.simulation.clock import VirtualClock
from extender.lab.simulation.cluster import Cluster
from extender.lab.simulation.grid import Grid
from extender.lab.simulation.kube_scheduler import KubeScheduler
from extender.lab.simulation.results import GangRun, Run
from extender.lab.simulation.workload import Submission

CARBON_ZONE: Final = "carbon-scheduler/carbon-zone"
TICK_S: Final = 60.0
"""The service looks at the time every second. Here that would cost more than all decisions, and decides
nothing else: the steps of a forecast and latest starts have ticks of their own."""
WATTS_PER_CORE: Final = 10.0
_PATIENCE_S: Final = 30 * 86_400.0
"""A cluster in which nothing has started or ended for so long is stuck: what waits will wait for ever."""
_SERVICE_TICK_S: Final = 1.0
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class Scenario:
    """Everything but the policy: the same for all policies that are compared.

    `watts_per_core` is drawn by each requested core from Binding to end. Nodes are on all the time whatever
    is decided, so what they draw while idle is not counted.
    """

    nodes: Sequence[NodeFacts]
    submissions: Sequence[Submission]
    grids: Sequence[Grid] = ()
    delays: Delays = field(default_factory=Delays)
    watts_per_core: float = WATTS_PER_CORE
    start_s: float | None = None

    @property
    def begins_s(self) -> float:
        """The moment at which the run begins."""
        if self.start_s is not None:
            return self.start_s
        return min((each.at_s for each in self.submissions), default=0.0)


def simulate(
    scenario: Scenario,
    policy: Policy | None = None,
    *,
    until_s: float = math.inf,
    tick_s: float = TICK_S,
    observers: Iterable[Observer] = (),
) -> Run:
    """Run a scenario under a policy until every gang has ended, or until a moment.

    Time is virtual: a day of 2,000 gangs on 1,000 nodes takes some seconds. The same scenario and policy give
    the same run, byte for byte. Raises `ValueError` where a grid's trace ends before the run does.
    """
    return Simulation(scenario, policy or Policy(), tick_s, observers).run(until_s)


class Simulation:
    """A scenario in progress; for tests that want to do something in the middle of it."""

    def __init__(
        self,
        scenario: Scenario,
        policy: Policy,
        tick_s: float = TICK_S,
        observers: Iterable[Observer] = (),
    ) -> None:
        self.scenario = scenario
        self.clock = VirtualClock(scenario.begins_s)
        self.engine = Engine(policy, SpecReader(), observers)
        self.cluster = Cluster(self.engine, self.clock)
        self.answers: Counter[str] = Counter()
        self._held = _HeldTime(self.clock)
        self._ended: dict[str, GangRun] = {}
        self._tick_s = tick_s
        self._ticks_planned: set[float] = set()
        # The scheduler hears of a change before the kubelets do: a pod is out of its queue when it runs.
        self.scheduler = KubeScheduler(self.cluster, on_answer=self._answered)
        self.applications = Applications(self.cluster, scenario.delays, self._finished)
        self.cluster.listeners.append(self._held.hear)
        self.cluster.listeners.append(self._look_at_gate)
        self._zone_of = {node.name: node.labels.get(CARBON_ZONE, "") for node in scenario.nodes}
        self._grids = {grid.zone: grid for grid in scenario.grids}
        self.cluster.start(scenario.nodes)
        for grid in scenario.grids:
            self._signal(grid, max(0, math.floor((self.clock.time() - grid.start_s) / grid.step_s)))
        self.applications.plan(scenario.submissions)
        for submission in scenario.submissions:
            if submission.latest_start_s is not None:
                self.clock.call_at(submission.latest_start_s, self.cluster.tick)
        self._tick()

    def run(self, until_s: float = math.inf) -> Run:
        """Let time pass until every gang has ended, or until a moment; gives what has come of it so far."""
        while self.applications.unfinished and self.clock.time() < until_s:
            if self.clock.time() > self.applications.moved_s + _PATIENCE_S:
                break
            self.clock.run(min(until_s, self.clock.time() + 86_400))
        order = [f"{each.namespace}/{each.name}" for each in self.scenario.submissions]
        return Run(
            gangs=[self._ended[key] for key in order if key in self._ended],
            unfinished=[key for key in order if key not in self._ended],
            answers=dict(self.answers),
            attempts=self.scheduler.attempts,
        )

    # -- time and grid ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.applications.unfinished:
            self.clock.call_later(self._tick_s, self._tick)
            self.cluster.tick()

    def _look_at_gate(self, before: PodFacts | None, after: PodFacts | None) -> None:
        """Only a tick takes a gate off; the service's next one is at most a second away."""
        if before is None and after is not None and after.hold_gate:
            self.clock.call_later(_SERVICE_TICK_S, self.cluster.tick)

    def _signal(self, grid: Grid, step: int) -> None:
        """Send the carbon service's answer when a step begins; at the end of a trace there is none."""
        if step >= len(grid.values) or (not self.applications.unfinished and step and self._ended):
            return
        self.cluster.tell(CarbonSeen(grid.signal(step)))
        self.clock.call_later(0.0, self.cluster.tick)
        self.clock.call_at(grid.start_s + (step + 1) * grid.step_s, self._signal, grid, step + 1)

    # -- results ---------------------------------------------------------------------------------

    def _answered(self, pod: PodFacts, answer: FilterDecision) -> None:
        self.answers[answer.outcome.value] += 1
        if pod.role is Role.LEADER:
            self._held.answered(pod.uid, answer.outcome is Outcome.HELD_FOR_CARBON)

    def _finished(self, app: Application) -> None:
        submission = app.submission
        assert app.ended_s is not None
        core_s = kwh = grams = 0.0
        for pod in app.pods.values():
            assert pod.ended_s is not None
            grid = self._grids.get(self._zone_of.get(pod.node, ""))
            watts = pod.cores * self.scenario.watts_per_core
            core_s += pod.cores * (pod.ended_s - pod.bound_s)
            kwh += watts * (pod.ended_s - pod.bound_s) / 3.6e6
            grams += math.nan if grid is None else grid.grams(watts, pod.bound_s, pod.ended_s)
        key = f"{submission.namespace}/{submission.name}"
        self._ended[key] = GangRun(
            name=submission.name,
            namespace=submission.namespace,
            submitted_s=submission.at_s,
            started_s=app.ended_s if app.started_s is None else app.started_s,
            ended_s=app.ended_s,
            failed=app.failed,
            latest_start_s=submission.latest_start_s,
            held_s=self._held.total(f"{key}/driver"),
            core_s=core_s,
            kwh=kwh,
            grams=grams,
        )


@dataclass
class _HeldTime:
    """How long each driver was held for carbon: by our gate, or by the last answer of filter."""

    clock: VirtualClock
    since_s: dict[str, float] = field(default_factory=dict[str, float])
    sums_s: dict[str, float] = field(default_factory=dict[str, float])

    def answered(self, uid: str, held: bool) -> None:
        """Filter was answered for a driver."""
        if held:
            self.since_s.setdefault(uid, self.clock.time())
        elif uid in self.since_s:
            spent_s = self.clock.time() - self.since_s.pop(uid)
            self.sums_s[uid] = self.sums_s.get(uid, 0.0) + spent_s

    def hear(self, before: PodFacts | None, after: PodFacts | None) -> None:
        """A pod changed: whether it is gated now."""
        if after is not None and after.role is Role.LEADER:
            if after.hold_gate:
                self.answered(after.uid, True)
            elif before is not None and before.hold_gate:
                self.answered(after.uid, False)

    def total(self, uid: str) -> float:
        """Seconds held, of a driver that has started."""
        return self.sums_s.get(uid, 0.0)


def node(
    name: str,
    cores: int = 16,
    memory_gib: int = 64,
    *,
    zone: str = "",
    labels: Mapping[str, str] | None = None,
) -> NodeFacts:
    """A ready node in a carbon zone."""
    allocatable = {CPU: 1000 * cores, MEMORY: memory_gib * _GIB, PODS: 110}
    return NodeFacts(name, allocatable, {**({CARBON_ZONE: zone} if zone else {}), **(labels or {})})
