"""Shares of a service that many addresses ask and that one of them must not take for itself."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_MOST_REMEMBERED: Final = 2_000


class TooMany(Exception):
    """An address asks too much; the text says of what. Ask again after `retry_after_s` seconds."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Shares:
    """At most `at_once` questions of an address at a time, and none after `most_refused` vain ones.

    Those are counted for `refused_for_s` seconds from the first. `clock` gives seconds.
    """

    def __init__(
        self, clock: Callable[[], float], *, at_once: int, most_refused: int, refused_for_s: float
    ) -> None:
        self._clock = clock
        self._at_once = at_once
        self._most_refused = most_refused
        self._refused_for_s = refused_for_s
        self._under_way: Counter[str] = Counter()
        self._refused: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @contextmanager
    def taken(self, source: str) -> Iterator[None]:
        """Hold a part of this address's share for a question of a stranger. Raises `TooMany`."""
        until_s, refused = self._refused.get(source, (0.0, 0))
        left_s = until_s - self._clock()
        if left_s > 0 and refused >= self._most_refused:
            raise TooMany("too many tokens from this address were not good; see which pod sends them", left_s)
        if self._under_way[source] >= self._at_once:
            raise TooMany("too many tokens from this address are being checked; try again", 1.0)
        self._under_way[source] += 1
        try:
            yield
        finally:
            self._under_way[source] -= 1
            if not self._under_way[source]:
                del self._under_way[source]

    def refused(self, source: str) -> None:
        """A question of this address was in vain."""
        now = self._clock()
        until_s, refused = self._refused.get(source, (0.0, 0))
        self._refused[source] = (until_s, refused + 1) if now < until_s else (now + self._refused_for_s, 1)
        self._refused.move_to_end(source)
        if len(self._refused) > _MOST_REMEMBERED:
            self._refused.popitem(last=False)
