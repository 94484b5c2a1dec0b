"""Time-outs that follow the time answers take, so that a slow API server is slow and not away."""

from __future__ import annotations

from typing import Final

_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4
_DEVIATIONS: Final = 4
_CALM: Final = 20


class Patience:
    """A time-out that follows the answers, by the rule TCP has for its own (RFC 6298).

    It is the mean time of an answer and four mean deviations, between `least_s` and `most_s`. A time-out that
    ran out doubles it, because how long that answer would have taken is not known; `_CALM` answers in time
    end that.
    """

    def __init__(self, least_s: float = 3.0, most_s: float = 30.0) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._mean_s: float | None = None
        self._deviation_s = 0.0
        self._raised_s = 0.0
        self._in_time = 0

    @property
    def timeout_s(self) -> float:
        """How long the next answer is waited for, in seconds."""
        observed_s = 0.0
        if self._mean_s is not None:
            observed_s = self._mean_s + _DEVIATIONS * self._deviation_s
        return min(self._most_s, max(self._least_s, self._raised_s, observed_s))

    def answered(self, took_s: float) -> None:
        """An answer came, whatever it said."""
        if self._mean_s is None:
            self._mean_s, self._deviation_s = took_s, took_s / 2
        else:
            self._deviation_s += _DEVIATION_GAIN * (abs(took_s - self._mean_s) - self._deviation_s)
            self._mean_s += _GAIN * (took_s - self._mean_s)
        self._in_time += 1
        if self._in_time >= _CALM:
            self._raised_s = 0.0

    def ran_out(self, after_s: float) -> None:
        """No answer came within `after_s`. Many that run out together double it once."""
        self._in_time = 0
        self._raised_s = max(self._raised_s, min(self._most_s, 2 * after_s))
