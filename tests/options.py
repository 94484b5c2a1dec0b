"""Settings as keyword arguments of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def dotted(options: Mapping[str, T]) -> dict[str, T]:
    """`http__port=0` is the setting `http.port`, as in an environment variable."""
    return {name.replace("__", "."): value for name, value in options.items()}
