"""Elastic executors, those above their gang's minimum: judges which of them wait for cleaner power.

A gang's minimum is never touched, and no running worker is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from extender.core.carbon.entitlement import Entitlements
from extender.core.facts import GangKey, PodFacts
from extender.core.faults import Subject
from extender.core.gangs.gang import Admission
from extender.core.outcomes import Outcome
from extender.core.queue.waiting import WAKE_AGAIN_S
from extender.core.state import State

FOR_CARBON: Final = frozenset({Outcome.OVER_CARBON_BUDGET, Outcome.DEFERRED_BY_IMPORTANCE})
"""Outcomes that end without any event of Kubernetes: what was refused with them is woken by us."""


class ElasticExecutors:
    """Judges gangs that run and want more workers."""

    def __init__(self, state: State, entitlements: Entitlements) -> None:
        self._state = state
        self._entitlements = entitlements
        self._woken_s: dict[str, float] = {}

    def refuses(
        self, admission: Admission, now: float, coming: int = 0, coming_in_all: int = 0
    ) -> Outcome | None:
        """Why one more worker of an admitted gang must wait for cleaner power, if it must.

        `coming` are workers of the gang, `coming_in_all` of all gangs, that are on their way and not counted.
        """
        width = self._entitlements.width(admission, now)
        if not width.limits:
            return None
        return width.refuses(self._state.workers_counted(admission.gang), coming, coming_in_all)

    def released(self, refused: Iterable[str], now: float) -> Iterator[PodFacts]:
        """Of these workers (uids) those to be woken now: as many as may be added, no more.

        One that was woken is on its way, and woken again if it is not asked for.
        """
        coming: Counter[GangKey] = Counter()
        for uid in refused:
            pod = self._state.pods.get(uid)
            gang = self._state.gang_of(pod) if pod is not None else None
            if pod is None or not pod.waiting or gang is None or gang.admission is None:
                continue
            judge = partial(self.refuses, gang.admission, now, coming[gang.key], coming.total())
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
