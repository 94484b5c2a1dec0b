"""How a request that cannot be used is refused: key, value and fix in one short, stable sentence."""

from __future__ import annotations

from typing import Final

from extender.core.gangs.spec import SpecProblem
from extender.core.outcomes import Outcome

_LONGEST_KEY: Final = 90
_LONGEST_VALUE: Final = 64
_LONGEST_DETAIL: Final = 290


class Refused(Exception):
    """A key of the application's request is broken or contradicts another one.

    `value` is what the user wrote (None when the key is missing); `fix` says what to write instead.
    """

    def __init__(self, key: str, value: str | None, fix: str) -> None:
        stated = f"{_shown(key, _LONGEST_KEY)} is missing" if value is None else written(key, value)
        self.detail = _cut(f"{stated}: {fix}", _LONGEST_DETAIL)
        super().__init__(self.detail)

    @property
    def problem(self) -> SpecProblem:
        """The refusal as the core keeps it."""
        return SpecProblem(Outcome.INVALID_REQUEST, self.detail)


def written(key: str, value: str) -> str:
    """`key=value` as refusals show it: on one line, long parts cut."""
    return f"{_shown(key, _LONGEST_KEY)}={_shown(value, _LONGEST_VALUE)}"


def _shown(text: str, longest: int) -> str:
    """`text` on one line; quoted when its ends would otherwise not be seen."""
    cut = _cut(text, longest)
    if not cut or not cut.isprintable() or cut != cut.strip():
        return _cut(ascii(cut), longest)
    return cut


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
