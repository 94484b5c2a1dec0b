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
from extender.core.gangs.reservation import Gang
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
class _Verdict:
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
        self._grids: dict[str, _Grid] = {}
        self._verdicts: dict[GangKey, _Verdict] = {}

    @property
    def on(self) -> bool:
        """Whether anything is deferred at all."""
        policy = self._state.policy.carbon.pcaps
        return policy.enabled and policy.gamma > 0 and self._state.switches.pcaps

    def seen(self, key: GangKey) -> tuple[object, ...]:
        """Changes whenever the limit of an application may."""
        told = self._state.stages.priorities(key)
        heard_s = self._state.stages_heard_s.get(key)
        return self._epoch, told.ready, told.idle, told.executor_limit, heard_s

    def limit(self, gang: Gang, flexibility: Flexibility, now: float) -> Limit | None:
        """The workers that its ready stages may use, its minimum and one at least.

        One, because a gang may have a minimum of 0, and what it reports of its stages may be late.
        """
        deferral, spec = self.deferral(gang.key, now), gang.spec
        if deferral is None or spec is None:
            return None
        workers = min(self._state.most_workers(gang), max(spec.min_workers, 1, deferral.let_in))
        until_s = self._state.stages_heard_s.get(gang.key, now) + TRUSTED_FOR_S
        return Limit(workers, Outcome.DEFERRED_BY_IMPORTANCE, until_s, steers=True)

    def refresh(self, now: float) -> None:
        """Look at all grids and the greatest importance in each: with time even an unchanged signal moves."""
        self._epoch += 1
        self._grids.clear()
        self._verdicts.clear()
        if not self.on:
            return
        state = self._state
        for key in state.stages:
            gang = state.gangs.get(key)
            ready = state.stages.priorities(key).ready
            if gang is not None and ready:
                look = partial(self._look_at, gang, ready[0].importance, now)
                state.faults.guard(Subject.gang(key), "precedence", now, look, None, reads_only=True)

    def _look_at(self, gang: Gang, importance: float, now: float) -> None:
        if self._judgeable(gang, now):
            grid = self._grid(gang, now)
            grid.most_important = max(grid.most_important, importance)

    def deferral(self, key: GangKey, now: float) -> Deferral | None:
        """How an application stands; None where nothing limits it, whatever its stages are."""
        state = self._state
        gang = state.gangs.get(key)
        if not self.on or gang is None or key not in state.stages or not self._judgeable(gang, now):
            return None
        spec, priorities, grid = gang.spec, state.stages.priorities(key), self._grid(gang, now)
        assert spec is not None
        scale = max([grid.most_important, *(stage.importance for stage in priorities.ready[:1])])
        known = self._verdicts.get(key)
        if (
            known is None
            or known.grid is not grid
            or known.scale != scale
            or known.priorities is not priorities
            or known.spec is not spec
        ):
            deferral = None if grid.carbon is None else self._judge(spec, priorities, grid.carbon, scale)
            known = self._verdicts[key] = _Verdict(grid, scale, priorities, spec, deferral)
        return known.deferral

    def _judgeable(self, gang: Gang, now: float) -> bool:
        """Whether it runs, and was heard of lately."""
        owner, heard_s = gang.owner, self._state.stages_heard_s.get(gang.key, -math.inf)
        return owner is not None and bool(owner.node) and now - heard_s < TRUSTED_FOR_S

    def _grid(self, gang: Gang, now: float) -> _Grid:
        assert gang.owner is not None
        zone = self._state.nodes.carbon_zone_of(gang.owner.node)
        grid = self._grids.get(zone)
        if grid is None:
            carbon = Carbon.of(self._state.carbon.outlook(zone, now)) if zone else None
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
