"""One stage: its copies in the jobs that list it, the attempts that ran, and what follows from them.

Every fact is kept as a maximum, a minimum or a set, so the same reports in another order, or heard
twice, lead to the same stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from extender.core.stages.events import StageInfo

_NEXT_SHUFFLE: Final = 2**32  # larger than any id of an RDD
_RUNS_KEPT: Final = 2  # the present one, and one that tells durations while the present one has none


class StageState(StrEnum):
    """Where a stage stands.

    waiting   has not begun (or failed and will be tried again)
    running   has tasks
    complete  its output exists
    skipped   never ran, and nobody waits for it: its output exists, or no job wants it any more
    failed    did not finish, and no job wants it any more
    """

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    SKIPPED = "skipped"
    FAILED = "failed"


class RunId(NamedTuple):
    """One attempt; a later one is greater, whatever copy of the stage it belongs to."""

    stage_id: int
    attempt: int


@dataclass(slots=True)
class Run:
    """An attempt that got tasks. `tasks` is 0 until it is known; times are milliseconds since 1970."""

    tasks: int = 0
    submitted_ms: int | None = None
    completed_ms: int | None = None
    ended: bool = False
    failure: str = ""
    totals: tuple[int, int] = (0, 0)
    added: tuple[int, int] = (0, 0)

    @property
    def progress(self) -> tuple[int, int]:
        """Finished tasks, and the sum of their durations in milliseconds, by the better informed source."""
        return max(self.totals, self.added)

    def merge(self, other: Run) -> None:
        """Take what another record of the same attempt knows."""
        self.tasks = max(self.tasks, other.tasks)
        self.ended = self.ended or other.ended
        self.failure = max(self.failure, other.failure)
        self.totals = max(self.totals, other.totals)
        self.added = (self.added[0] + other.added[0], self.added[1] + other.added[1])
        submitted = [time for time in (self.submitted_ms, other.submitted_ms) if time is not None]
        completed = [time for time in (self.completed_ms, other.completed_ms) if time is not None]
        self.submitted_ms = min(submitted, default=None)
        self.completed_ms = max(completed, default=None)


def keep_latest(runs: dict[RunId, Run], run_id: RunId, run: Run) -> None:
    """Remember one more attempt; of many only the latest are kept."""
    runs[run_id] = run
    if len(runs) > _RUNS_KEPT:
        del runs[min(runs)]


@dataclass(slots=True)
class Copy:
    """The stage under the number that one or more jobs list it with. `final_in`: jobs that end with it."""

    info: StageInfo
    jobs: set[int] = field(default_factory=set[int])
    final_in: set[int] = field(default_factory=set[int])

    def see(self, info: StageInfo) -> None:
        """A later attempt knows better; of two accounts of one, which is heard first must not matter."""
        if (info.attempt, info.tasks, info.name) > (self.info.attempt, self.info.tasks, self.info.name):
            self.info = info

    def wanted(self, ended: Container[int]) -> bool:
        """Whether a job still needs it. A copy whose job is not known yet is needed."""
        return not self.jobs or any(job not in ended for job in self.jobs)

    def closes(self, ended: Container[int]) -> bool:
        """Whether it is the last stage of a job that still runs: such a stage runs whatever exists."""
        return any(job not in ended for job in self.final_in)


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows for a stage now.

    `stage_id` and `attempt` are the present copy's. `open_tasks` have not succeeded yet; 0 when nobody
    wants them.
    """

    state: StageState
    stage_id: int
    attempt: int
    tasks: int
    finished: int
    open_tasks: int


@dataclass(slots=True)
class Stage:
    """A stage under its stable key, the id of its last RDD."""

    key: int
    copies: dict[int, Copy] = field(default_factory=dict[int, Copy])
    runs: dict[RunId, Run] = field(default_factory=dict[RunId, Run])

    def run(self, run_id: RunId, news: Run) -> None:
        """Take what is said of an attempt; of many attempts only the latest are kept."""
        known = self.runs.get(run_id)
        if known is not None:
            known.merge(news)
            return
        keep_latest(self.runs, run_id, news)

    def info(self) -> StageInfo:
        """The newest description."""
        return self.copies[max(self.copies)].info

    def task_times(self) -> tuple[int, int]:
        """Finished tasks and their time in milliseconds, of the latest attempt that has any; else zeros."""
        for run_id in sorted(self.runs, reverse=True):
            progress = self.runs[run_id].progress
            if progress[0] > 0:
                return progress
        return 0, 0

    def standing(self, ended: Container[int], *, awaited: bool = True) -> Standing:
        """Where the stage stands, given the jobs that ended and whether a later stage waits for it.

        Spark begins a stage when the output of all its parents exists, and then no parent has to run that has
        not: its output was made by an earlier job, even one that nobody told us of.
        """
        latest = max(self.runs, default=None)
        run = self.runs[latest] if latest is not None else None
        wanted = [stage_id for stage_id, copy in self.copies.items() if copy.wanted(ended)]
        newest = self.copies[max(wanted) if wanted else max(self.copies)]
        waiting = bool(wanted) and (awaited or newest.closes(ended))
        if run is None or latest is None:
            return _unbegun(newest.info, StageState.WAITING if waiting else StageState.SKIPPED)
        complete = run.ended and not run.failure
        if not wanted:
            return self._begun(latest, run, StageState.COMPLETE if complete else StageState.FAILED)
        runs_on = not run.ended and latest.stage_id in wanted
        if runs_on or latest.stage_id >= newest.info.stage_id:
            state = StageState.WAITING if run.ended else StageState.RUNNING
            return self._begun(latest, run, StageState.COMPLETE if complete else state)
        if complete and not newest.closes(ended):
            return self._begun(latest, run, StageState.COMPLETE)
        return _unbegun(newest.info, StageState.WAITING if waiting else StageState.SKIPPED)

    def _begun(self, run_id: RunId, run: Run, state: StageState) -> Standing:
        copy = self.copies.get(run_id.stage_id)
        tasks = run.tasks or (copy.info.tasks if copy is not None else 0)
        finished = tasks if state is StageState.COMPLETE else min(tasks, run.progress[0])
        needed = state in (StageState.WAITING, StageState.RUNNING)
        return Standing(state, *run_id, tasks, finished, tasks - finished if needed else 0)


def _unbegun(info: StageInfo, state: StageState) -> Standing:
    open_tasks = info.tasks if state is StageState.WAITING else 0
    return Standing(state, info.stage_id, info.attempt, info.tasks, 0, open_tasks)


def keyed(stages: Iterable[StageInfo]) -> list[tuple[StageInfo, int]]:
    """A job's stages with their stable keys: the last RDD.

    Where several of them have the same one (it is shuffled in two ways), they are told apart by their order.
    """
    earlier: Counter[int] = Counter()
    keys: dict[int, int] = {}
    for info in sorted(stages, key=lambda info: info.stage_id):
        keys.setdefault(info.stage_id, info.rdd_id + _NEXT_SHUFFLE * earlier[info.rdd_id])
        earlier[info.rdd_id] += 1
    return [(info, keys[info.stage_id]) for info in stages]
