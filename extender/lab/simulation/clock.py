"""Virtual time: a queue of events, each at its moment. Nothing waits, so a day passes in seconds."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Any


class Timer:
    """One coming event. A cancelled one never happens."""

    __slots__ = ("_arguments", "_callback")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._callback: Callable[..., object] | None = callback
        self._arguments = arguments

    def cancel(self) -> None:
        """Let it not happen. Cancelling twice, or after it has happened, changes nothing."""
        self._callback = None

    def fire(self) -> None:
        """Make it happen, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(*self._arguments)


class VirtualClock:
    """Time that jumps from event to event, in seconds since the epoch.

    Events of the same moment happen in the order in which they were planned, so the same plan gives the
    same run. `time` and `call_at` are those of an asyncio event loop: code that needs only these two runs
    in real time and in virtual time alike.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s
        self._events: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def time(self) -> float:
        """The present moment."""
        return self._now_s

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Plan an event. A moment that has passed means now, after what is planned for now already."""
        timer = Timer(callback, arguments)
        heapq.heappush(self._events, (max(when, self._now_s), next(self._numbers), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callable[..., object], *arguments: Any) -> Timer:
        """Plan an event some seconds ahead."""
        return self.call_at(self._now_s + delay_s, callback, *arguments)

    def run(self, until_s: float = math.inf) -> None:
        """Let everything happen that is planned up to `until_s`, and what follows from it until then.

        Afterwards it is `until_s`, unless that is infinite.
        """
        while self._events and self._events[0][0] <= until_s:
            self._now_s, _, timer = heapq.heappop(self._events)
            timer.fire()
        if math.isfinite(until_s):
            self._now_s = max(self._now_s, until_s)
