"""Why a gang would not fit if nothing but daemons ran: which resource, how much of it, and what there is."""

from __future__ import annotations

import numpy as np

from extender.core.facts import PodFacts
from extender.core.gangs.spec import GangSpec
from extender.core.nodes.arrays import IntArray, Rows, room_for
from extender.core.nodes.resources import CPU, MEMORY
from extender.core.nodes.table import NodeTable


def why_too_large(table: NodeTable, leader: PodFacts, spec: GangSpec) -> str:
    """One sentence about the first thing that is too large: a pod, then the whole gang, then its pieces.

    It follows from the gang and from what nodes offer alone, so it does not change from call to call.
    """
    capacity = table.capacity()
    lead = table.widened(table.accountable(leader.requests))
    worker = table.widened(table.accountable(spec.worker))
    for who, size, terms, number in (
        ("the leader", lead, leader.terms, 1),
        ("a worker", worker, spec.worker_terms, spec.min_workers),
    ):
        rows = np.flatnonzero(table.eligible(terms))
        if number and not len(rows):
            return f"no node accepts {who}: look at its node selector, affinity and tolerations"
        if number and not room_for(capacity[:, rows], size).any():
            return _pod_too_large(table, who, size, capacity[:, rows])
    rows = np.flatnonzero(table.eligible(leader.terms) | table.eligible(spec.worker_terms))
    there, needed = capacity[:, rows].sum(axis=1), lead + worker * spec.min_workers
    for column in np.flatnonzero(needed > there).tolist():
        name = table.columns[column]
        asked, offered = amount(name, int(needed[column])), amount(name, int(there[column]))
        return f"the gang requests {asked} of {name} in all, and the nodes it may use offer {offered}"
    workers: Rows = np.flatnonzero(table.eligible(spec.worker_terms))
    fits = int(np.minimum(room_for(capacity[:, workers], worker), spec.min_workers).sum())
    many = f"{min(fits, spec.min_workers)} of {spec.min_workers} workers"
    return (
        f"the nodes it may use take {many} beside nothing else: the pieces are too small for the whole gang"
    )


def _pod_too_large(table: NodeTable, who: str, size: IntArray, capacity: IntArray) -> str:
    largest: IntArray = capacity.max(axis=1)
    for column in np.flatnonzero(size > largest).tolist():
        name = table.columns[column]
        return (
            f"{who} requests {amount(name, int(size[column]))} of {name}, and the largest node it may use "
            f"offers {amount(name, int(largest[column]))}"
        )
    return f"no single node it may use offers all that {who} requests"


def amount(resource: str, number: int) -> str:
    """An amount in base units as Kubernetes writes it: cores, bytes in Mi, pieces."""
    if resource == CPU:
        return f"{number / 1000:g}"
    if resource == MEMORY and number >= 1 << 20:
        return f"{-(-number // (1 << 20))}Mi"
    return str(number)
