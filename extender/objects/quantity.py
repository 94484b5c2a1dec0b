"""Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) as whole numbers of base units.

Arithmetic is exact (integers and fractions, never floats) and rounds up, as the API server does:
a tenth of a byte takes a byte.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

from extender.core.nodes.resources import CPU

LARGEST: Final = 1 << 56
"""Amounts are cut here (64 PiB): over a hundred of them still add up within int64."""

_MILLI: Final = 1000
_LONGEST_TEXT: Final = 128
_LARGEST_EXPONENT: Final = 200
"""Beyond any amount that 128 digits could bring back below `LARGEST` or above zero."""

_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_SCALES: Final[dict[str, Fraction]] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(1 << 10),
    "Mi": Fraction(1 << 20),
    "Gi": Fraction(1 << 30),
    "Ti": Fraction(1 << 40),
    "Pi": Fraction(1 << 50),
    "Ei": Fraction(1 << 60),
}

RawQuantity = str | int | float | None
"""A quantity as it stands in JSON or YAML: a string, a bare number, or null (which counts as zero)."""


class QuantityError(ValueError):
    """A text that is not a Kubernetes quantity, or one that cannot be a size."""


def parse_quantity(text: RawQuantity) -> Fraction:
    """The exact value of a quantity in its own unit (cores, bytes, pieces); may be negative.

    Raises:
        QuantityError: the text does not follow the grammar of quantities.
    """
    if text is None:
        return Fraction(0)
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise QuantityError(
            f"{text!r} is not a quantity: write a number with a unit, such as 500m, 2 or 1.5Gi"
        )
    # The repr of a float is the shortest decimal that means it, which is what its author wrote.
    digits = text.strip() if isinstance(text, str) else str(text)
    match = _QUANTITY.fullmatch(digits) if len(digits) <= _LONGEST_TEXT else None
    if match is None or not (match["whole"] or match["part"]):
        shown = digits if len(digits) <= _LONGEST_TEXT else digits[:_LONGEST_TEXT] + "..."
        raise QuantityError(
            f"{shown!r} is not a quantity: write a number with a unit, such as 500m, 2 or 1.5Gi"
        )
    part = match["part"] or ""
    value = Fraction(int((match["whole"] or "0") + part), 10 ** len(part))
    if match["suffix"]:
        value *= _SCALES[match["suffix"]]
    elif match["exponent"]:
        exponent = int(match["exponent"])
        value *= Fraction(10) ** max(-_LARGEST_EXPONENT, min(_LARGEST_EXPONENT, exponent))
    return -value if match["sign"] == "-" else value


@lru_cache(maxsize=8192, typed=True)
def whole_units(text: RawQuantity) -> int:
    """A size in whole units (bytes, pieces), rounded up, at most `LARGEST`.

    Raises:
        QuantityError: the text is not a quantity, or it is negative.
    """
    return _round_up(text, 1)


@lru_cache(maxsize=8192, typed=True)
def milli_units(text: RawQuantity) -> int:
    """A size in thousandths (millicores), rounded up, at most `LARGEST`.

    Raises:
        QuantityError: the text is not a quantity, or it is negative.
    """
    return _round_up(text, _MILLI)


def base_units(resource: str, text: RawQuantity) -> int:
    """A size of `resource` in the core's base unit: millicores for cpu, whole units for the rest.

    Raises:
        QuantityError: names the resource and the text.
    """
    try:
        return milli_units(text) if resource == CPU else whole_units(text)
    except QuantityError as problem:
        raise QuantityError(f"{resource}: {problem}") from None
    except TypeError:
        raise QuantityError(f"{resource}: {text!r} is not a quantity") from None


def _round_up(text: RawQuantity, scale: int) -> int:
    value = parse_quantity(text) * scale
    if value < 0:
        raise QuantityError(f"{text!r} is negative: an amount of a resource must be zero or more")
    return min(-(-value.numerator // value.denominator), LARGEST)
