"""Questions to many drivers: some at once, and a slow driver keeps no other one waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

AT_ONCE: Final = 32
_ROUND_S: Final = 1.0

_log = logging.getLogger(__name__)


class Polls(Generic[Key]):
    """Asks in rounds, `at_once` at a time.

    A round ends when all have answered, or after `round_s` seconds: who is not done by then goes on beside
    the rounds that follow, and is left out of them until it is.
    """

    def __init__(self, *, at_once: int = AT_ONCE, round_s: float = _ROUND_S) -> None:
        self._gate = asyncio.Semaphore(at_once)
        self._round_s = round_s
        self._under_way: dict[Key, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """Questions under way."""
        return len(self._under_way)

    async def round(self, due: Mapping[Key, Callable[[], Awaitable[None]]]) -> None:
        """Ask those that are due and not under way. An exception of one of them is logged."""
        for key, ask in due.items():
            if key not in self._under_way:
                task = asyncio.create_task(self._ask(ask))
                self._under_way[key] = task
                task.add_done_callback(lambda done, key=key: self._done(key, done))
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()), timeout=self._round_s)

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way.values():
            task.cancel()

    async def _ask(self, ask: Callable[[], Awaitable[None]]) -> None:
        async with self._gate:
            await ask()

    def _done(self, key: Key, task: asyncio.Task[None]) -> None:
        del self._under_way[key]
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.error("asking a driver failed; trying again next time", exc_info=problem)
