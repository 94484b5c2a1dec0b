"""How long an application will run: as stated, as it ran before, or as others of its size ran."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final

ASSUMED_S: Final = 3600.0
"""Where nothing is known of any run: an hour, and the text says that it is assumed."""
_KEPT: Final = 20
_MOST_NAMES: Final = 4096
_SHORTEST_S: Final = 60.0
_RUN_SUFFIX: Final = re.compile(r"(-[0-9a-f]{8,}|-[0-9]{4,}|-[0-9]+)*(-driver)?$")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A run time in seconds, and for people where it comes from.

    `low_s` and `high_s` are the shortest and the longest of the earlier runs; None where none is known.
    """

    seconds: float
    text: str
    low_s: float | None = None
    high_s: float | None = None


class Runtimes:
    """Run times seen, by application (namespace, name without what tells runs apart, size) and by size."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str, int], deque[float]] = {}
        self._by_size: dict[int, deque[float]] = {}

    def learn(self, namespace: str, leader: str, size: int, seconds: float) -> None:
        """A run has ended; one that was shorter than a minute failed or did nothing, and says nothing."""
        if seconds < _SHORTEST_S:
            return
        key = (namespace, base_name(leader), size)
        if key not in self._by_name and len(self._by_name) >= _MOST_NAMES:
            del self._by_name[next(iter(self._by_name))]
        self._by_name.setdefault(key, deque(maxlen=_KEPT)).append(seconds)
        self._by_size.setdefault(_class_of(size), deque(maxlen=5 * _KEPT)).append(seconds)

    def estimate(self, namespace: str, leader: str, size: int, stated_s: float | None) -> Estimate:
        """The best that is known of an application's run time."""
        if stated_s is not None:
            return Estimate(stated_s, f"{_minutes(stated_s)} as stated")
        own = self._by_name.get((namespace, base_name(leader), size))
        if own:
            value = median(own)
            text = f"{_minutes(value)}, the median of {len(own)} earlier runs"
            return Estimate(value, text, min(own), max(own))
        alike = self._by_size.get(_class_of(size))
        if alike:
            value = median(alike)
            text = f"{_minutes(value)}, the median of applications of its size"
            return Estimate(value, text, min(alike), max(alike))
        return Estimate(ASSUMED_S, f"{_minutes(ASSUMED_S)}, assumed: state carbon-scheduler/runtime-estimate")


def base_name(leader: str) -> str:
    """A driver's name without what tells runs apart: hexadecimal ids, numbers and `-driver` at its end."""
    return _RUN_SUFFIX.sub("", leader) or leader


def _class_of(size: int) -> int:
    return size.bit_length()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
