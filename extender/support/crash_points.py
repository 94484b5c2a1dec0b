"""Crash points: places at which a durability test has the process killed.

`CARBON_SCHEDULER_CRASH_AT=bind-written` makes the process send itself SIGKILL when it gets there, as
if the machine had lost its power: no handler runs and nothing is flushed. Without the variable a
crash point is one comparison.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

ENVIRONMENT: Final = "CARBON_SCHEDULER_CRASH_AT"

POINTS: Final = (
    "filter-received",
    "filter-held",
    "filter-answered",
    "bind-received",
    "bind-prepared",
    "bind-written",
    "bind-recorded",
    "bind-answered",
)
"""In the order in which a pod passes them."""

_ROUNDS: Final = 3
"""Rounds of the event loop after which a small reply is in the kernel's hands."""

_armed: str = os.environ.get(ENVIRONMENT, "")


def arm(name: str) -> None:
    """Die at this point from now on; an empty name dies nowhere.

    Raises:
        ValueError: there is no such point.
    """
    global _armed
    if name and name not in POINTS:
        raise ValueError(f"{ENVIRONMENT}={name!r}: no such crash point; use one of {', '.join(POINTS)}")
    _armed = name


def crash_point(name: str) -> None:
    """Die here if this point is armed."""
    if name == _armed:
        os.kill(os.getpid(), signal.SIGKILL)


async def crash_point_after_answer(name: str) -> None:
    """Die here if this point is armed, once what was sent has left the process's buffers."""
    if name == _armed:
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGKILL)
