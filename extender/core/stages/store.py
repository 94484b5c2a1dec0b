"""Stage graphs of all applications, and tables that answer questions without looking at a graph.

Events change graphs; each batch of them ends with new tables. Reading is a dictionary lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from extender.core.facts import GangKey
from extender.core.stages.events import StageEvent
from extender.core.stages.graph import Limits, StageGraph
from extender.core.stages.importance import Application, CriticalPath, ImportanceProvider, Ranking
from extender.core.stages.stage import StageState

UNKNOWN_IMPORTANCE: Final = 1.0
"""What is not known is important: nothing waits because its graph is missing."""

_HIGHEST_PRIORITY: Final = 1000


@dataclass(frozen=True, slots=True)
class OpenStage:
    """A stage whose tasks could run now: its present number, importance 0..1, tasks not yet succeeded."""

    stage_id: int
    importance: float
    open_tasks: int


@dataclass(frozen=True, slots=True)
class Priorities:
    """What an application's driver and its pods are asked about; replaced as a whole.

    `by_stage` is importance 0..1 by present stage number, stages with open tasks only. `ready` are those
    that wait for no parent, most important first. `importance` is the application's own: the mean of its
    ready stages weighted by work left (1 without any: unknown is important). `remaining_s` is the work
    left in task-seconds, `critical_path_s` the shortest time to its end. `idle` says that nothing is open, as
    far as one can know: nothing was reported of stages that are not in the graph. `executor_limit` is the
    most executors it should have, where the provider says so.
    """

    by_stage: Mapping[int, float]
    ready: tuple[OpenStage, ...]
    importance: float
    remaining_s: float
    critical_path_s: float
    idle: bool = False
    executor_limit: int | None = None


NO_PRIORITIES: Final = Priorities(MappingProxyType({}), (), UNKNOWN_IMPORTANCE, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage for people. `key` and `parents` are stable keys, `stage_id` and `attempt` the present copy's.

    `duration_s` is that of the latest attempt once it ended. `importance` is 0 where nothing is open.
    """

    key: int
    stage_id: int
    attempt: int
    name: str
    jobs: tuple[int, ...]
    parents: tuple[int, ...]
    state: StageState
    resource_profile: int
    tasks: int
    finished: int
    skipped: int
    task_s: float
    duration_s: float | None
    remaining_s: float
    slack_s: float
    importance: float


class _Width(NamedTuple):
    """Executors of an application, tasks they run at once, and the application's weight."""

    executors: int
    slots: int
    weight: float


class StageStore:
    """Graphs and tables by application.

    At most `applications` are kept; beyond that the one that was silent longest goes. Tables of a provider
    that looks at everything at once are made by `catch_up`, so that one look serves many batches.
    """

    def __init__(
        self,
        provider: ImportanceProvider | None = None,
        limits: Limits | None = None,
        applications: int = 2_000,
    ) -> None:
        self._provider: ImportanceProvider = provider or CriticalPath()
        self._limits = limits
        self._most = applications
        self._applications: dict[GangKey, Application] = {}
        self._heard: dict[GangKey, None] = {}
        self._importances: dict[GangKey, Mapping[int, float]] = {}
        self._priorities: dict[GangKey, Priorities] = {}
        self._unranked: dict[GangKey, None] = {}
        self._owed = False
        self._widths: dict[GangKey, _Width] = {}

    # -- changes ---------------------------------------------------------------------------------

    def apply(self, key: GangKey, events: Iterable[StageEvent]) -> None:
        """Take a batch of one application's events, in any order."""
        self._change(key, lambda application: application.graph.apply(events))

    def set_width(self, key: GangKey, executors: int, slots: int, weight: float = 1.0) -> None:
        """How many executors the application has, and how many tasks they run at once.

        Executors come and go within bindings, and stages are measured by them: `widen` does that afterwards.
        """
        present = self._applications.get(key)
        if present is None:
            return
        width = _Width(max(0, executors), max(1, slots), max(0.0, weight))
        if width == _Width(present.executors, present.graph.slots, present.weight):
            self._widths.pop(key, None)
        else:
            self._widths[key] = width

    def widen(self) -> None:
        """Measure stages by the executors there are now."""
        while self._widths:
            key, width = self._widths.popitem()

            def change(application: Application, width: _Width = width) -> None:
                application.executors, application.weight = width.executors, width.weight
                application.graph.set_slots(width.slots)

            self._change(key, change)

    def forget(self, key: GangKey) -> None:
        """The application ended."""
        if key in self._applications:
            self._drop(key)
            self._publish(())

    def use(self, provider: ImportanceProvider) -> None:
        """Another provider from now on; every table is made anew."""
        self._provider = provider
        self._publish(tuple(self._applications))

    def offer(self, key: GangKey, executors: int) -> None:
        """How many more executors of an application there is free room for, from the next tables on."""
        application = self._applications.get(key)
        if application is not None:
            application.offered = max(0, executors)

    @property
    def behind(self) -> bool:
        """Whether a costly provider still owes tables."""
        return self._owed

    def catch_up(self) -> None:
        """Make the tables that a costly provider still owes."""
        if self._owed:
            self._rank(tuple(self._unranked))

    # -- lookups ---------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[GangKey]:
        return iter(self._applications)

    def __len__(self) -> int:
        return len(self._applications)

    def __contains__(self, key: GangKey) -> bool:
        return key in self._applications

    def priorities(self, key: GangKey) -> Priorities:
        """All that is answered to `.../stages/priority`; of an unknown application, `NO_PRIORITIES`."""
        return self._priorities.get(key, NO_PRIORITIES)

    def priority(self, key: GangKey) -> float:
        """Importance 0..1 of an application as a whole; 1 when it is not known."""
        return self._priorities.get(key, NO_PRIORITIES).importance

    def importance(self, key: GangKey, stage_id: int) -> float:
        """Importance 0..1 of a stage by its present number; 1 when it is not known."""
        return self._priorities.get(key, NO_PRIORITIES).by_stage.get(stage_id, UNKNOWN_IMPORTANCE)

    def graph(self, key: GangKey) -> StageGraph | None:
        """The application's graph, to read."""
        application = self._applications.get(key)
        return None if application is None else application.graph

    def stages(self, key: GangKey) -> tuple[StageView, ...]:
        """All stages of an application for people, in the order they were first heard of."""
        application = self._applications.get(key)
        if application is None:
            return ()
        importances = self._importances.get(key, {})
        return tuple(_view(application.graph, stage, importances) for stage in application.graph.stages)

    # -- tables ----------------------------------------------------------------------------------

    def _change(self, key: GangKey, change: Callable[[Application], None]) -> None:
        application = self._applications.get(key)
        if application is None:
            application = self._applications[key] = Application(StageGraph(self._limits))
        self._heard.pop(key, None)
        self._heard[key] = None
        while len(self._applications) > self._most:
            self._drop(next(iter(self._heard)))
        try:
            change(application)
        except BaseException:
            self._drop(key)  # half a change says nothing: what is unknown is important, and harms nobody
            raise
        self._publish((key,))

    def _drop(self, key: GangKey) -> None:
        for table in (
            self._applications,
            self._heard,
            self._importances,
            self._priorities,
            self._unranked,
            self._widths,
        ):
            table.pop(key, None)

    def _publish(self, changed: tuple[GangKey, ...]) -> None:
        if not self._provider.costly:
            self._rank(changed)
            return
        self._unranked.update(dict.fromkeys(changed))
        self._owed = True

    def _rank(self, changed: tuple[GangKey, ...]) -> None:
        self._unranked.clear()
        self._owed = False
        for key, ranking in self._provider.rank(self._applications, changed).items():
            self._importances[key] = ranking.importances
            self._priorities[key] = _priorities(self._applications[key].graph, ranking)


def spark_priorities(priorities: Priorities) -> dict[int, int]:
    """Stage number to `TaskSetManager.priority`: smaller is served first, 0 is the most important."""
    return {
        stage_id: round((1.0 - importance) * _HIGHEST_PRIORITY)
        for stage_id, importance in priorities.by_stage.items()
    }


def _priorities(graph: StageGraph, ranking: Ranking) -> Priorities:
    by_stage: dict[int, float] = {}
    ready: list[OpenStage] = []
    weighted_s = ready_s = remaining_s = 0.0
    for key, importance in ranking.importances.items():
        standing = graph.standings[key]
        by_stage[standing.stage_id] = importance
        work_s = graph.remaining_s(key)
        remaining_s += work_s
        if graph.ready(key):
            ready.append(OpenStage(standing.stage_id, importance, standing.open_tasks))
            weighted_s += importance * work_s
            ready_s += work_s
    ready.sort(key=lambda stage: (-stage.importance, stage.stage_id))
    own = weighted_s / ready_s if ready_s > 0 else UNKNOWN_IMPORTANCE
    idle = not by_stage and graph.whole
    return Priorities(
        MappingProxyType(by_stage),
        tuple(ready),
        own,
        remaining_s,
        graph.paths.total,
        idle,
        ranking.executor_limit,
    )


def _view(graph: StageGraph, key: int, importances: Mapping[int, float]) -> StageView:
    stage, standing = graph.stages[key], graph.standings[key]
    info = stage.info()
    run = stage.runs[max(stage.runs)] if stage.runs else None
    duration_s = None
    if run is not None and run.submitted_ms is not None and run.completed_ms is not None:
        duration_s = max(0, run.completed_ms - run.submitted_ms) / 1000
    return StageView(
        key,
        standing.stage_id,
        standing.attempt,
        info.name,
        tuple(graph.jobs(key)),
        tuple(sorted(graph.graph.pred[key])),
        standing.state,
        info.resource_profile,
        standing.tasks,
        standing.finished,
        graph.skipped_copies(key),
        graph.task_s[key],
        duration_s,
        graph.remaining_s(key),
        graph.slack_s(key) if standing.open_tasks else 0.0,
        importances.get(key, 0.0),
    )
