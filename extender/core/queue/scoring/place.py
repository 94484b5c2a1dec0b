"""How much a node was preferred: its place in the packer's order, and what the weights add."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from extender.core.nodes.arrays import IntArray
from extender.core.nodes.table import NodeTable
from extender.core.nodes.terms import PlacementTerms

_CPU, _MEMORY = 0, 1


def node_score(
    table: NodeTable, terms: PlacementTerms, row: int, taken: Iterable[tuple[int, IntArray]] = ()
) -> float | None:
    """The number by which nodes are ordered, of one node for a pod with these terms; smaller is better.

    It is the share (0..1) of the nodes open to the pod that come before this one in the packer's order (the
    fullest zone first, in it the fullest node), plus the weighted costs of the node. `taken` are amounts by
    row that are accounted already and were not when the node was chosen. None for a node not open to the pod.
    """
    open_to_it = table.eligible(terms)
    if not open_to_it[row]:
        return None
    cpu, memory = table.free[_CPU], table.free[_MEMORY]
    given_back = list(taken)
    if given_back:
        cpu, memory = cpu.copy(), memory.copy()
        for at, amounts in given_back:
            cpu[at] += amounts[_CPU]
            memory[at] += amounts[_MEMORY]
    fuller = (memory < memory[row]) | ((memory == memory[row]) & (cpu < cpu[row]))
    if len(table.zones) > 1:
        counted = np.flatnonzero(table.matching(terms))
        zones = table.zone[counted]
        free_memory = np.bincount(zones, weights=memory[counted], minlength=len(table.zones))
        free_cpu = np.bincount(zones, weights=cpu[counted], minlength=len(table.zones))
        own = table.zone[row]
        same = (free_memory == free_memory[own]) & (free_cpu == free_cpu[own])
        first = (free_memory < free_memory[own]) | (
            (free_memory == free_memory[own]) & (free_cpu < free_cpu[own])
        )
        fuller = first[table.zone] | (same[table.zone] & fuller)
    place = np.count_nonzero(fuller & open_to_it) / np.count_nonzero(open_to_it)
    return float(place) if table.cost is None else float(place + table.cost()[row])
