"""A cache that ages: when it is full, the entries that were not used for the longest time go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class AgingCache(Generic[K, V]):
    """The entries that were used last, as many as weigh `most` together.

    `weight` is what an entry weighs, by default 1. A cache that is emptied when it is full makes the next
    decisions pay for all entries at once; this one gives up what has been idle. None is no value.
    """

    def __init__(self, most: int, weight: Callable[[V], int] = lambda _: 1) -> None:
        self._most = most
        self._weight = weight
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as used now; None when there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, and let go of the idle ones that do not fit beside it."""
        before = self._entries.pop(key, None)
        if before is not None:
            self._total -= self._weight(before)
        self._entries[key] = value
        self._total += self._weight(value)
        while self._total > self._most and len(self._entries) > 1:
            _, idle = self._entries.popitem(last=False)
            self._total -= self._weight(idle)

    def values(self) -> Iterable[V]:
        """All values; looking at them does not count as use."""
        return self._entries.values()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._total = 0
