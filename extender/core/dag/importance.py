"""How important a stage is: one small interface, and two providers that need nothing but the graphs.

Importance is 0..1 per stage with open tasks. Of finished and skipped stages nothing depends, and they
have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from extender.core.dag.graph import StageGraph
from extender.core.facts import GangKey


@dataclass(slots=True)
class Application:
    """One application among others: its graph, its executors now, and its weight (1 is an ordinary one)."""

    graph: StageGraph = field(default_factory=StageGraph)
    executors: int = 0
    weight: float = 1.0


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
    ) -> Mapping[GangKey, Mapping[int, float]]:
        """Importance 0..1 by application and stage key."""
        ...


class CriticalPath:
    """1 on the critical path, less by the share of the path that a stage could slip.

    importance = 1 - slack / length of the critical path. The unit is the application, not the Spark job:
    adaptive execution runs one query as several jobs.
    """

    costly = False

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Mapping[int, float]]:
        """Only changed applications can have changed."""
        return {key: _critical(applications[key].graph) for key in changed}


def _critical(graph: StageGraph) -> Mapping[int, float]:
    paths, total_s = graph.paths, graph.paths.total
    if total_s <= 0:
        return dict.fromkeys(graph.live(), 1.0)
    return {key: min(1.0, (paths.head[key] + paths.tail[key]) / total_s) for key in graph.live()}


class WeightedFair:
    """More important the further an application is below its fair share of the executors.

    importance = share / (share + executors), where share is the weighted part of all executors in use (at
    least one): 1 for an application with none, 1/2 at its share. Stages of one application are equal.
    """

    costly = False

    def rank(
        self, applications: Mapping[GangKey, Application], changed: Collection[GangKey]
    ) -> Mapping[GangKey, Mapping[int, float]]:
        """Every application's share depends on all others with open stages."""
        live = {key: application.graph.live() for key, application in applications.items()}
        at_work = [application for key, application in applications.items() if live[key]]
        weight = sum(application.weight for application in at_work)
        executors = max(1, sum(application.executors for application in at_work))
        tables: dict[GangKey, Mapping[int, float]] = {}
        for key, application in applications.items():
            share = executors * application.weight / weight if weight else 1.0
            importance = share / (share + application.executors) if share > 0 else 0.0
            tables[key] = dict.fromkeys(live[key], importance)
        return tables
