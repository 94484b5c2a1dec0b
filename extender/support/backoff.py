"""Attempts that follow each other: waits that grow, and another try at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)

Sleep = Callable[[float], Awaitable[None]]
Draw = Callable[[], float]
"""A random number in [0, 1)."""


class Backoff:
    """Delays that double from `first_s` to `longest_s`, each drawn between half of it and all of it.

    The jitter keeps many clients from coming back in the same instant after an outage.
    """

    def __init__(
        self,
        first_s: float = 0.2,
        longest_s: float = 30.0,
        *,
        sleep: Sleep = asyncio.sleep,
        draw: Draw = random.random,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._sleep = sleep
        self._draw = draw
        self.failures = 0

    def reset(self) -> None:
        """The last attempt worked."""
        self.failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Count a failure; returns the seconds until the next attempt, at least what the server asks for."""
        delay_s = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return max(delay_s * (0.5 + self._draw() / 2), at_least_s)

    async def wait(self, at_least_s: float = 0.0) -> None:
        """Count a failure and sleep until the next attempt."""
        await self._sleep(self.next_s(at_least_s))


async def retried(
    work: Callable[[], Awaitable[T]], problem: type[E], again: Callable[[E], bool], *, attempts: int = 2
) -> T:
    """The result of `work`, which is tried again at once after a problem for which `again` says so.

    Raises the problem of the last attempt, and any other at once.
    """
    for _ in range(attempts - 1):
        try:
            return await work()
        except problem as failure:
            if not again(failure):
                raise
    return await work()
