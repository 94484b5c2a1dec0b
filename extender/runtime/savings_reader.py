"""Reads the ledger's savings beside the event loop, now and then, while somebody looks at the dashboard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from extender.adapters.accounting.ledger import LedgerError
from extender.adapters.accounting.savings import savings
from extender.runtime.ledger_recorder import Bookkeeper

_AGAIN_S: Final = 60.0
_log = logging.getLogger(__name__)


class SavingsReader:
    """`current` answers at once with what was read last; a minute later the ledger is read again."""

    def __init__(self, bookkeeper: Bookkeeper | None, clock: Callable[[], float]) -> None:
        self._bookkeeper = bookkeeper
        self._clock = clock
        self._read_s = -float("inf")
        self._known: Mapping[str, Any] | None = None
        self._reading: asyncio.Task[None] | None = None

    def current(self) -> Mapping[str, Any] | None:
        """The figures, None without a ledger or before it was read."""
        now = self._clock()
        if self._bookkeeper is not None and self._reading is None and now - self._read_s >= _AGAIN_S:
            self._read_s = now
            self._reading = asyncio.get_running_loop().create_task(self._read(now))
        return self._known

    async def _read(self, now: float) -> None:
        assert self._bookkeeper is not None
        accountant = self._bookkeeper.accountant
        try:
            if accountant is not None:
                self._known = asdict(await asyncio.to_thread(savings, accountant.ledger, now))
        except LedgerError as problem:
            _log.info("the savings were not read: %s", problem)
        finally:
            self._reading = None
