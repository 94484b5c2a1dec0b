"""The story of a gang: what happened to it, when, and why; the newest entries only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MOST_ENTRIES: Final = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """The gang entered `phase`, or something happened in it, at `at_s` (seconds since the epoch)."""

    at_s: float
    phase: str
    why: str


class Story:
    """The last entries, oldest first. An entry that repeats the one before it is not added."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MOST_ENTRIES)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, at_s: float, phase: str, why: str) -> None:
        """Something happened."""
        last = self._entries[-1] if self._entries else None
        if last is None or (last.phase, last.why) != (phase, why):
            self._entries.append(Entry(at_s, phase, why))
