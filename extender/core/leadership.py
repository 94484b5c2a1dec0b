"""Leadership: which of several replicas acts.

The kube-schedulers of one scheduler name elect a leader, and only the leader calls the extender beside it. So
a replica leads while kube-scheduler calls it: the extender needs no lease and no election of its own.

A record that all replicas share (the ledger, a ResourceQuota) needs a writer even while kube-scheduler calls
no replica. Then the replica that wrote last goes on, until its mark in the record stands still for too long
(`Standstill`).
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

LEADS_FOR_S: Final = 15.0
"""A replica that kube-scheduler has not called for this long does not lead: another lease may have begun."""

UNBROKEN_S: Final = 5.0
"""No other kube-scheduler can have led, and bound, between two calls that are less than this apart."""

_NEVER: Final = float("-inf")

M = TypeVar("M")


class Leadership:
    """Whether this replica leads, and whether it knows all that was bound before it did.

    `now` is seconds since the epoch. The store notes calls and losses; `Handover` notes what it has read.
    """

    def __init__(self) -> None:
        self._called_s = _NEVER
        self._caught_up_s = _NEVER

    def called(self, now: float) -> None:
        """kube-scheduler calls this replica."""
        self._called_s = now

    def lost(self) -> None:
        """Another replica has bound a pod of ours: its kube-scheduler leads."""
        self._called_s = self._caught_up_s = _NEVER

    def leads(self, now: float) -> bool:
        """Whether kube-scheduler called this replica a moment ago. Only the leader writes to pods."""
        return now - self._called_s < LEADS_FOR_S

    def caught_up(self, now: float) -> None:
        """All that another replica may have bound is known, as of now."""
        self._called_s = self._caught_up_s = now

    def is_caught_up(self, now: float) -> bool:
        """Whether all that another replica may have bound is known; each call that finds it so extends it."""
        if not self.may_promise(now):
            return False
        self._caught_up_s = now
        return True

    def may_promise(self, now: float) -> bool:
        """As `is_caught_up` between the calls of kube-scheduler: extends nothing."""
        return 0 <= now - self._caught_up_s < UNBROKEN_S


class Standstill(Generic[M]):
    """How long a mark that another replica moves has stood still, by this replica's own clock.

    `mark` is what is known at the start, `since_s` when that was.
    """

    def __init__(self, mark: M, since_s: float) -> None:
        self._mark = mark
        self._since_s = since_s
        self._is_first = True

    def age_s(self, mark: M, now: float, *, first_s: float | None = None) -> float:
        """Seconds since the mark last moved. The first move may say by itself when it was made: `first_s`."""
        if mark != self._mark:
            self._since_s = first_s if self._is_first and first_s is not None else now
            self._mark, self._is_first = mark, False
        return now - self._since_s
