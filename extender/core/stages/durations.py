"""How long the tasks of an application's stages take, in seconds."""

from __future__ import annotations

import math
from typing import Final

_SECOND_MS: Final = 1000
_SHORTEST_S: Final = 1e-3


class Durations:
    """The mean of a stage's own finished tasks; before the first one, what is typical of the application.

    Typical is the mean of all, rounded to a power of two: it seldom moves, so other stages seldom change.
    """

    def __init__(self) -> None:
        self._samples: dict[int, tuple[int, int]] = {}
        self._finished = self._task_ms = 0
        self.typical_s = 1.0

    def sample(self, key: int, finished: int, task_ms: int) -> None:
        """What is known of a stage now: finished tasks and the sum of their durations."""
        before = self._samples.get(key, (0, 0))
        self._samples[key] = (finished, task_ms)
        self._finished += finished - before[0]
        self._task_ms += task_ms - before[1]

    def forget(self, key: int) -> None:
        """A stage is gone."""
        self.sample(key, 0, 0)
        del self._samples[key]

    def learn(self) -> bool:
        """Work out what is typical; whether it moved."""
        mean_s = self._task_ms / self._finished / _SECOND_MS if self._finished else 1.0
        before, self.typical_s = self.typical_s, 2.0 ** round(math.log2(max(mean_s, _SHORTEST_S)))
        return self.typical_s != before

    def task_s(self, key: int) -> float:
        """Seconds of one task of a stage."""
        finished, task_ms = self._samples[key]
        return task_ms / finished / _SECOND_MS if finished else self.typical_s
