"""Annotations on a leader that say how long its gang may wait for clean power."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from extender.adapters.spark.refusal import Refused
from extender.core.carbon.start.flexibility import INFLEXIBLE, Flexibility, HoldPolicy

DEADLINE_KEY: Final = "carbon-scheduler/deadline"
MAX_DELAY_KEY: Final = "carbon-scheduler/max-delay"
RUNTIME_KEY: Final = "carbon-scheduler/runtime-estimate"
POLICY_KEY: Final = "carbon-scheduler/carbon-policy"

KEYS: Final = (DEADLINE_KEY, MAX_DELAY_KEY, RUNTIME_KEY, POLICY_KEY)

LONGEST_S: Final = 366 * 86_400
"""No duration is longer: a year more is a typing error."""

_LAST_YEAR: Final = 2999
_SECONDS = re.compile(r"[0-9]{1,9}")
_PARTS = re.compile(
    r"(?=.)(?:(?P<d>[0-9]{1,5})d)?(?:(?P<h>[0-9]{1,6})h)?(?:(?P<m>[0-9]{1,7})m)?(?:(?P<s>[0-9]{1,9})s)?"
)
_UNITS_S: Final = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def read_flexibility(annotations: Mapping[str, str]) -> Flexibility:
    """The time that a gang states for itself; `INFLEXIBLE` when it states none.

    A deadline that has passed, or that leaves no time to wait, is no error: the gang is never held.

    Raises:
        Refused: a value cannot be read.
    """
    if not any(key in annotations for key in KEYS):
        return INFLEXIBLE
    return Flexibility(
        policy=_policy(annotations.get(POLICY_KEY)),
        deadline_s=_deadline_s(annotations.get(DEADLINE_KEY)),
        max_delay_s=_duration_s(MAX_DELAY_KEY, annotations.get(MAX_DELAY_KEY), least_s=0),
        runtime_s=_duration_s(RUNTIME_KEY, annotations.get(RUNTIME_KEY), least_s=1),
    )


def _policy(text: str | None) -> HoldPolicy | None:
    if text is None:
        return None
    try:
        return HoldPolicy(text.strip())
    except ValueError:
        raise Refused(POLICY_KEY, text, f"use one of {', '.join(HoldPolicy)}") from None


def _deadline_s(text: str | None) -> float | None:
    """Seconds since the epoch."""
    if text is None:
        return None
    fix = "write a time with its zone, such as 2026-03-01T18:00:00Z or 2026-03-01T18:00:00+01:00"
    if _TIMESTAMP.fullmatch(text.strip()) is None:
        raise Refused(DEADLINE_KEY, text, fix)
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError:
        raise Refused(DEADLINE_KEY, text, fix) from None
    if moment.year > _LAST_YEAR:
        raise Refused(DEADLINE_KEY, text, f"it is after the year {_LAST_YEAR}; {fix}")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


def _duration_s(key: str, text: str | None, *, least_s: int) -> float | None:
    if text is None:
        return None
    duration_s = duration(text)
    if duration_s is None:
        raise Refused(key, text, "write a duration such as 90m, 2h or 1d12h, or whole seconds such as 3600")
    if duration_s > LONGEST_S:
        raise Refused(key, text, f"it is longer than {LONGEST_S // 86_400}d; write a duration such as 2h")
    if duration_s < least_s:
        raise Refused(key, text, "it must be more than zero; write a duration such as 90m")
    return float(duration_s)


def duration(text: str) -> int | None:
    """Seconds of `90m`, `2h`, `1d12h` or `3600`; None for what is none of these."""
    stripped = text.strip()
    if _SECONDS.fullmatch(stripped):
        return int(stripped)
    parts = _PARTS.fullmatch(stripped)
    if parts is None:
        return None
    return sum(int(number) * _UNITS_S[unit] for unit, number in parts.groupdict().items() if number)
