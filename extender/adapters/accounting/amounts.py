"""Units and the word for what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

JOULES_PER_KWH: Final = 3.6e6
BYTES_PER_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Missing:
    """A value that is not known, and why. It is not a number and cannot become one by arithmetic."""

    reason: str


def kwh(watts: float, duration_s: float) -> float:
    """Energy of a constant power."""
    return watts * duration_s / JOULES_PER_KWH
