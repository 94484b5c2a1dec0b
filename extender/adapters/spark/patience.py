"""When to try a failed action again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from extender.support.backoff import Backoff

_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
_EAGER_S: Final = 120.0
_SLOW_S: Final = 1.0
_REST: Final = 9.0


def _steady() -> Backoff:
    """Pauses without jitter: each application has its own, and they begin at different times."""
    return Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, draw=lambda: 1.0)


@dataclass(slots=True)
class Patience:
    """After each failure in a row twice as long a pause, from five seconds to five minutes.

    In the first two minutes after `since_s` pauses stay short: a driver that starts has no log and no
    UI yet.
    """

    since_s: float
    due_s: float = 0.0
    backoff: Backoff = field(default_factory=_steady)

    def failed(self, now_s: float) -> None:
        """It was tried and failed; `due_s` is when to try next."""
        self.due_s = now_s + self.backoff.next_s()
        if now_s < self.since_s + _EAGER_S:
            self.backoff.reset()

    def worked(self, now_s: float = 0.0, took_s: float = 0.0) -> None:
        """It was tried and worked. A slow action runs for a tenth of the time at most."""
        self.due_s = now_s + _REST * took_s if took_s > _SLOW_S else 0.0
        self.backoff.reset()
