"""Asks live sources again and again: the last day first, then history for the forecasts, then what is new."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Final

from carbon_api.readings import Missing, Reason
from carbon_api.sources.base import Answer, Source
from carbon_api.store import Zone

RECENT_S: Final = 23 * 3600.0
"""Asked for on every round: values are revised for hours after they first appear."""

LONGEST_BACKOFF_S: Final = 1800.0
_BETWEEN_PIECES_S: Final = 1.0
_GIVE_UP: Final = frozenset({Reason.SOURCE_REFUSED, Reason.NO_CREDENTIALS, Reason.NOT_COVERED})

_log = logging.getLogger(__name__)

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Poller:
    """Keeps one zone up to date. `source_zone` is how the provider names the zone."""

    zone: Zone
    source: Source
    source_zone: str
    interval_s: float
    history_s: float
    random: Random
    sleep: Sleep = asyncio.sleep

    def __post_init__(self) -> None:
        self._failures = 0
        self._history_done_s = RECENT_S  # how far back the requests have reached

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            try:
                wait_s = await self.round()
            except Exception:  # whatever it is, the zone must not stay without values for ever
                _log.exception("zone %s: a round of polling failed", self.zone.id)
                wait_s = self.interval_s
            await self.sleep(wait_s)

    async def round(self) -> float:
        """One round: new values, and history that is still wanted. Gives the seconds until the next."""
        before = self.zone.problem
        answer = await self._ask(*self._recent())
        self.zone.put(answer)
        if answer.series is None:
            self._failures += 1
            if answer.problem is not None and answer.problem != before:
                _log.warning("zone %s: %s: %s", self.zone.id, self.source.name, answer.problem)
            return self._wait_s(answer)
        if self._failures:
            _log.info("zone %s: %s answers again", self.zone.id, self.source.name)
        self._failures = 0
        return self._wait_s(await self._fill_history())

    def _recent(self) -> tuple[float, float]:
        """The window of new values, from where the known ones end if that is longer ago."""
        now_s = self.zone.now_s()
        start_s = now_s - RECENT_S
        if self.zone.series is not None:
            start_s = min(start_s, max(float(self.zone.series.end_s), now_s - self.source.longest_s))
        return start_s, now_s

    async def _fill_history(self) -> Answer:
        """Ask for older pieces, newest first, until there are enough or the source has no more."""
        now_s = self.zone.now_s()
        while self._history_done_s < self.history_s:
            end_s = now_s - self._history_done_s
            start_s = end_s - self.source.longest_s
            answer = await self._ask(start_s, end_s)
            if answer.series is not None:
                self.zone.learn(answer.series)
            elif answer.problem is not None and answer.problem.reason in _GIVE_UP:
                _log.info("zone %s: no older history (%s)", self.zone.id, answer.problem)
                self._history_done_s = self.history_s
                break
            else:  # tried again in the next round
                return Answer(None, None, answer.retry_after_s)
            self._history_done_s += self.source.longest_s
            await self.sleep(_BETWEEN_PIECES_S)
        return Answer()

    async def _ask(self, start_s: float, end_s: float) -> Answer:
        try:
            return await self.source.fetch(self.source_zone, start_s, end_s)
        except Exception:  # a defect in a source must not end the polling
            _log.exception("zone %s: %s failed", self.zone.id, self.source.name)
            return Answer(None, Missing(Reason.UNREADABLE, "the answer broke its reader; see the log"))

    def _wait_s(self, answer: Answer) -> float:
        """The interval; longer after failures, and at least as long as the provider asked for."""
        wait_s = self.interval_s
        if self._failures:
            longest_s = max(self.interval_s, LONGEST_BACKOFF_S)
            wait_s = min(self.interval_s * 2.0 ** min(self._failures - 1, 16), longest_s)
            wait_s *= self.random.uniform(0.8, 1.2)
        return max(wait_s, answer.retry_after_s or 0.0)
