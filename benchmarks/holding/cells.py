"""The cells of the experiment: a cluster, a load and a grid, and how a policy does in them.

Core-hours are equal in all runs of a cell, so all of a difference in carbon is due to when work ran.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.holding.bounds import bound_grams
from benchmarks.holding.grids import DAY_S, ZONE, Ahead, Place, grid, series, week_start_s
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.policy import CapPolicy, CarbonPolicy, Policy
from extender.lab.simulation.results import GangRun, Run, totals
from extender.lab.simulation.run import Scenario, node, simulate
from extender.lab.simulation.workload import DailyWave, Submission, flexible, rigid_gangs

NODES: Final = 4
CORES: Final = 16
DAYS: Final = 8
"""Days of submissions. The first one fills the cluster and is not measured."""
EXECUTORS: Final = (2, 6)
RUN_H: Final = (1.0, 4.0)
PEAKS_H: Final = {"day": 14.0, "night": 2.0}
BLIND: Final = HoldPolicy.NONE.value
BUDGET: Final = "budget"
"""Nothing is held, and executors above the minimum keep within the carbon-aware budget (CAP)."""
POLICIES: Final = tuple(each.value for each in HoldPolicy if each is not HoldPolicy.NONE)

ELASTIC_LEAST: Final = 2
ELASTIC_MOST: Final = (6, 10)

_CORE_H_A_GANG: Final = (1 + sum(EXECUTORS) / 2) * sum(RUN_H) / 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One experiment: `load` and `share` (of gangs that may wait) are parts of 1, `delay_h` hours.

    Elastic gangs have 2 executors at least and request 6 to 10; more executors do the same work sooner.
    """

    place: Place
    peak: str
    load: float
    delay_h: float
    share: float
    seed: int
    ahead: Ahead = Ahead.FORECAST
    elastic: bool = False

    @property
    def key(self) -> str:
        """Identifies it in files."""
        return (
            f"{self.place.name}/{self.ahead}/{self.peak}/load={self.load:g}"
            f"/delay={self.delay_h:g}/share={self.share:g}{'/elastic' * self.elastic}/seed={self.seed}"
        )

    def submissions(self, start_s: float, policy: str) -> list[Submission]:
        """The gangs: the same for every policy, delay and share."""
        wave = DailyWave(
            gangs_per_day=self.load * NODES * CORES * 24 / _CORE_H_A_GANG,
            peak_h=PEAKS_H[self.peak],
            utc_offset_h=self.place.utc_offset_h,
        )
        times = wave.times(start_s, start_s + DAYS * DAY_S, random.Random(f"arrivals {self.seed}"))
        gangs = rigid_gangs(times, random.Random(f"gangs {self.seed}"), executors=EXECUTORS, run_h=RUN_H)
        if self.elastic:
            widths = random.Random(f"widths {self.seed}")
            gangs = [_elastic(gang, widths.randint(*ELASTIC_MOST)) for gang in gangs]
        who = random.Random(f"flexible {self.seed}")
        return flexible(gangs, self.delay_h * 3600, policy, who, self.share)


@dataclass(frozen=True, slots=True)
class Row:
    """How one policy did in a cell, over the measured days. Grams, seconds; the blind run beside it.

    `bound_grams` is less than any schedule can reach. `differ` counts gangs that started at another time
    than in the blind run.
    """

    cell: str
    policy: str
    gangs: int
    unfinished: int
    core_h: float
    blind_core_h: float
    grams: float
    blind_grams: float
    bound_grams: float
    flexible_grams: float
    flexible_blind_grams: float
    late: int
    worst_late_s: float
    differ: int
    waited_mean_s: float
    rigid_waited_mean_s: float
    rigid_waited_p95_s: float
    rigid_blind_waited_mean_s: float
    rigid_blind_waited_p95_s: float

    @property
    def saved(self) -> float:
        """Saving of the whole cluster in parts of the blind run."""
        return 1 - self.grams / self.blind_grams

    @property
    def saved_by_when(self) -> float:
        """The saving for each core-hour: what is due to cleaner hours. Fewer core-hours are the rest."""
        return 1 - (self.grams / self.core_h) / (self.blind_grams / self.blind_core_h)

    @property
    def possible(self) -> float:
        """The largest saving that the bound allows."""
        return 1 - self.bound_grams / self.blind_grams

    def to_json(self) -> dict[str, Any]:
        """For the file of results."""
        return asdict(self)


def _elastic(gang: Submission, most: int) -> Submission:
    """The same work for a gang that may have between two and `most` executors; it states its best time."""
    work_s = gang.executors * gang.run_s
    run_s, estimate_s = work_s / ELASTIC_LEAST, float(round(work_s / most))
    return replace(gang, executors=ELASTIC_LEAST, most_executors=most, run_s=run_s, estimate_s=estimate_s)


def policy_for(name: str) -> Policy:
    """The service's defaults, and where the policy needs it, a budget of executors (a fifth at least)."""
    least = NODES * CORES // 5
    cap = CapPolicy(enabled=name in ("cap", BUDGET), min_executors=least, executor_cpu_milli=1000)
    # A gang that says "none" itself is exempt from the budget; one that says nothing is not.
    default = Flexibility(policy=HoldPolicy.NONE) if name == BUDGET else INFLEXIBLE
    return Policy(carbon=CarbonPolicy(cap=cap, default=default))


def measure(cell: Cell, policies: Sequence[str], data: Path | None, kept: Path) -> Iterator[Row]:
    """Run a cell blind and under each policy. Takes some seconds a run."""
    on = grid(cell.place, data, cell.seed, cell.ahead, kept)
    start_s = float(week_start_s(series(cell.place, data), cell.seed))
    nodes = [node(f"n{number}", CORES, zone=ZONE) for number in range(NODES)]

    def run(policy: str) -> Run:
        hold = "" if policy == BUDGET else policy
        scenario = Scenario(nodes, cell.submissions(start_s, hold), [on], start_s=start_s)
        return simulate(scenario, policy_for(policy))

    blind = run(BLIND)
    slower = ELASTIC_MOST[1] / ELASTIC_LEAST if cell.elastic else 1.0
    bound = bound_grams(blind, on, NODES * CORES, measured, slower=slower)
    for policy in policies:
        yield row(cell, policy, blind if policy == BLIND else run(policy), blind, bound)


def measured(gang: GangRun, start_s: float) -> bool:
    """Whether a gang counts: the cluster is as full as it gets from the second day on."""
    return gang.submitted_s >= start_s + DAY_S


def row(cell: Cell, policy: str, run: Run, blind: Run, bound: float) -> Row:
    """A run beside the blind one."""
    start_s = min(gang.submitted_s for gang in blind.gangs) // DAY_S * DAY_S
    ours, theirs = (each.part(lambda gang: measured(gang, start_s)) for each in (run, blind))
    starts = {gang.name: gang.started_s for gang in theirs}
    whole, before = totals(ours), totals(theirs)
    rigid, rigid_before = (totals(each for each in part if not each.flexible) for part in (ours, theirs))
    able, able_before = (totals(each for each in part if each.flexible) for part in (ours, theirs))
    return Row(
        cell=cell.key,
        policy=policy,
        gangs=whole.gangs,
        unfinished=len(run.unfinished),
        core_h=whole.core_h,
        blind_core_h=before.core_h,
        grams=whole.grams,
        blind_grams=before.grams,
        bound_grams=bound,
        flexible_grams=able.grams,
        flexible_blind_grams=able_before.grams,
        late=whole.late,
        worst_late_s=whole.worst_late_s,
        differ=sum(1 for gang in ours if gang.started_s != starts.get(gang.name)),
        waited_mean_s=whole.waited_mean_s,
        rigid_waited_mean_s=rigid.waited_mean_s,
        rigid_waited_p95_s=rigid.waited_p95_s,
        rigid_blind_waited_mean_s=rigid_before.waited_mean_s,
        rigid_blind_waited_p95_s=rigid_before.waited_p95_s,
    )
