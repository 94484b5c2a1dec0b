"""The time of a zone: the wall's, or that of a replayed trace."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, Protocol

FASTEST: Final = 1_000_000.0
"""A year in half a minute; beyond it no client could follow."""


class Clock(Protocol):
    """Gives the present moment. `speed` is how many of its seconds pass in a real one."""

    @property
    def speed(self) -> float:
        """Seconds of this clock in one real second."""
        ...

    def now_s(self) -> float:
        """The present moment in epoch seconds."""
        ...


class WallClock:
    """Real time. `wall` is injected by tests."""

    speed: float = 1.0

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall

    def now_s(self) -> float:
        """The present moment in epoch seconds."""
        return self._wall()


class ReplayClock:
    """Starts at `start_s` when it is made, and runs `speed` times as fast as real time.

    It reads a monotonic clock, never steps back, and never wraps: a trace that is to start again does so by
    repeating its values (`Series.repeated`), while time goes on. Speed 0 stands still.
    """

    def __init__(
        self, start_s: float, speed: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        if not math.isfinite(start_s):
            raise ValueError(f"a replay must start at some moment, not at {start_s}")
        if not 0.0 <= speed <= FASTEST:
            raise ValueError(f"the speed of a replay must be within 0..{FASTEST:.0f}, not {speed}")
        self.start_s = start_s
        self.speed = speed
        self._monotonic = monotonic
        self._origin = monotonic()
        self._latest_s = start_s

    def now_s(self) -> float:
        """The replayed moment in epoch seconds; never less than an earlier answer."""
        elapsed = max(0.0, self._monotonic() - self._origin)
        self._latest_s = max(self._latest_s, self.start_s + elapsed * self.speed)
        return self._latest_s

    def another(self, start_s: float, speed: float) -> ReplayClock:
        """A clock of its own that starts now, at another moment and speed (one for each PCAPS client)."""
        return ReplayClock(start_s, speed, self._monotonic)
