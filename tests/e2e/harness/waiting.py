"""Waiting for a condition with a deadline: the only way tests here wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL_S = 0.05


def wait_for(
    probe: Callable[[], T],
    what: str,
    timeout_s: float = 120.0,
    explain: Callable[[], str] | None = None,
) -> T:
    """First true result of `probe`; `explain` adds what is known when time runs out."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > deadline_s:
            details = f"\n{explain()}" if explain else ""
            raise TimeoutError(f"{what}: not within {timeout_s:g} s{details}")
        time.sleep(POLL_S)


def holds_for(probe: Callable[[], object], what: str, duration_s: float) -> None:
    """Asserts that a condition stays true for a while: for what must *not* happen."""
    deadline_s = time.monotonic() + duration_s
    while time.monotonic() < deadline_s:
        assert probe(), f"{what}: no longer true"
        time.sleep(POLL_S)
