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

_ON_THE_WIRE_S: Final = 0.05

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
        await asyncio.sleep(_ON_THE_WIRE_S)
        os.kill(os.getpid(), signal.SIGKILL)
