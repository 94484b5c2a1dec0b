"""Preferences among nodes: one file each, pure functions of columns, combined by weights.

Each gives float64[n_rows] between 0 (best) and 1 (worst). The order of preference is by the node's place in
the packer's order (0..1) plus the sum of weight times cost: with weight 1 a preference is worth as much as
the whole packer's order, with 0 it changes nothing.
"""

from __future__ import annotations

from extender.core.nodes import FloatArray
from extender.core.scoring.carbon import carbon_cost
from extender.core.scoring.energy import energy_cost
from extender.core.scoring.fragmentation import fragmentation_cost
from extender.core.state import State


class Scoring:
    """The combined cost of nodes, kept until the table or the signal changes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._cost: FloatArray | None = None
        self._seen = (-1, -1)

    def cost(self) -> FloatArray:
        """float64[n_rows], >= 0. Do not modify."""
        table, carbon = self._state.nodes, self._state.carbon
        seen = (table.version, carbon.version)
        if self._cost is None or self._seen != seen:
            policy = self._state.policy.carbon
            values = [self._state.intensities.get(zone) for zone in table.carbon_zones]
            cost = policy.carbon_weight * carbon_cost(values, table.carbon_zone, table.milliwatts_per_core)
            if policy.energy_weight:
                cost = cost + policy.energy_weight * energy_cost(table.used, table.milliwatts_per_core)
            if policy.fragmentation_weight:
                cost = cost + policy.fragmentation_weight * fragmentation_cost(table.free, table.allocatable)
            self._cost, self._seen = cost, seen
        return self._cost
