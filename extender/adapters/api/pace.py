"""How much a driver may say: a budget in bytes that fills up again with time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_MOST_KEPT: Final = 5_000
_LEAST_COST: Final = 16 * 1024  # also of a report that is empty


class Pace(Generic[Key]):
    """Each key may say `burst_bytes` at once and as much again in `refill_s` seconds, spread over them.

    `clock` gives seconds.
    """

    def __init__(self, clock: Callable[[], float], *, burst_bytes: int, refill_s: float) -> None:
        self._clock = clock
        self._burst_bytes = float(burst_bytes)
        self._bytes_per_s = burst_bytes / refill_s
        self._left: OrderedDict[Key, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._left)

    def wait_s(self, key: Key) -> float:
        """Seconds until this key may speak again, 0 where it may now."""
        return max(0.0, -self._now(key) / self._bytes_per_s)

    def said(self, key: Key, size_bytes: int) -> None:
        """This key said so much. It may overdraw its budget once, and waits then."""
        self._left[key] = (self._clock(), self._now(key) - max(_LEAST_COST, size_bytes))
        self._left.move_to_end(key)
        if len(self._left) > _MOST_KEPT:
            self._left.popitem(last=False)

    def _now(self, key: Key) -> float:
        since_s, left = self._left.get(key, (0.0, self._burst_bytes))
        return min(self._burst_bytes, left + max(0.0, self._clock() - since_s) * self._bytes_per_s)
