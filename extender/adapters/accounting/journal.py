"""Posting of energy: cut at the grid of cells and at every change of intensity, then added up."""

from __future__ import annotations

import math
from collections.abc import Iterator

from extender.adapters.accounting.amounts import JOULES_PER_KWH, Missing
from extender.adapters.accounting.books import Booking, BookingKey, Bookings, Kind
from extender.adapters.accounting.intensity import IntensityHistory
from extender.core.facts import GangKey


class Journal:
    """Turns constant power over a stretch of time into bookings. `cell_s` is the ledger's time grid."""

    def __init__(self, intensity: IntensityHistory, cell_s: float) -> None:
        if not (math.isfinite(cell_s) and cell_s > 0):
            raise ValueError(f"cell_s {cell_s}: must be a positive number of seconds")
        self.intensity = intensity
        self.cell_s = cell_s

    def post(
        self,
        bookings: Bookings,
        app: GangKey,
        place: tuple[str, str],
        kind: Kind,
        source: str,
        stretch: tuple[float, float],
        watts: float,
        cores: float = 0.0,
    ) -> None:
        """Book `watts` drawn over `stretch` (start, end) at `place` (node, zone)."""
        node, zone = place
        for start_s, end_s, value in self.intensity.pieces(zone, *stretch):
            unknown = value.reason if isinstance(value, Missing) else ""
            for cell_s, from_s, to_s in self.cells(start_s, end_s):
                key = BookingKey(app, node, zone, kind, source, unknown, cell_s)
                booking = bookings.get(key)
                if booking is None:
                    booking = bookings[key] = Booking(from_s, to_s)
                energy_kwh = watts * (to_s - from_s) / JOULES_PER_KWH
                booking.start_s = min(booking.start_s, from_s)
                booking.end_s = max(booking.end_s, to_s)
                booking.energy_kwh += energy_kwh
                booking.core_s += cores * (to_s - from_s)
                if not isinstance(value, Missing):
                    booking.carbon_g += energy_kwh * value

    def cells(self, start_s: float, end_s: float) -> Iterator[tuple[float, float, float]]:
        """(start of cell, start, end) of every part of a stretch."""
        index = math.floor(start_s / self.cell_s)
        while start_s < end_s:
            # A start that rounds to the end of a cell belongs to the next.
            until_s = min(end_s, (index + 1) * self.cell_s)
            if until_s > start_s:
                yield index * self.cell_s, start_s, until_s
                start_s = until_s
            index += 1
