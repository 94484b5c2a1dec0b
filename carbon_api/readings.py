"""The intensity of a zone at a moment: a value, or the reason why there is none. No third thing exists.

Every number of this service passes `read`; nothing else builds a `Value` from foreign input. The unit is
gCO2e/kWh everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

HIGHEST_G_PER_KWH: Final = 3000.0
"""Above this nothing is believed: the dirtiest lignite plants emit less than half of it."""


class Kind(StrEnum):
    """Which intensity a number is. Averages and marginal rates are never compared, mixed or converted."""

    AVERAGE = "average"
    MARGINAL = "marginal"


class Reason(StrEnum):
    """Why there is no value. A closed list: metrics, answers and documentation all use it."""

    UNKNOWN_ZONE = "unknown-zone"
    NOT_COVERED = "not-covered"
    GAP = "gap"
    STALE = "stale"
    NOT_YET = "not-yet"
    SOURCE_DOWN = "source-down"
    SOURCE_REFUSED = "source-refused"
    RATE_LIMITED = "rate-limited"
    NO_CREDENTIALS = "no-credentials"
    UNREADABLE = "unreadable"
    WRONG_ZONE = "wrong-zone"
    WRONG_UNIT = "wrong-unit"
    NOT_A_NUMBER = "not-a-number"
    ABSURD = "absurd"
    NO_FORECAST = "no-forecast"
    TOO_LITTLE_HISTORY = "too-little-history"


EXPLANATIONS: Final[dict[Reason, str]] = {
    Reason.UNKNOWN_ZONE: "no source is configured for the zone",
    Reason.NOT_COVERED: "the time lies outside what the source has",
    Reason.GAP: "the source has no value for this interval",
    Reason.STALE: "the newest value is too old to speak for now",
    Reason.NOT_YET: "the source has not been asked yet",
    Reason.SOURCE_DOWN: "the service could not reach the source, or the source did not answer in time",
    Reason.SOURCE_REFUSED: "the source refused the request",
    Reason.RATE_LIMITED: "the source asked for a pause",
    Reason.NO_CREDENTIALS: "the source needs a key, or does not accept the one it got",
    Reason.UNREADABLE: "the service cannot read the source's answer",
    Reason.WRONG_ZONE: "the source answered for another zone than the requested one",
    Reason.WRONG_UNIT: "the source answered in a unit or signal other than the requested one",
    Reason.NOT_A_NUMBER: "the source gave null, text or NaN in place of a number",
    Reason.ABSURD: f"the number is negative or above {HIGHEST_G_PER_KWH:.0f} g/kWh",
    Reason.NO_FORECAST: "no forecast is available for the zone",
    Reason.TOO_LITTLE_HISTORY: "too few past values are known to forecast from",
}


@dataclass(frozen=True, slots=True)
class Value:
    """An intensity: `g_per_kwh` holds from `at_s` (start of an interval, seconds since the epoch, UTC).

    Raises `ValueError` when built from a number that cannot be an intensity.
    """

    g_per_kwh: float
    at_s: float
    kind: Kind
    estimated: bool
    source: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.g_per_kwh <= HIGHEST_G_PER_KWH:  # NaN fails too
            raise ValueError(f"{self.g_per_kwh} g/kWh is not within 0..{HIGHEST_G_PER_KWH:.0f}")
        if not math.isfinite(self.at_s):
            raise ValueError(f"the time of a value must be finite, not {self.at_s}")


@dataclass(frozen=True, slots=True)
class Missing:
    """No value, and why. `detail` is for people and never carries a credential."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail or EXPLANATIONS[self.reason]}"


Reading: TypeAlias = Value | Missing


def number(raw: object) -> float | Missing:
    """A finite JSON number as float; `null`, texts, booleans, NaN and infinities are missing."""
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        return Missing(Reason.NOT_A_NUMBER, f"{_shown(raw)} is not a number")
    try:
        value = float(raw)
    except OverflowError:
        return Missing(Reason.ABSURD, "an integer beyond all measure")
    if not math.isfinite(value):
        return Missing(Reason.NOT_A_NUMBER, f"{value} is not a number")
    return value


def read(
    raw: object, at_s: float, kind: Kind, source: str, estimated: bool = False, *, zero_possible: bool = True
) -> Reading:
    """The reading behind a raw number in gCO2e/kWh: the only door by which foreign numbers come in.

    `zero_possible` is False for life-cycle intensities: they count the building of the plants, and no kind of
    plant comes out at 0 (IPCC AR5, table A.III.2: at least 11 g/kWh). There a 0 is how "no data" was written.
    """
    value = number(raw)
    if isinstance(value, Missing):
        return value
    if not math.isfinite(at_s):
        return Missing(Reason.UNREADABLE, "the value has no usable time")
    if not 0.0 <= value <= HIGHEST_G_PER_KWH:
        return Missing(Reason.ABSURD, f"{value:g} g/kWh is not within 0..{HIGHEST_G_PER_KWH:.0f}")
    if value == 0.0 and not zero_possible:
        return Missing(Reason.GAP, "a life-cycle intensity of 0 g/kWh means that there is no data")
    return Value(value, at_s, kind, estimated, source)


def _shown(raw: object) -> str:
    """A short name of a foreign value; not the value itself if it is long or nested."""
    if raw is None:
        return "null"
    if isinstance(raw, bool | str) and len(str(raw)) <= 20:
        return repr(raw)
    return f"a {type(raw).__name__}"
