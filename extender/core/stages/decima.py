"""Importance by Decima: the learned policy's choice among all stages that could run.

Features as the policy was trained on: executors of the job / 20, +-2 for whether the offered executors are
its own, executors offered / 20, work left in ms / 100,000, tasks left / 200. Jobs are our applications.
We offer from the pool, so no job is the source (-2); what is offered is what there is room for, at the size
of the application's own executors, where the original knows one size. Tasks left are those not yet succeeded,
where the original counts those not yet started: launches are not reported. The importance of a stage is its
probability over the greatest one, which is what PCAPS compares; there is no sampling. Stages that wait
for a parent cannot be chosen; they count as the original's hidden ones, importance 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from extender.core.facts import GangKey
from extender.core.stages.decima_network import Observation, infer, schedule
from extender.core.stages.decima_weights import DecimaWeights
from extender.core.stages.graph import StageGraph
from extender.core.stages.importance import Application, Ranking

MOST_EXECUTORS: Final = 100
"""As many as the clusters had on which the published policy was trained."""

_EXECUTOR_SCALE: Final = 20.0
_WORK_SCALE_MS: Final = 100_000.0
_TASK_SCALE: Final = 200.0
_NOT_SOURCE: Final = -2.0


class Decima:
    """Asks the network about all applications at once: which stage next, and how many executors for whom.

    `most_executors` is the greatest limit it may choose for one application (levels of the limit head).
    """

    costly = True

    def __init__(self, weights: DecimaWeights, most_executors: int = MOST_EXECUTORS) -> None:
        if most_executors < 1:
            raise ValueError(f"most_executors is {most_executors}: it must be at least 1")
        self._weights = weights
        self._levels = most_executors
        self._observe = Observer(most_executors)

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Ranking]:
        """Every application competes with every other: all rankings are new."""
        tables: dict[GangKey, dict[int, float]] = {
            key: dict.fromkeys(application.graph.live(), 0.0) for key, application in applications.items()
        }
        at_work = {key: applications[key] for key, table in tables.items() if table}
        if not at_work:
            return {key: Ranking(table) for key, table in tables.items()}
        names, observation = self._observe(at_work)
        inference = infer(self._weights, observation, self._levels)
        best = float(inference.stages.max())
        for (key, stage), chance in zip(names, inference.stages.tolist(), strict=True):
            if stage in tables[key] and best > 0:
                tables[key][stage] = chance / best
        limits = dict(zip(at_work, inference.limits.argmax(axis=1).tolist(), strict=True))
        return {
            key: Ranking(table, self._limit(applications[key], limits.get(key)))
            for key, table in tables.items()
        }

    def _limit(self, application: Application, level: int | None) -> int | None:
        """The likeliest limit; an application that is as wide as the highest one stays as it is."""
        if level is None:
            return None
        return level + 1 if application.executors < self._levels else application.executors


class Observer:
    """What the network sees of applications, in order of arrival.

    Only stages with open tasks are looked at, and what follows on them: messages go from the last stages to
    the first, and job summaries leave finished stages out, so what is finished changes nothing. The order of
    messages depends on an application's edges alone, and is kept while these stay as they are.
    """

    def __init__(self, most_executors: int = MOST_EXECUTORS) -> None:
        self._most = most_executors
        self._schedules: dict[GangKey, tuple[int, list[tuple[int, int]], list[list[int]]]] = {}

    def __call__(
        self, applications: Mapping[GangKey, Application]
    ) -> tuple[list[tuple[GangKey, int]], Observation]:
        """Names (application, stage) of the rows, and the rows."""
        names: list[tuple[GangKey, int]] = []
        rows: list[list[float]] = []
        jobs: list[list[float]] = []
        job_of: list[int] = []
        edges: list[tuple[int, int]] = []
        steps: list[list[int]] = []
        finished: list[bool] = []
        valid: list[bool] = []
        kept, self._schedules = self._schedules, {}
        for number, (key, application) in enumerate(applications.items()):
            graph, first = application.graph, len(names)
            offered = min(application.offered, self._most)
            job = [application.executors / _EXECUTOR_SCALE, _NOT_SOURCE, offered / _EXECUTOR_SCALE]
            jobs.append(job)
            stages = _open_and_after(graph)
            for stage in stages:
                left = graph.standings[stage].open_tasks
                names.append((key, stage))
                rows.append([*job, left * graph.task_s[stage] * 1000 / _WORK_SCALE_MS, left / _TASK_SCALE])
                finished.append(not left)
                valid.append(graph.ready(stage))
            job_of += [number] * len(stages)
            row_of = {stage: row for row, stage in enumerate(stages)}
            own = [(row_of[stage], row_of[child]) for stage in stages for child in graph.graph.succ[stage]]
            known = kept.get(key)
            if known is None or known[:2] != (len(stages), own):
                known = (len(stages), own, schedule(len(stages), own))
            self._schedules[key] = known
            edges += [(first + parent, first + child) for parent, child in own]
            for step, updated in enumerate(known[2]):
                if step == len(steps):
                    steps.append([])
                steps[step] += [first + row for row in updated]
        held = np.array([application.executors for application in applications.values()], np.int64)
        return names, Observation(
            np.array(rows, np.float32),
            np.array(jobs, np.float32),
            np.array(job_of, np.int64),
            edges,
            np.array(finished, bool),
            np.array(valid, bool),
            held + 1,
            steps,
        )


def _open_and_after(graph: StageGraph) -> list[int]:
    """Stages with open tasks and all that follow on them, in the order they were first heard of."""
    reached = set(graph.live())
    frontier = list(reached)
    while frontier:
        found = [child for child in graph.graph.succ[frontier.pop()] if child not in reached]
        reached.update(found)
        frontier += found
    return [stage for stage in graph.stages if stage in reached]
