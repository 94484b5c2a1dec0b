"""Whether evicting pods would really help: kube-scheduler's dry run does not know about gangs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from extender.core.facts import PodFacts, Role
from extender.core.gangs.gang import NOWHERE
from extender.core.gangs.spec import GangSpec
from extender.core.queue.queue_pass import Waiting, plan, pool_of
from extender.core.queue.workspace import Workspace
from extender.core.state import State


def useful(state: State, pod: PodFacts, victims: Mapping[str, Sequence[str]]) -> list[str]:
    """Nodes whose victims make room for the pod: for a leader, for it and all its minimum workers.

    A victim that belongs to the preemptor's own gang never helps.
    """
    return [
        node
        for node, uids in victims.items()
        if state.nodes.row_of.get(node, NOWHERE) != NOWHERE and _helps(state, pod, node, uids)
    ]


def _helps(state: State, pod: PodFacts, node: str, uids: Sequence[str]) -> bool:
    table = state.nodes
    row = table.row_of[node]
    if not table.alive(row) or not table.eligible(pod.terms)[row]:
        return False
    for uid in uids:
        victim, seat = state.pods.get(uid), state.seats.get(uid)
        if seat is None or seat.row != row:
            return False
        if victim is not None and victim.gang is not None and victim.gang == pod.gang:
            return False
    space = _without(state, row, set(uids))
    for each in state.nominations.before(pod):
        space.give(each.row, -state.nominations.size(each))
    gang = state.gang_of(pod)
    spec = gang.specs.get(pod.uid) if gang is not None else None
    if pod.role is not Role.LEADER or gang is None:
        return bool((space.free[:, row] >= table.vector(pod.requests)).all())
    if not isinstance(spec, GangSpec):
        return False
    offered = np.zeros(len(table.names), dtype=np.bool_)
    offered[row] = True
    waiting = Waiting(gang.key, pod, spec, pool_of(pod.terms, state.policy.pool_label))
    return plan(table, state.policy, waiting, offered, space)[0] is not None


def _without(state: State, row: int, victims: set[str]) -> Workspace:
    """Free amounts as they would be without the victims, which all run on `row`.

    A leader takes with it all room that is reserved for its gang. The room of a worker's slot is reserved
    again, unless an elastic worker of the gang takes its place.
    """
    space = Workspace(state.nodes)
    for uid in victims:
        space.give(row, state.seats[uid].used)
    gangs = {pod.gang for uid in victims if (pod := state.pods.get(uid)) is not None and pod.gang is not None}
    for admission in (state.gangs[key].admission for key in gangs if key in state.gangs):
        if admission is None:
            continue
        if admission.leader.uid in victims:
            for slot in admission.slots:
                if slot.reserved is not None:
                    space.give(slot.row, slot.reserved)
            continue
        gang = admission.gang
        seated = {slot.pod_uid for slot in admission.slots}
        extra = sum(
            1 for pod in gang.workers.values() if state.counts(gang, pod) and pod.uid not in seated | victims
        )
        reopened = len(seated & victims) - extra
        if reopened > 0:
            space.give(row, -reopened * state.nodes.accountable(admission.spec.worker))
    return space
