"""PCAPS over the running applications: how many executors each of them is to have at the present intensity.

The executors that an application's ready stages could use compete with those of the other applications
in the same carbon zone. What is let in is worked out once for all of them, whenever stages or carbon change,
and looked up afterwards.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from extender.core.facts import GangKey
from extender.core.provisioning.pcaps import Candidate, Carbon, admit
from extender.core.reservations import Gang
from extender.core.state import State

TRUSTED_FOR_S: Final = 300.0
"""A graph of which nothing was heard for so long says nothing any more: its sender reports far more often."""


@dataclass(frozen=True, slots=True)
class Deferral:
    """An application judged: executors wanted for its ready stages, and how many of them are let in now.

    `least_important` is the relative importance (0..1) from which on a stage is served at this intensity.
    `deferred` are numbers of the stages that are not.
    """

    wanted: int
    let_in: int
    least_important: float
    deferred: tuple[int, ...]


class Precedence:
    """Judges the applications whose stages are known; of the others nothing is said, so nothing is deferred.

    An application's carbon zone is that of its leader's node.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._deferrals: dict[GangKey, Deferral] = {}
        self._made: tuple[int, int] | None = None

    @property
    def on(self) -> bool:
        """Whether anything is deferred at all."""
        policy = self._state.policy.carbon.pcaps
        return policy.enabled and policy.gamma > 0 and self._state.switches.pcaps

    def deferral(self, key: GangKey, now: float) -> Deferral | None:
        """How an application stands; None while nothing is deferred for it."""
        if not self.on:
            return None
        made = (self._state.carbon.version, self._state.stages.version)
        if made != self._made:
            self.refresh(now)
        return self._deferrals.get(key)

    def refresh(self, now: float) -> None:
        """Judge all applications anew; with time even an unchanged signal moves on."""
        self._deferrals.clear()
        if not self.on:
            return
        state = self._state
        self._made = (state.carbon.version, state.stages.version)
        by_zone: defaultdict[str, list[Gang]] = defaultdict(list)
        for key in state.stages:
            gang = state.gangs.get(key)
            if gang is None or gang.owner is None or not gang.owner.node:
                continue
            if now - state.stages_heard_s.get(key, -math.inf) < TRUSTED_FOR_S:
                by_zone[state.nodes.carbon_zone_of(gang.owner.node)].append(gang)
        for zone, gangs in by_zone.items():
            carbon = Carbon.of(state.carbon.outlook(zone, now)) if zone else None
            # At the cleanest moment there is nothing to wait for.
            if carbon is not None and carbon.dirtiness > 0:
                self._judge(gangs, carbon)

    def _judge(self, gangs: list[Gang], carbon: Carbon) -> None:
        state = self._state
        candidates: list[Candidate[tuple[GangKey, int]]] = []
        for gang in gangs:
            assert gang.spec is not None
            at_once = gang.spec.tasks_at_once
            candidates += (
                Candidate((gang.key, stage.stage_id), stage.importance, -(-stage.open_tasks // at_once))
                for stage in state.stages.priorities(gang.key).ready
            )
        running = sum(state.workers_counted(gang) for gang in gangs)
        admission = admit(candidates, carbon, state.policy.carbon.pcaps.gamma, running)
        wanted: defaultdict[GangKey, int] = defaultdict(int)
        let_in: defaultdict[GangKey, int] = defaultdict(int)
        deferred: defaultdict[GangKey, list[int]] = defaultdict(list)
        for each in candidates:
            wanted[each.key[0]] += each.executors
            let_in[each.key[0]] += admission.executors.get(each.key, 0)
        for key, stage_id in admission.deferred:
            deferred[key].append(stage_id)
        for gang in gangs:
            key = gang.key
            between_jobs = state.stages.priorities(key).idle and admission.least_important > 0
            if let_in[key] >= wanted[key] and not between_jobs:
                continue
            self._deferrals[key] = Deferral(
                wanted[key], let_in[key], admission.least_important, tuple(deferred[key])
            )
