"""Judges gangs by the carbon policies in force: when and where each may start, and how wide it may run.

The queue, elastic executors, the agent's target, the quota, the API and explain all read it here. A gang is
judged once for each state of nodes, carbon and stages, as the least that the policies allow; the judgement is
kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from extender.core.carbon.policies import start_policies, width_policies
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy
from extender.core.carbon.start.hold import Asks, Start
from extender.core.carbon.start.planned import PlannedStarts
from extender.core.carbon.width.budget import Budget
from extender.core.carbon.width.limit import Limit
from extender.core.carbon.width.stage_deferral import StageDeferral
from extender.core.facts import PodFacts
from extender.core.gangs.gang import Admission, Gang
from extender.core.gangs.spec import GangSpec, SpecProblem
from extender.core.outcomes import Outcome
from extender.core.state import State

_AT_ONCE: Final = Start(None, math.inf)


@dataclass(frozen=True, slots=True)
class Width:
    """How many workers a running gang may have, good until `valid_until_s`.

    `exempt`: carbon must not slow the gang down. `limits` are in the order of the policies.
    """

    exempt: bool
    limits: tuple[Limit, ...]
    valid_until_s: float

    @property
    def workers(self) -> int | None:
        """The least of the limits, those that run counted; None while there is none."""
        return min((limit.workers for limit in self.limits), default=None)

    @property
    def target(self) -> int | None:
        """The width that the gang is brought to; None while no policy steers it."""
        return min((limit.workers for limit in self.limits if limit.steers), default=None)

    @property
    def reason(self) -> Outcome | None:
        """Why the gang may not be wider than `workers`."""
        least = min(self.limits, key=lambda limit: limit.workers, default=None)
        return None if least is None else least.outcome

    def refuses(self, counted: int, coming: int = 0, coming_in_all: int = 0) -> Outcome | None:
        """Why one more worker must wait, if it must: the gang has `counted`.

        `coming` are workers of the gang, `coming_in_all` of all gangs, that are on their way and not counted.
        """
        for limit in self.limits:
            if counted + (coming_in_all if limit.shared else coming) >= limit.workers:
                return limit.outcome
        return None


@dataclass(frozen=True, slots=True)
class Entitlement:
    """All that a gang is allowed now: `start` while it waits, `width` once it is admitted."""

    start: Start | None
    width: Width | None


class Entitlements:
    """Judges gangs, and keeps each judgement in the gang's record."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.budget = Budget(state)
        self.stage_deferral = StageDeferral(state)
        self.planned = PlannedStarts(state)
        self._start_policies = start_policies(state, self.planned)
        self._width_policies = width_policies(state, self.budget, self.stage_deferral)

    def refresh(self, now: float) -> None:
        """Judge running gangs again: with time even an unchanged signal moves."""
        self.stage_deferral.refresh(now)

    def of(self, gang: Gang, now: float) -> Entitlement:
        """All that a gang is allowed now."""
        if gang.admission is not None:
            return Entitlement(None, self.width(gang.admission, now))
        leader = gang.first_leader()
        if leader is None:
            return Entitlement(None, None)
        return Entitlement(self.start(leader, gang.specs.get(leader.uid), now), None)

    def start(self, leader: PodFacts, spec: GangSpec | SpecProblem | None, now: float) -> Start:
        """When a waiting gang may start. A gang whose request cannot be read is not held."""
        if isinstance(spec, SpecProblem):
            return _AT_ONCE
        own = spec.flexibility if spec is not None else INFLEXIBLE
        flexibility = self._state.policy.carbon.flexibility(leader.namespace, own)
        policy = self._start_policies.get(flexibility.start_policy)
        latest_s = flexibility.latest_start_s(leader.created_s)
        if policy is None or now >= latest_s:
            return _AT_ONCE
        state, nodes = self._state, self._state.nodes
        load = (nodes.version, state.budget) if policy.by_load else ()
        seen = (spec, leader.created_s, leader.terms, nodes.capacity_epoch, state.carbon.version, load)
        gang = state.gang_of(leader)
        known = gang.starts.get(leader.uid) if gang is not None else None
        if known is None or known[0] != seen or now >= known[1].valid_until_s:
            found = policy.start(Asks(leader, spec, flexibility, latest_s), now)
            known = (seen, Start(found.hold, min(found.valid_until_s, latest_s)))
            if gang is not None:
                gang.starts[leader.uid] = known
        return known[1]

    def width(self, admission: Admission, now: float) -> Width:
        """How many workers an admitted gang may have."""
        state, gang = self._state, admission.gang
        seen = (
            admission.leader.uid,
            admission.spec,
            state.nodes.version,
            state.carbon.version,
            state.workers_counted(gang),
            state.most_workers(admission),
            self.stage_deferral.seen(gang.key),
        )
        known = gang.width
        if known is None or known[0] != seen or now >= known[1].valid_until_s:
            known = gang.width = (seen, self._width(admission, now))
        return known[1]

    def _width(self, admission: Admission, now: float) -> Width:
        owner, spec = admission.leader, admission.spec
        flexibility = self._state.policy.carbon.flexibility(owner.namespace, spec.flexibility)
        exempt_s = exempt_from_s(owner, spec, flexibility)
        if now >= exempt_s:
            return Width(exempt=True, limits=(), valid_until_s=math.inf)
        found = (policy.limit(admission, flexibility, now) for policy in self._width_policies)
        limits = tuple(limit for limit in found if limit is not None)
        return Width(False, limits, min([exempt_s, *(limit.valid_until_s for limit in limits)]))


def exempt_from_s(owner: PodFacts, spec: GangSpec, flexibility: Flexibility) -> float:
    """From when on carbon must not slow a running gang down, in seconds since the epoch.

    From its latest start on it has no time to lose. A gang that says `none` itself, or a deadline without an
    estimate, has none from the beginning; one that says nothing at all is not in a hurry.
    """
    if spec.flexibility.policy is HoldPolicy.NONE:
        return -math.inf
    if flexibility.deadline_s is None and flexibility.max_delay_s is None:
        return math.inf
    return flexibility.latest_start_s(owner.created_s)
