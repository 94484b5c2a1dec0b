"""Preferences among nodes: one file each, pure functions of columns, combined by weights.

Each gives float64[n_rows] between 0 (best) and 1 (worst). The order of preference is by the node's place in
the packer's order (0..1) plus the sum of weight times cost: with weight 1 a preference is worth as much as
the whole packer's order, with 0 it changes nothing. Which carbon zone a gang is tried in first is a matter of
carbon alone, however large the weights are (`zone_costs`).
"""

from __future__ import annotations

import numpy as np

from extender.core.nodes.table import FloatArray
from extender.core.queue.scoring.carbon import carbon_cost, zone_costs
from extender.core.queue.scoring.energy import energy_cost
from extender.core.queue.scoring.fragmentation import fragmentation_cost
from extender.core.state import State


class Scoring:
    """The combined cost of nodes and the carbon of zones, kept until the table or the signal changes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._cost: FloatArray = np.zeros(0)
        self._zone_cost: FloatArray = np.zeros(0)
        self._seen = (-1, -1)

    def cost(self) -> FloatArray:
        """float64[n_rows], >= 0. Do not modify."""
        self._refresh()
        return self._cost

    def zone_cost(self) -> FloatArray:
        """float64[n_carbon_zones]: mean carbon cost of each zone's nodes. Do not modify."""
        self._refresh()
        return self._zone_cost

    def _refresh(self) -> None:
        table, policy = self._state.nodes, self._state.policy.carbon
        seen = (table.version, self._state.carbon.version)
        if self._seen == seen:
            return
        values = [self._state.intensities.get(zone) for zone in table.carbon_zones]
        carbon = carbon_cost(values, table.carbon_zone, table.milliwatts_per_core)
        cost = policy.carbon_weight * carbon
        if policy.energy_weight:
            cost = cost + policy.energy_weight * energy_cost(table.used, table.milliwatts_per_core)
        if policy.fragmentation_weight:
            cost = cost + policy.fragmentation_weight * fragmentation_cost(table.free, table.allocatable)
        self._cost, self._zone_cost = cost, zone_costs(carbon, table.carbon_zone, len(table.carbon_zones))
        self._seen = seen
