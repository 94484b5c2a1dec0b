"""How important a stage is: one small interface, and the two providers that need no model.

Importance is 0..1 per stage with open tasks. Of finished and skipped stages nothing depends, and they
have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from extender.core.facts import GangKey
from extender.core.stages.graph import StageGraph

_NOTICEABLE: Final = 0.01


@dataclass(slots=True)
class Application:
    """One application among others.

    `executors` are those it has, `offered` those there is free room for; `weight` is its share.
    """

    graph: StageGraph = field(default_factory=StageGraph)
    executors: int = 0
    weight: float = 1.0
    offered: int = 1


@dataclass(frozen=True, slots=True)
class Ranking:
    """Importance 0..1 by stage key, and the most executors the application should have, if told."""

    importances: Mapping[int, float]
    executor_limit: int | None = None


class ImportanceProvider(Protocol):
    """Turns the applications, oldest first, into importances.

    Called with the applications that changed: after every batch of events, or once for many batches if it is
    `costly`. Answers the tables that are to be replaced, by application and stage key; an application left
    out keeps its table.
    """

    @property
    def costly(self) -> bool:
        """Whether one call is dear (many milliseconds) whatever changed."""
        ...

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Ranking]:
        """The new rankings by application."""
        ...


class CriticalPath:
    """1 on the critical path, less by the share of the path that a stage could slip.

    importance = 1 - slack / length of the critical path. The unit is the application, not the Spark job:
    adaptive execution runs one query as several jobs.
    """

    costly = False

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Ranking]:
        """Only changed applications can have changed."""
        return {key: Ranking(_critical(applications[key].graph)) for key in changed}


def _critical(graph: StageGraph) -> Mapping[int, float]:
    paths, total_s = graph.paths, graph.paths.total
    if total_s <= 0:
        return dict.fromkeys(graph.live(), 1.0)
    return {key: min(1.0, (paths.head[key] + paths.tail[key]) / total_s) for key in graph.live()}


class WeightedFair:
    """More important the further an application is below its fair share of the executors.

    importance = share / (share + executors), where share is the weighted part of all executors in use (at
    least one): 1 for an application with none, 1/2 at its share. Stages of one application are equal. An
    application keeps its importance until it has moved by a hundredth: that one grows does not mean new
    tables for all.
    """

    costly = True

    def __init__(self) -> None:
        self._told: dict[GangKey, float] = {}

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Ranking]:
        """Every application's share depends on all others with open stages."""
        at_work = [application for application in applications.values() if application.graph.live()]
        weight = sum(application.weight for application in at_work)
        executors = max(1, sum(application.executors for application in at_work))
        told, news = self._told, set(changed)
        self._told = {}
        rankings: dict[GangKey, Ranking] = {}
        for key, application in applications.items():
            share = executors * application.weight / weight if weight else 1.0
            importance = share / (share + application.executors) if share > 0 else 0.0
            before = told.get(key)
            if before is not None and abs(importance - before) < _NOTICEABLE:
                importance = before
                if key not in news:
                    self._told[key] = before
                    continue
            self._told[key] = importance
            rankings[key] = Ranking(dict.fromkeys(application.graph.live(), importance))
        return rankings
