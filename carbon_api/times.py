"""Times as text: read leniently, written one way. Inside the service all times are epoch seconds, UTC."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

_BLANK_FOR_PLUS = re.compile(r" (\d\d:?\d\d)$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(text: object) -> float:
    """Epoch seconds of an ISO 8601 text; without an offset it means UTC.

    A `+` that a query string turned into a blank is understood. Raises `ValueError` for everything else.
    """
    if not isinstance(text, str):
        raise ValueError("a time is an ISO 8601 text, for example 2026-03-02T10:00:00+00:00")
    cleaned = text.strip()
    if "T" in cleaned or cleaned.count(" ") > 1:
        cleaned = _BLANK_FOR_PLUS.sub(r"+\1", cleaned)
    try:
        moment = datetime.fromisoformat(cleaned)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return (moment - _EPOCH).total_seconds()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:40]!r} is not an ISO 8601 time, for example 2026-03-02T10:00:00+00:00"
        ) from None


def iso(at_s: float) -> str:
    """The ISO 8601 text of a moment, in UTC with whole seconds: 2026-03-02T10:00:00+00:00."""
    return datetime.fromtimestamp(math.floor(at_s), UTC).isoformat()


def duration(seconds: float) -> str:
    """HH:MM:SS, days counted as hours."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
