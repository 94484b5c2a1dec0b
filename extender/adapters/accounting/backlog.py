"""Batches that wait for the ledger, and whose turn it is to write them.

Several replicas may meter the same cluster; one of them writes. The others keep what they metered since the
ledger was last written and drop it once it is booked, so any of them can go on when the writer is gone. The
ledger's own moment tells them apart: it refuses a batch that does not begin there.
"""

from __future__ import annotations

import heapq
import time
from typing import Any, Final

from extender.adapters.accounting.books import Batch
from extender.adapters.accounting.ledger import Ledger, LedgerConflict, LedgerError

MOST_UNWRITTEN: Final = 200_000
"""Decisions and bookings kept while the ledger cannot be written; beyond, the oldest are dropped."""

_MOST_BATCHES: Final = 8


class Backlog:
    """Batches in order, each from the end of the one before.

    `booked_until_s` is the ledger's moment as it was last heard. `standing_by` says that somebody else may
    have written last. `decisions_dropped` and `bookings_dropped` (task times among them) count what found no
    room or no ledger.
    """

    def __init__(self, ledger: Ledger, booked_until_s: float | None) -> None:
        self._ledger = ledger
        self._batches: list[Batch] = []
        self.booked_until_s = booked_until_s
        self.standing_by = booked_until_s is not None
        self.decisions_dropped = 0
        self.bookings_dropped = 0

    @property
    def unwritten(self) -> int:
        """Bookings, task times of stages and decisions that wait."""
        return sum(len(each.bookings) + len(each.stages) + len(each.decisions) for each in self._batches)

    def add(self, batch: Batch) -> None:
        """A batch is closed. When too many wait, it is merged into the last one."""
        # Not into the first: of that it may be unknown whether it is in the ledger already.
        if len(self._batches) < _MOST_BATCHES:
            self._batches.append(batch)
        else:
            self._batches[-1].extend(batch)
        excess = self.unwritten - MOST_UNWRITTEN
        for each in self._batches if excess > 0 else ():
            excess -= self._shrink(each, excess)
            if excess <= 0:
                break

    def write(self, *, lead: bool) -> LedgerError | None:
        """Write all that waits, if it is our turn to lead; else drop what others have booked.

        Blocks; to be called in a thread. Returns why something was not written.
        """
        try:
            if self.standing_by or not lead:
                self.standing_by = True
                self._follow()
            if lead:
                while self._batches:
                    self._write_first()
                self.standing_by = False
        except LedgerConflict as problem:
            self.standing_by = True
            return problem
        except LedgerError as problem:
            return problem
        return None

    def _write_first(self) -> None:
        batch = self._batches[0]
        try:
            self._ledger.write(batch)
        except LedgerError:
            raise
        except Exception:
            # No ledger will ever take it, and all that come later would wait behind it.
            self._drop_first()
            self.standing_by = True
            raise
        self.booked_until_s = batch.until_s
        bookings = self._batches.pop(0).bookings
        # Freed in one go, a hundred thousand bookings would keep the event loop waiting for 0.1 s.
        while bookings:
            bookings.popitem()
            if len(bookings) % 256 == 0:
                time.sleep(0)

    def _follow(self) -> None:
        """Go on from where the ledger stands: what was booked until then is not ours to book."""
        until_s = self.booked_until_s = self._ledger.until_s()
        if until_s is not None:
            while self._batches and self._batches[0].until_s <= until_s:
                self._batches.pop(0)
        if not self._batches:
            return
        first = self._batches[0]
        if until_s is not None and (first.since_s is None or first.since_s < until_s):
            # Bookings cannot be cut in time: up to one interval is not booked rather than booked twice.
            first.bookings.clear()
            first.stages.clear()
            first.decisions = [each for each in first.decisions if each.at_s >= until_s]
        first.since_s = until_s

    def _shrink(self, batch: Batch, excess: int) -> int:
        """Drop decisions, then task times and bookings of the oldest cells; returns how many."""
        dropped = min(excess, len(batch.decisions))
        del batch.decisions[:dropped]
        self.decisions_dropped += dropped
        bookings = _drop_oldest(batch.stages, excess - dropped)
        bookings += _drop_oldest(batch.bookings, excess - dropped - bookings)
        self.bookings_dropped += bookings
        return dropped + bookings

    def _drop_first(self) -> None:
        batch = self._batches.pop(0)
        self.decisions_dropped += len(batch.decisions)
        self.bookings_dropped += len(batch.bookings) + len(batch.stages)


def _drop_oldest(table: dict[Any, Any], count: int) -> int:
    oldest = heapq.nsmallest(count, table, key=lambda key: key.cell_s)
    for key in oldest:
        del table[key]
    return len(oldest)
