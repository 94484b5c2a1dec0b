"""The stage graph of one application, revealed piece by piece.

Spark numbers the same shuffle anew in every job, and adaptive execution starts several jobs for one
query, so stages are keyed by their last RDD, edges join keys, and a stage's copies are folded into one.
Events may come late, twice and in any order. Nothing here grows without bound: of ended jobs only the
latest are remembered.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from extender.core.stages.acyclic import Acyclic
from extender.core.stages.durations import Durations
from extender.core.stages.events import (
    JobEnded,
    JobStarted,
    MoreTasksEnded,
    StageCompleted,
    StageEvent,
    StageInfo,
    StageSubmitted,
    TasksEnded,
)
from extender.core.stages.paths import Paths
from extender.core.stages.stage import Copy, Run, RunId, Stage, StageState, Standing, keep_latest, keyed


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of one application is remembered.

    `stages` is the most stage numbers at once: older jobs are forgotten for newer ones, and a job that
    alone exceeds it is left out and counted in `StageGraph.refused`. `ended_jobs` is the most jobs kept
    after their end. `early` is the most stages whose job, and reports whose stage, are not known yet. `edges`
    is the most references to parents; those beyond are left out and counted like refused stages.
    """

    stages: int = 5_000
    ended_jobs: int = 100
    early: int = 500
    edges: int = 20_000


class StageGraph:
    """Stages by key (id of the last RDD), with edges from parent to child in `graph`.

    `slots` is how many tasks the application runs at once: with one, a stage's length is its work.
    `refused` counts stages left out because of the limits and edges left out because they close a
    circle, or because too many of them had to be searched for one.
    """

    def __init__(self, limits: Limits | None = None, slots: int = 1) -> None:
        self._limits = limits or Limits()
        self.slots = max(1, slots)
        self.dag = Acyclic()
        self.graph = self.dag.graph
        self.stages: dict[int, Stage] = {}
        self.standings: dict[int, Standing] = {}
        self.task_s: dict[int, float] = {}
        self.length_s: dict[int, float] = {}
        self.open_parents: dict[int, int] = {}
        self.paths = Paths(self.dag, self.length_s)
        self.refused = 0
        self._key_of: dict[int, int] = {}
        self._jobs: dict[int, tuple[int, ...]] = {}
        self._ended: dict[int, None] = {}
        self._forgotten_job = -1
        self._jobless: OrderedDict[int, None] = OrderedDict()
        self._early: OrderedDict[int, dict[RunId, Run]] = OrderedDict()
        self._children_of: defaultdict[int, set[int]] = defaultdict(set)
        self._parents_of: dict[int, tuple[int, ...]] = {}
        self._references = self._edges = 0
        self._durations = Durations()
        self._too_large: OrderedDict[int, None] = OrderedDict()
        self._changed: set[int] = set()
        self._relinked: set[int] = set()
        self._live: tuple[int, ...] | None = None

    # -- events ----------------------------------------------------------------------------------

    def apply(self, events: Iterable[StageEvent]) -> None:
        """Take events in any order; all derived values are up to date afterwards."""
        for event in events:
            self._take(event)
        self.dag.rest()
        self._refresh()

    def set_slots(self, slots: int) -> None:
        """How many tasks the application can run at once (at least 1)."""
        if max(1, slots) != self.slots:
            self.slots = max(1, slots)
            self._changed.update(self.stages)
            self._refresh()

    def _take(self, event: StageEvent) -> None:
        match event:
            case JobStarted(job_id, stages):
                self._start_job(job_id, stages)
            case JobEnded(job_id):
                self._end_job(job_id)
            case StageSubmitted(stage, time_ms):
                self._ran(stage, Run(stage.tasks, submitted_ms=time_ms))
            case StageCompleted(stage, time_ms, failure):
                self._ran(stage, Run(stage.tasks, completed_ms=time_ms, ended=True, failure=failure))
            case TasksEnded(stage_id, attempt, finished, task_ms):
                self._progress(RunId(stage_id, attempt), Run(totals=(finished, task_ms)))
            case MoreTasksEnded(stage_id, attempt, finished, task_ms):
                self._progress(RunId(stage_id, attempt), Run(added=(finished, task_ms)))

    def _start_job(self, job_id: int, stages: tuple[StageInfo, ...]) -> None:
        if job_id in self._jobs or (job_id <= self._forgotten_job and job_id not in self._ended):
            return
        numbers = {info.stage_id for info in stages}
        if len(numbers) > self._limits.stages:
            self.refused += len(numbers)
            self._too_large[job_id] = None
            if len(self._too_large) > self._limits.ended_jobs:
                self._too_large.popitem(last=False)
            return
        while (
            len(self._key_of) + sum(number not in self._key_of for number in numbers) > self._limits.stages
            or len(self._jobs) > self._limits.stages
        ):
            self._forget_job()
        parents = {parent for info in stages for parent in info.parents}
        self._jobs[job_id] = tuple(info.stage_id for info in stages)
        for info, key in keyed(stages):
            self._move(info.stage_id, key)
            copy = self._copy(info, key)
            if copy is None:
                continue
            copy.jobs.add(job_id)
            if info.stage_id not in parents:
                copy.final_in.add(job_id)
            self._jobless.pop(info.stage_id, None)
        self._bound_ended()

    def _end_job(self, job_id: int) -> None:
        if job_id in self._ended or (job_id <= self._forgotten_job and job_id not in self._jobs):
            return
        self._ended[job_id] = None
        self._too_large.pop(job_id, None)
        for stage_id in self._jobs.get(job_id, ()):
            self._touch(stage_id)
        self._bound_ended()

    def _ran(self, info: StageInfo, run: Run) -> None:
        copy = self._copy(info)
        if copy is None:
            return
        key = self._key_of[info.stage_id]
        self.stages[key].run(RunId(info.stage_id, info.attempt), run)
        self._changed.add(key)
        if not copy.jobs:
            self._jobless[info.stage_id] = None
            if len(self._jobless) > self._limits.early:
                oldest, _ = self._jobless.popitem(last=False)
                self._drop_copy(oldest)

    def _progress(self, run_id: RunId, run: Run) -> None:
        key = self._key_of.get(run_id.stage_id)
        if key is not None:
            self.stages[key].run(run_id, run)
            self._changed.add(key)
            return
        early = self._early.setdefault(run_id.stage_id, {})
        known = early.get(run_id)
        if known is not None:
            known.merge(run)
        else:
            keep_latest(early, run_id, run)
        if len(self._early) > self._limits.early:
            self._early.popitem(last=False)

    # -- stages and edges ------------------------------------------------------------------------

    def _copy(self, info: StageInfo, key: int | None = None) -> Copy | None:
        """The copy an info describes; where there is none yet a new one, of a new stage if need be."""
        known = self._key_of.get(info.stage_id)
        if known is not None:
            copy = self.stages[known].copies[info.stage_id]
            copy.see(info)
            self._changed.add(known)
            return copy
        if len(self._key_of) >= self._limits.stages:
            self.refused += 1
            return None
        key = info.rdd_id if key is None else key
        if key not in self.stages:
            self.stages[key] = Stage(key)
            self.dag.add(key)
        self._key_of[info.stage_id] = key
        copy = self.stages[key].copies[info.stage_id] = Copy(info)
        self._changed.add(key)
        for parent in self._keep_parents(info):
            self._children_of[parent].add(info.stage_id)
            self._link(parent, info.stage_id)
        for child in self._children_of.get(info.stage_id, ()):
            self._link(info.stage_id, child)
        for run_id, run in self._early.pop(info.stage_id, {}).items():
            self.stages[key].run(run_id, run)
        return copy

    def _move(self, stage_id: int, key: int) -> None:
        """A job says which of an RDD's shuffles a stage is that was heard of before the job."""
        known = self._key_of.get(stage_id)
        if known is None or known == key or self.stages[known].copies[stage_id].jobs:
            return
        runs = self.stages[known].runs
        self._early[stage_id] = {
            run_id: runs.pop(run_id) for run_id in [*runs] if run_id.stage_id == stage_id
        }
        self._drop_copy(stage_id)

    def _keep_parents(self, info: StageInfo) -> tuple[int, ...]:
        kept = info.parents[: max(0, self._limits.edges - self._references)]
        self.refused += len(info.parents) - len(kept)
        self._references += len(kept)
        self._parents_of[info.stage_id] = kept
        return kept

    def _link(self, parent_id: int, child_id: int) -> None:
        parent, child = self._key_of.get(parent_id), self._key_of.get(child_id)
        if parent is None or child is None or self.graph.has_edge(parent, child):
            return
        if self._edges >= self._limits.edges or not self.dag.link(parent, child):
            self.refused += 1
            return
        self._edges += 1
        self._relinked.update((parent, child))

    def _touch(self, stage_id: int) -> None:
        key = self._key_of.get(stage_id)
        if key is not None:
            self._changed.add(key)

    # -- forgetting ------------------------------------------------------------------------------

    def _bound_ended(self) -> None:
        while len(self._ended) > self._limits.ended_jobs:
            self._forget_job()

    def _forget_job(self) -> None:
        """Forget the lowest-numbered ended job, with the stages that no other job lists.

        Where no job ended the lowest-numbered one goes: its end was lost, or it is too large to watch.
        Without jobs it is the oldest stage whose job never came.
        """
        if not self._ended and not self._jobs:
            self._drop_copy(self._jobless.popitem(last=False)[0])
            return
        job_id = min(self._ended or self._jobs)
        self._ended.pop(job_id, None)
        self._forgotten_job = max(self._forgotten_job, job_id)
        for stage_id in self._jobs.pop(job_id, ()):
            key = self._key_of.get(stage_id)
            if key is None:
                continue
            copy = self.stages[key].copies[stage_id]
            copy.jobs.discard(job_id)
            copy.final_in.discard(job_id)
            self._changed.add(key)
            if not copy.jobs:
                self._drop_copy(stage_id)

    def _drop_copy(self, stage_id: int) -> None:
        key = self._key_of.pop(stage_id)
        stage = self.stages[key]
        del stage.copies[stage_id]
        kept = self._parents_of.pop(stage_id)
        self._references -= len(kept)
        for parent in kept:
            waiting = self._children_of.get(parent)
            if waiting is not None:
                waiting.discard(stage_id)
                if not waiting:
                    del self._children_of[parent]
        self._changed.add(key)
        if stage.copies:
            return
        self._relinked.update(self.graph.pred[key], self.graph.succ[key])
        self._edges -= len(self.graph.pred[key]) + len(self.graph.succ[key])
        self.dag.remove(key)
        self.paths.forget(key)
        for table in (self.stages, self.standings, self.task_s, self.length_s, self.open_parents):
            table.pop(key, None)
        self._durations.forget(key)

    # -- derived values --------------------------------------------------------------------------

    def _refresh(self) -> None:
        changed = {key for key in self._changed if key in self.stages}
        relinked = {key for key in self._relinked if key in self.stages}
        self._live = None
        self._changed.clear()
        self._relinked.clear()
        for key in changed:
            self._durations.sample(key, *self.stages[key].task_times())
        if self._durations.learn():
            changed = set(self.stages)
        settled, turned = self._settle(changed | relinked)
        lengthened = {key for key in settled if self._measure(key)}
        self.paths.update(lengthened | relinked)
        for key in settled.union(*(self.graph.succ[key] for key in turned)):
            self.open_parents[key] = sum(
                1 for parent in self.graph.pred[key] if self.standings[parent].open_tasks
            )

    def _settle(self, start: set[int]) -> tuple[set[int], set[int]]:
        """See where stages stand, children first: whether a parent has to run depends on them.

        Answers the stages looked at, and those of them that have open tasks now and had none, or the reverse.
        """
        rank = self.dag.rank
        queue = [(-rank[key], key) for key in start]
        heapify(queue)
        queued, turned = set(start), set[int]()
        while queue:
            _, key = heappop(queue)
            before = self.standings.get(key)
            now = self.standings[key] = self.stages[key].standing(self._ended, awaited=self._awaited(key))
            if before is None or bool(before.open_tasks) != bool(now.open_tasks):
                turned.add(key)
            if before is None or (before.state is StageState.WAITING) != (now.state is StageState.WAITING):
                for parent in self.graph.pred[key]:
                    if parent not in queued:
                        queued.add(parent)
                        heappush(queue, (-rank[parent], parent))
        return queued, turned

    def _awaited(self, key: int) -> bool:
        """Whether a child waits for the stage; where no child is known, somebody else may."""
        children = self.graph.succ[key]
        return not children or any(self.standings[child].state is StageState.WAITING for child in children)

    def _measure(self, key: int) -> bool:
        self.task_s[key] = self._durations.task_s(key)
        open_tasks = self.standings[key].open_tasks
        length_s = self.task_s[key] * max(1.0, open_tasks / self.slots) if open_tasks else 0.0
        if self.length_s.get(key) == length_s:
            return False
        self.length_s[key] = length_s
        return True

    # -- reading ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def whole(self) -> bool:
        """Whether something is known, and nothing was reported of stages that are not."""
        return bool(self.stages) and not self._early and not self._too_large

    def live(self) -> tuple[int, ...]:
        """Keys of stages with tasks that somebody waits for, in the order they were first heard of."""
        if self._live is None:
            self._live = tuple(key for key in self.stages if self.standings[key].open_tasks)
        return self._live

    def ready(self, key: int) -> bool:
        """Whether a stage has open tasks and waits for no parent."""
        return self.standings[key].open_tasks > 0 and not self.open_parents[key]

    def remaining_s(self, key: int) -> float:
        """Work left in a stage, in task-seconds."""
        return self.standings[key].open_tasks * self.task_s[key]

    def slack_s(self, key: int) -> float:
        """How much longer a stage could take before the application does (critical-path seconds)."""
        return max(0.0, self.paths.total - self.paths.head[key] - self.paths.tail[key])

    def jobs(self, key: int) -> list[int]:
        """Jobs that list a stage, in order."""
        return sorted({job for copy in self.stages[key].copies.values() for job in copy.jobs})

    def skipped_copies(self, key: int) -> int:
        """Numbers under which jobs that ended listed the stage without running it."""
        stage = self.stages[key]
        ran = {run_id.stage_id for run_id in stage.runs}
        return sum(
            1
            for stage_id, copy in stage.copies.items()
            if stage_id not in ran and not copy.wanted(self._ended)
        )
