"""Importance by Decima: the learned policy's choice among all stages that could run.

Features as the policy was trained on: executors of the job / 20, +-2 for whether the offered executors are
its own, executors offered / 20, work left in ms / 100,000, tasks left / 200. Jobs are our applications.
We offer from the pool, so no job is the source (-2). Tasks left are those not yet succeeded, where the
original counts those not yet started: launches are not reported. The importance of a stage is its
probability over the greatest one, which is what PCAPS compares; there is no sampling. Stages that wait
for a parent cannot be chosen; they count as the original's hidden ones, importance 0.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np

from extender.core.dag.decima_network import Inference, Observation, infer
from extender.core.dag.decima_weights import DecimaWeights
from extender.core.dag.importance import Application
from extender.core.facts import GangKey

_EXECUTOR_SCALE: Final = 20.0
_WORK_SCALE_MS: Final = 100_000.0
_TASK_SCALE: Final = 200.0
_NOT_SOURCE: Final = -2.0


class Decima:
    """Asks the network about all applications at once.

    `executor_limit` is the most executors of one application (levels of the limit head), `offered` how
    many are free now; set it before events are applied.
    """

    costly = True

    def __init__(self, weights: DecimaWeights, executor_limit: int = 100, offered: int = 1) -> None:
        if executor_limit < 1:
            raise ValueError(f"executor_limit is {executor_limit}: it must be at least 1")
        self._weights = weights
        self._levels = executor_limit
        self.offered = offered

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Mapping[int, float]]:
        """Every application competes with every other: all tables are new."""
        tables: dict[GangKey, dict[int, float]] = {
            key: dict.fromkeys(application.graph.live(), 0.0) for key, application in applications.items()
        }
        at_work = {key: applications[key] for key, table in tables.items() if table}
        if not at_work:
            return tables
        names, observation = observe(at_work, self.offered)
        chances = infer(self._weights, observation, levels=0).stages
        best = float(chances.max())
        for (key, stage), chance in zip(names, chances.tolist(), strict=True):
            if stage in tables[key] and best > 0:
                tables[key][stage] = chance / best
        return tables

    def limits(self, applications: Mapping[GangKey, Application]) -> dict[GangKey, int]:
        """The likeliest executor limit of each application with open stages."""
        at_work = {key: each for key, each in applications.items() if each.graph.live()}
        if not at_work:
            return {}
        _, observation = observe(at_work, self.offered)
        inference: Inference = infer(self._weights, observation, self._levels)
        best = inference.limits.argmax(axis=1).tolist()
        # A job that is at the limit already has no valid level: it stays as wide as it is.
        return {
            key: level + 1 if at_work[key].executors < self._levels else self._levels
            for key, level in zip(at_work, best, strict=True)
        }


def observe(
    applications: Mapping[GangKey, Application], offered: int
) -> tuple[list[tuple[GangKey, int]], Observation]:
    """Rows of the network's input with their names, applications and stages in order of arrival."""
    names: list[tuple[GangKey, int]] = []
    rows: list[list[float]] = []
    jobs: list[list[float]] = []
    job_of: list[int] = []
    edges: list[tuple[int, int]] = []
    finished: list[bool] = []
    valid: list[bool] = []
    for number, (key, application) in enumerate(applications.items()):
        graph = application.graph
        job = [application.executors / _EXECUTOR_SCALE, _NOT_SOURCE, offered / _EXECUTOR_SCALE]
        jobs.append(job)
        row_of = {stage: len(names) + index for index, stage in enumerate(graph.stages)}
        edges.extend((row_of[parent], row_of[child]) for parent, child in graph.graph.edges)
        for stage in graph.stages:
            left = graph.standings[stage].open_tasks
            names.append((key, stage))
            rows.append([*job, left * graph.task_s[stage] * 1000 / _WORK_SCALE_MS, left / _TASK_SCALE])
            job_of.append(number)
            finished.append(not left)
            valid.append(graph.ready(stage))
    held = np.array([application.executors for application in applications.values()], np.int64)
    return names, Observation(
        np.array(rows, np.float32),
        np.array(jobs, np.float32),
        np.array(job_of, np.int64),
        edges,
        np.array(finished, bool),
        np.array(valid, bool),
        held + 1,
    )
