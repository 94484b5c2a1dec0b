"""Judges pods that ask for room which is not reserved for them: earlier gangs and the grid come first.

Elastic executors and pods outside gangs are judged here. A slot of a gang is reserved and never refused.
"""

from __future__ import annotations

from extender.core.carbon.width.elastic import ElasticExecutors
from extender.core.decisions import FilterDecision
from extender.core.facts import PodFacts
from extender.core.gangs.gang import Admission
from extender.core.outcomes import Outcome
from extender.core.queue.queue_pass import pool_of, rank_of
from extender.core.queue.waiting import WaitingGangs
from extender.core.state import State


class FreeRoom:
    """Room that is free and not reserved: which pods must leave it to others."""

    def __init__(self, state: State, waiting: WaitingGangs, elastic: ElasticExecutors) -> None:
        self._state = state
        self._waiting = waiting
        self._elastic = elastic

    def above_minimum(self, admission: Admission, worker: PodFacts, now: float) -> FilterDecision | None:
        """Why one more worker above its gang's minimum must wait, if it must."""
        behind = self._behind(worker, admission.leader, now)
        if behind is not None:
            return behind
        refusal = self._elastic.refuses(admission, now)
        return None if refusal is None else FilterDecision(refusal)

    def single(self, pod: PodFacts, now: float) -> FilterDecision | None:
        """Why a pod outside any gang must wait, if it must."""
        return self._behind(pod, pod, now)

    def _behind(self, pod: PodFacts, of_pool: PodFacts, now: float) -> FilterDecision | None:
        """An earlier gang of the same strict pool waits for room: what gets free is for it."""
        policy = self._state.policy
        if not policy.extras_behind_queue:
            return None
        blocker = self._waiting.blocker(pool_of(of_pool.terms, policy.pool_label), now)
        if blocker is None or rank_of(pod) < rank_of(blocker):
            return None
        return FilterDecision(Outcome.EARLIER_GANG_WAITS)
