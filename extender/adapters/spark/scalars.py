"""Single values as users write them: counts, booleans, sizes. A value that cannot be read is refused."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from extender.adapters.spark.refusal import Refused
from extender.core.gangs.reservation import MOST_WORKERS
from extender.core.nodes.resources import CPU, MEMORY
from extender.objects.quantity import QuantityError, parse_quantity

MIB: Final = 1 << 20
MOST_EVER: Final = 2**31 - 1
"""Spark's "no maximum": the largest Java int. A maximum reserves nothing, so it may be this large."""

_LARGEST_AMOUNT: Final = 1 << 50
"""No machine has more of anything (1 PiB of memory, 10^12 cores)."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,12}")
_SPARK_BYTES = re.compile(r"(?P<number>[0-9]{1,18})(?P<unit>[a-z]*)")
_SPARK_UNITS: Final = {
    "b": 1,
    **dict.fromkeys(("k", "kb"), 1 << 10),
    **dict.fromkeys(("m", "mb"), 1 << 20),
    **dict.fromkeys(("g", "gb"), 1 << 30),
    **dict.fromkeys(("t", "tb"), 1 << 40),
    **dict.fromkeys(("p", "pb"), 1 << 50),
}
_MILLI_BYTES_FROM: Final = 1 << 30
_SPARK_STYLE = re.compile(r"(?P<number>[0-9]{1,18})(?P<unit>g|t|p|b|kb|mb|gb|tb|pb|m)")
_GO_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def count(key: str, text: str, *, least: int = 0, most: int = MOST_WORKERS, noun: str = "executors") -> int:
    """A whole number from `least` to `most`."""
    value = Fraction(int(text)) if _WHOLE.fullmatch(text.strip()) else None
    return _in_range(key, text, value, least, most, noun)


def quantity_count(key: str, text: str, *, most: int = MOST_WORKERS) -> int:
    """A number of executors as a Kubernetes quantity (`3`, `3000m`, `1k`); it must be whole."""
    try:
        value = parse_quantity(text)
    except QuantityError:
        value = None
    return _in_range(key, text, value, 0, most, "executors")


def _in_range(key: str, text: str, value: Fraction | None, least: int, most: int, noun: str) -> int:
    if value is None or value.denominator != 1 or not least <= value <= most:
        raise Refused(key, text, f"write a whole number of {noun}, {least} to {most}")
    return int(value)


def amount(resource: str, key: str, text: str, *, least: int = 0) -> int:
    """An amount of `resource` as a Kubernetes quantity, in base units, rounded up.

    Memory may also be written as Spark does (`1g`, `512m`, `1gb`: powers of 1024).
    """
    value = _spark_memory(text) if resource == MEMORY else None
    if value is None:
        try:
            value = parse_quantity(text)
        except QuantityError:
            raise Refused(key, text, f"write {_example(resource)}") from None
    if resource == CPU:
        value *= 1000
    if value < 0:
        raise Refused(key, text, f"an amount cannot be negative; write {_example(resource)}")
    if value > _LARGEST_AMOUNT:
        raise Refused(key, text, f"more than any machine has; write {_example(resource)}")
    if value < least:
        limit = f"at least {least} bytes" if least > 1 else "more than zero"
        raise Refused(key, text, f"it must be {limit}; write {_example(resource)}")
    return -(-value.numerator // value.denominator)


def _spark_memory(text: str) -> Fraction | None:
    """Spark's spelling of a size, or None where the text is for Kubernetes to read.

    `m` means MiB to Spark and thousandths of a byte to Kubernetes. No executor has less than a MiB
    and none has a PiB, so the number itself tells which one is meant.
    """
    match = _SPARK_STYLE.fullmatch(text.strip())
    if match is None:
        return None
    number = int(match["number"])
    if match["unit"] == "m" and number >= _MILLI_BYTES_FROM:
        return None
    return Fraction(number * _SPARK_UNITS[match["unit"]])


def _example(resource: str) -> str:
    if resource == CPU:
        return "cores as a quantity, such as 2 or 500m"
    if resource == MEMORY:
        return "a size such as 4Gi, 512Mi or 4g"
    return "a quantity, such as 1"


def go_boolean(key: str, text: str) -> bool:
    """A boolean in the spellings of Go's ParseBool (Palantir's annotations)."""
    value = _GO_BOOLEANS.get(text)
    if value is None:
        raise Refused(key, text, "write true or false")
    return value


def spark_boolean(key: str, text: str) -> bool:
    """A boolean of Spark's configuration: true or false in any case."""
    value = {"true": True, "false": False}.get(text.strip().lower())
    if value is None:
        raise Refused(key, text, "write true or false")
    return value


def spark_bytes(key: str, text: str, *, unit: int, least: int = 0) -> int:
    """A size of Spark's configuration in whole `unit`s (bytes each), cut as Spark cuts it.

    A number without a unit counts in `unit`s.
    """
    match = _SPARK_BYTES.fullmatch(text.strip().lower())
    scale = None if match is None else _SPARK_UNITS.get(match["unit"]) if match["unit"] else unit
    if match is None or scale is None:
        raise Refused(key, text, "write a whole number with Spark's unit, such as 512m or 4g")
    size_bytes = int(match["number"]) * scale
    if size_bytes > _LARGEST_AMOUNT:
        raise Refused(key, text, "more than any machine has; write a size such as 4g")
    value = size_bytes // unit
    if value < least:
        raise Refused(key, text, "it must be more than zero; write a size such as 4g")
    return value


_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?[dDfF]?")
_LARGEST_FACTOR: Final = 1e6


def factor(key: str, text: str) -> float:
    """A memory overhead factor: a decimal number, zero or more (binary double, as in Spark)."""
    stripped = text.strip()
    if _DECIMAL.fullmatch(stripped) is None:
        raise Refused(key, text, "write a share of the heap as a decimal number, such as 0.1")
    value = float(stripped.rstrip("dDfF"))
    if not 0 <= value <= _LARGEST_FACTOR:
        raise Refused(key, text, "write a share of the heap, zero or more, such as 0.1")
    return value
