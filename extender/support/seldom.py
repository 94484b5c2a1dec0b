"""A logger for what clients cause: it says each message once in a minute, however often it is caused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

_SAY_EVERY_S: Final = 60.0
_MOST_SAID: Final = 100


class SeldomLogger(logging.LoggerAdapter[logging.Logger]):
    """Says each message once in a minute, and then how often it had not been said: clients cause them."""

    level: int = logging.INFO
    """uvicorn looks at it before it traces."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logger, {})
        self._clock = clock
        self._said: dict[str, tuple[float, int]] = {}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Say it, or count it."""
        if not self.isEnabledFor(level):
            return
        what, now = f"{msg}{type(kwargs.get('exc_info')).__name__}", self._clock()
        said_s, kept = self._said.get(what, (-_SAY_EVERY_S, 0))
        if now - said_s < _SAY_EVERY_S:
            self._said[what] = (said_s, kept + 1)
            return
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[what] = (now, 0)
        more = f" (and {kept} times before)" if kept else ""
        super().log(level, f"{str(msg).rstrip()}{more}", *args, **kwargs)
