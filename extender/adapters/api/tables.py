"""Amounts and durations as people write them."""

from __future__ import annotations

from typing import Final

_BINARY_UNITS: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def amount(resource: str, value: int) -> str:
    """A base-unit amount as people write it: cores, binary memory units, or pieces."""
    if resource == "cpu":
        return f"{value / 1000:g}"
    if resource == "memory" or resource.endswith("storage"):
        return _binary(value)
    return str(value)


def age(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def _binary(value: int) -> str:
    size, unit = float(value), 0
    while abs(size) >= 1024 and unit < len(_BINARY_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g}{_BINARY_UNITS[unit]}"
