"""An asyncio event loop in virtual time: when nothing can run, time jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Everything waits for something that will never come."""


class _Jump(selectors.SelectSelector):
    """Waits for no socket: instead of sleeping it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """The sockets that are ready now (the loop's own pipe); else time has passed."""
        if timeout is None:
            raise Stuck("no task can run and no timer is set")
        if timeout > 0:
            self.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. `time` starts at 0 s; a run takes as long as the processor needs for it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds."""
        return self._jump.now_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
