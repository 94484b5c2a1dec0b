"""Current problems, for health pages, and once each in the log."""

from __future__ import annotations

import logging
from typing import Final

from extender.support.passwords import without_passwords

_MOST_TEXTS: Final = 20


class Problems:
    """Problems by the name of what fails. Texts carry no passwords.

    A problem that repeats is logged once. It is logged again when its text changes or when it comes back
    after `solved`. `current` holds the latest text of each.
    """

    def __init__(self, log: logging.Logger, form: str = "%s: %s") -> None:
        self.current: dict[str, str] = {}
        self._log = log
        self._form = form
        self._logged: dict[str, set[str]] = {}

    def report(
        self, name: str, problem: object, level: int = logging.WARNING, cause: BaseException | None = None
    ) -> None:
        """Something fails. `cause` adds its traceback to the log."""
        text = without_passwords(str(problem) or type(problem).__name__)
        self.current[name] = text
        logged = self._logged.setdefault(name, set())
        if text in logged:
            return
        if len(logged) >= _MOST_TEXTS:
            logged.clear()
        logged.add(text)
        self._log.log(level, self._form, name, text, exc_info=cause)

    def solved(self, name: str) -> None:
        """It works."""
        self.current.pop(name, None)
        self._logged.pop(name, None)
