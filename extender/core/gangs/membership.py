"""Tells which worker pods are members of a gang: by uid and role of their owner, never by labels alone.

Labels name a gang, but two runs may use one name one after the other, and an executor may name an
application whose driver is no pod of ours. The owner reference tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from extender.core.facts import PodFacts
from extender.core.gangs.gang import Gang

POD = "Pod"


class Bond(Enum):
    """The tie between a worker pod and the gang that its labels name."""

    MEMBER = auto()
    """It counts for the gang, waits for the gang's leader, and may take a slot."""
    ALONE = auto()
    """Its driver is a running pod that leads no gang (Spark in client mode), or no pod: placed by itself."""
    LEFT_OVER = auto()
    """Its owner is gone, or is another run's: it takes nothing of this gang and is not started."""


def bond(gang: Gang | None, worker: PodFacts, lives: Callable[[str], bool]) -> Bond:
    """The bond of `worker` to `gang`, the gang of its labels. `lives(uid)`: such a pod runs or waits.

    A worker that a pod owns (Spark's executors) belongs to that pod: it is a member if the pod leads the
    gang. Workers of a controller (Job, StatefulSet) belong to the gang they name, unless the controller of
    the leader has the same kind and name and another uid: then theirs was deleted and made again.
    """
    owner = worker.owner_ref
    if owner is not None and owner.kind == POD:
        if gang is not None and owner.uid in gang.leaders:
            return Bond.MEMBER
        if not lives(owner.uid):
            return Bond.LEFT_OVER
        return Bond.ALONE if worker.leader_optional else Bond.MEMBER
    if gang is None or not gang.leaders:
        ended = gang is not None and gang.leader_ended
        return Bond.ALONE if worker.leader_optional and not ended else Bond.MEMBER
    leader = gang.owner or next(iter(gang.leaders.values()))
    theirs = leader.owner_ref
    if owner is not None and theirs is not None and owner[:2] == theirs[:2] and owner.uid != theirs.uid:
        return Bond.LEFT_OVER
    return Bond.MEMBER
