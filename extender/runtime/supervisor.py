"""The supervisor restarts a part of the service that fails, and gives the service up when that is vain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from extender.support.backoff import Backoff, Sleep

_CRASHES: Final = 5
_CALM_S: Final = 60.0
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 4.0

_log = logging.getLogger(__name__)


class ServiceFailed(Exception):
    """The service cannot go on; the text says why."""


class Supervisor:
    """Keeps parts running. `restarted` hears the name of each part that failed, for the metrics."""

    def __init__(self, restarted: Callable[[str], None], sleep: Sleep = asyncio.sleep) -> None:
        self._restarted = restarted
        self._sleep = sleep

    async def keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever. Ends by cancellation.

        Raises:
            ServiceFailed: the part failed `_CRASHES` times, each time within `_CALM_S` of its start.
        """
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, sleep=self._sleep, draw=lambda: 1.0)
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                await work()
                _log.error("%s ended by itself", name)
            except Exception:
                _log.exception("%s failed", name)
            self._restarted(name)
            if loop.time() - began_s > _CALM_S:
                backoff.reset()
            if backoff.failures + 1 >= _CRASHES:
                raise ServiceFailed(f"{name} failed {_CRASHES} times in a row; see the log")
            await backoff.wait()
