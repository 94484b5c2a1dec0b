"""PCAPS over the running applications: how many executors each of them is to have at the present intensity.

The executors that an application's ready stages could use compete with those of the other applications
in the same carbon zone: importance is relative to the greatest one there. That scale and the intensity are
looked at once a second and whenever a signal comes; an application is judged by them when somebody asks, and
again when its stages have changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Final

from extender.core.carbon.start.flexibility import Flexibility
from extender.core.carbon.width.limit import Limit
from extender.core.carbon.width.pcaps import Candidate, Carbon, admit
from extender.core.facts import GangKey
from extender.core.faults import Subject
from extender.core.gangs.gang import Admission, Gang
from extender.core.gangs.spec import GangSpec
from extender.core.outcomes import Outcome
from extender.core.stages.store import Priorities
from extender.core.state import State

TRUSTED_FOR_S: Final = 300.0
"""A graph of which nothing was heard for so long says nothing any more: its sender reports far more often."""

_OTHERS: Final = -1


@dataclass(frozen=True, slots=True)
class Deferral:
    """An application judged: executors its ready stages could use, and how many of them are let in now.

    `least_important` is the relative importance (0..1) from which on a stage is served at this intensity.
    `deferred` are numbers of the stages that are not. Both numbers are 0 between two jobs.
    """

    wanted: int
    let_in: int
    least_important: float
    deferred: tuple[int, ...]


@dataclass(slots=True)
class _Grid:
    """What the applications of one carbon zone have in common; `carbon` is None where nothing is deferred."""

    carbon: Carbon | None
    most_important: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A deferral, and what it was found from."""

    grid: _Grid
    scale: float
    priorities: Priorities
    spec: GangSpec
    deferral: Deferral | None


class StageDeferral:
    """Judges the applications whose stages are known; of the others nothing is said, so nothing is deferred.

    An application's carbon zone is that of its leader's node.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._epoch = 0
        self._looked_s = -math.inf
        self._grids: dict[str, _Grid] = {}

    @property
    def on(self) -> bool:
        """Whether anything is deferred at all."""
        policy = self._state.policy.carbon.pcaps
        return policy.enabled and policy.gamma > 0 and self._state.switches.pcaps

    def seen(self, key: GangKey) -> tuple[object, ...]:
        """Changes whenever the limit of an application may."""
        told = self._state.stages.priorities(key)
        gang = self._state.gangs.get(key)
        heard_s = None if gang is None else gang.stages_heard_s
        return self._epoch, told.ready, told.idle, told.executor_limit, heard_s

    def limit(self, admission: Admission, flexibility: Flexibility, now: float) -> Limit | None:
        """The workers that its ready stages may use, its minimum and one at least.

        One, because a gang may have a minimum of 0, and what it reports of its stages may be late.
        """
        deferral = self.deferral(admission.key, now)
        if deferral is None:
            return None
        least = max(admission.spec.min_workers, 1, deferral.let_in)
        workers = min(self._state.most_workers(admission), least)
        heard_s = admission.gang.stages_heard_s
        until_s = (now if heard_s is None else heard_s) + TRUSTED_FOR_S
        return Limit(workers, Outcome.DEFERRED_BY_IMPORTANCE, until_s, steers=True)

    def refresh(self, now: float) -> None:
        """Look at all grids and the greatest importance in each: with time even an unchanged signal moves."""
        self._epoch += 1
        self._looked_s = now
        self._grids.clear()
        if not self.on:
            return
        state = self._state
        for key in state.stages:
            gang = state.gangs.get(key)
            if gang is None:
                continue
            gang.deferral = None
            ready = state.stages.priorities(key).ready
            if ready:
                look = partial(self._look_at, gang, ready[0].importance, now)
                state.faults.guard(Subject.gang(key), "precedence", now, look, None, reads_only=True)

    def _look_at(self, gang: Gang, importance: float, now: float) -> None:
        admission = self._judgeable(gang, now)
        if admission is not None:
            grid = self._grid(admission)
            grid.most_important = max(grid.most_important, importance)

    def deferral(self, key: GangKey, now: float) -> Deferral | None:
        """How an application stands; None where nothing limits it, whatever its stages are."""
        state = self._state
        gang = state.gangs.get(key)
        if not self.on or gang is None or key not in state.stages:
            return None
        admission = self._judgeable(gang, now)
        if admission is None:
            return None
        spec, priorities, grid = admission.spec, state.stages.priorities(key), self._grid(admission)
        scale = max([grid.most_important, *(stage.importance for stage in priorities.ready[:1])])
        known = gang.deferral
        if (
            known is None
            or known.grid is not grid
            or known.scale != scale
            or known.priorities is not priorities
            or known.spec is not spec
        ):
            deferral = None if grid.carbon is None else self._judge(spec, priorities, grid.carbon, scale)
            known = gang.deferral = Judgement(grid, scale, priorities, spec, deferral)
        return known.deferral

    def _judgeable(self, gang: Gang, now: float) -> Admission | None:
        """The gang, if it runs and has reported its stages lately."""
        if not gang.runs or gang.stages_heard_s is None or now - gang.stages_heard_s >= TRUSTED_FOR_S:
            return None
        return gang.admission

    def _grid(self, admission: Admission) -> _Grid:
        """The grid of its zone as of the last look at all grids: a question in between changes nothing."""
        zone = self._state.nodes.carbon_zone_of(admission.leader.node)
        grid = self._grids.get(zone)
        if grid is None:
            carbon = Carbon.of(self._state.carbon.outlook(zone, self._looked_s)) if zone else None
            # At the cleanest moment there is nothing to wait for.
            if carbon is not None and carbon.dirtiness <= 0:
                carbon = None
            grid = self._grids[zone] = _Grid(carbon)
        return grid

    def _judge(self, spec: GangSpec, priorities: Priorities, carbon: Carbon, scale: float) -> Deferral | None:
        candidates = [
            Candidate(stage.stage_id, stage.importance, -(-stage.open_tasks // spec.tasks_at_once))
            for stage in priorities.ready
        ]
        candidates.append(Candidate(_OTHERS, scale, 0))
        # What the application may have at most is what is narrowed, not what its tasks could use.
        limit = spec.max_workers
        if priorities.executor_limit is not None:
            limit = min(limit, priorities.executor_limit)
        wanted = min(limit, sum(each.executors for each in candidates))
        # The progress guarantee is given to each application: whatever is let in, it may have one executor.
        gamma = self._state.policy.carbon.pcaps.gamma
        admission = admit(candidates, carbon, gamma, running=1, most=limit)
        between_jobs = priorities.idle and admission.least_important > 0
        if not priorities.ready and not between_jobs:
            return None
        let_in = sum(admission.executors.values())
        return Deferral(wanted, let_in, admission.least_important, admission.deferred)
