"""Workers above their gang's minimum and the grid: which of them wait for cleaner power.

Three reasons: the cluster's budget (CAP), stages that are not important enough (PCAPS), and the steps that a
suspend-resume gang leaves out. A gang's minimum is never touched, and no running worker is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from extender.core.carbon.start import suspend_resume
from extender.core.carbon.start.flexibility import Flexibility, HoldPolicy
from extender.core.carbon.width.budget import Budget
from extender.core.carbon.width.precedence import Precedence
from extender.core.facts import GangKey, PodFacts
from extender.core.faults import Subject
from extender.core.gangs.reservation import Gang
from extender.core.outcomes import Outcome
from extender.core.queue.waiting import WAKE_AGAIN_S
from extender.core.state import State

FOR_CARBON: Final = frozenset({Outcome.OVER_CARBON_BUDGET, Outcome.DEFERRED_BY_IMPORTANCE})
"""Outcomes that end without any event of Kubernetes: what was refused with them is woken by us."""


class Extras:
    """Judges gangs that run and want more workers."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.budget = Budget(state)
        self.precedence = Precedence(state)
        self._woken_s: dict[str, float] = {}

    def exempt(self, gang: Gang, now: float) -> bool:
        """Whether carbon must not slow a running gang down.

        From its latest start on it has no time to lose. A gang that says `none` itself, or a deadline without
        an estimate, has none from the beginning; one that says nothing at all is not in a hurry.
        """
        owner, spec = gang.owner, gang.spec
        assert owner is not None
        assert spec is not None
        flexibility = self._flexibility(gang)
        if spec.flexibility.policy is HoldPolicy.NONE:
            return True
        if flexibility.deadline_s is None and flexibility.max_delay_s is None:
            return False
        return now >= flexibility.latest_start_s(owner.created_s)

    def refuses(self, gang: Gang, now: float, coming: int = 0, coming_in_all: int = 0) -> Outcome | None:
        """Why one more worker of a gang must wait for cleaner power, if it must.

        `coming` are workers of the gang, `coming_in_all` of all gangs, that are on their way and not counted.
        """
        if self.exempt(gang, now):
            return None
        if self.budget.left() <= coming_in_all:
            return Outcome.OVER_CARBON_BUDGET
        target = self.target(gang, now)
        if target is not None and self._state.workers_counted(gang) + coming >= target:
            return Outcome.DEFERRED_BY_IMPORTANCE
        return self._left_out(gang, now)

    def released(self, refused: Iterable[str], now: float) -> Iterator[PodFacts]:
        """Of these workers (uids) those to be woken now: as many as may be added, no more.

        One that was woken is on its way, and woken again if it is not asked for.
        """
        coming: Counter[GangKey] = Counter()
        for uid in refused:
            pod = self._state.pods.get(uid)
            gang = self._state.gang_of(pod) if pod is not None else None
            if pod is None or not pod.waiting or gang is None or gang.owner is None:
                continue
            judge = partial(self.refuses, gang, now, coming[gang.key], coming.total())
            outcome = self._state.faults.guard(
                Subject.gang(gang.key), "width", now, judge, Outcome.INTERNAL_ERROR, reads_only=True
            )
            if outcome is None:
                coming[gang.key] += 1
                if now - self._woken_s.get(uid, -math.inf) >= WAKE_AGAIN_S:
                    self._woken_s[uid] = now
                    yield pod

    def asked(self, uid: str) -> None:
        """kube-scheduler asked for a worker, or it is gone."""
        self._woken_s.pop(uid, None)

    def target(self, gang: Gang, now: float) -> int | None:
        """Workers a running gang is to have now, its minimum and one at least; None while nothing limits it.

        One, because a gang may have a minimum of 0, and what it tells of its stages may be late.
        """
        if gang.owner is None or gang.spec is None or self.exempt(gang, now):
            return None
        deferral = self.precedence.deferral(gang.key, now)
        if deferral is None:
            return None
        return min(self._state.most_workers(gang), max(gang.spec.min_workers, 1, deferral.let_in))

    def _left_out(self, gang: Gang, now: float) -> Outcome | None:
        """A suspend-resume gang does not grow in the steps that it can do without."""
        assert gang.owner is not None
        flexibility = self._flexibility(gang)
        latest_s, runtime_s = flexibility.latest_start_s(gang.owner.created_s), flexibility.runtime_s
        if flexibility.policy is not HoldPolicy.SUSPEND_RESUME or runtime_s is None or latest_s == -math.inf:
            return None
        zone = self._state.nodes.carbon_zone_of(gang.owner.node)
        outlook = self._state.carbon.outlook(zone, now) if zone else None
        if outlook is None or suspend_resume.runs_now(outlook, latest_s + runtime_s, runtime_s):
            return None
        return Outcome.OVER_CARBON_BUDGET

    def _flexibility(self, gang: Gang) -> Flexibility:
        assert gang.owner is not None
        assert gang.spec is not None
        return self._state.policy.carbon.flexibility(gang.owner.namespace, gang.spec.flexibility)
