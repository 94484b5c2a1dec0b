"""Quantities against an independent reading of the grammar."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.objects.quantity import (
    LARGEST,
    QuantityError,
    base_units,
    milli_units,
    parse_quantity,
    whole_units,
)

SUFFIXES = {
    **{letter: 10 ** (3 * power) for power, letter in enumerate(("", "k", "M", "G", "T", "P", "E"))},
    **{
        letter: 2 ** (10 * power)
        for power, letter in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)
    },
}
SMALL = {"m": 10**3, "u": 10**6, "n": 10**9}

NUMBERS = st.builds(
    lambda whole, part: f"{whole}.{part}" if part else whole,
    st.integers(0, 10**12).map(str),
    st.one_of(st.just(""), st.from_regex(r"[0-9]{1,9}", fullmatch=True)),
)


def oracle(number: str, suffix: str) -> Fraction:
    value = Fraction(Decimal(number))
    return value / SMALL[suffix] if suffix in SMALL else value * SUFFIXES[suffix]


@given(NUMBERS, st.sampled_from([*SUFFIXES, *SMALL]))
def test_every_suffix_is_exact_and_rounds_up(number: str, suffix: str) -> None:
    exact = oracle(number, suffix)
    assert parse_quantity(number + suffix) == exact
    assert whole_units(number + suffix) == min(math.ceil(exact), LARGEST)
    assert milli_units(number + suffix) == min(math.ceil(exact * 1000), LARGEST)


@given(NUMBERS, st.integers(-30, 30), st.sampled_from("eE"))
def test_exponents_are_exact(number: str, exponent: int, letter: str) -> None:
    assert (
        parse_quantity(f"{number}{letter}{exponent}") == Fraction(Decimal(number)) * Fraction(10) ** exponent
    )


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("500m", 500),
        ("2", 2000),
        (".5", 500),
        ("5.", 5000),
        ("+1", 1000),
        ("1e3", 10**6),
        ("1E2", 10**5),
        (1, 1000),
        (1.5, 1500),
        (0.1, 100),
        (None, 0),
        ("0", 0),
        ("1n", 1),
        (" 1 ", 1000),
        ("12e-1", 1200),
    ],
)
def test_spellings_of_cpu(text: str | float | None, milli: int) -> None:
    assert base_units("cpu", text) == milli


def test_the_letter_e_alone_is_a_suffix() -> None:
    assert parse_quantity("1E") == 10**18
    assert parse_quantity("1Ei") == 2**60


@pytest.mark.parametrize("text", ["1e999999999999", "9E", "9" * 100, "1e100"])
def test_huge_amounts_are_cut(text: str) -> None:
    assert base_units("memory", text) == LARGEST


@pytest.mark.parametrize("text", ["1e-999999999999", "0.0000000000001", "1n"])
def test_the_smallest_amount_takes_a_unit(text: str) -> None:
    assert base_units("memory", text) == 1


@pytest.mark.parametrize(
    "text",
    ["", "abc", "1K", "1e", "e3", ".", "1 Gi", "1gi", "--1", "1.2.3", "0x10", "١", "1_0", "inf", "9" * 200],
)
def test_a_bad_text_is_named_with_its_resource(text: str) -> None:
    with pytest.raises(QuantityError, match="memory") as caught:
        base_units("memory", text)
    assert text[:50] in str(caught.value)


@pytest.mark.parametrize("text", ["-1", "-1Gi", -1, "-1n"])
def test_a_negative_size_is_an_error(text: str | int) -> None:
    with pytest.raises(QuantityError, match="negative"):
        base_units("memory", text)


def test_negative_zero_is_zero() -> None:
    assert base_units("cpu", "-0") == 0


@given(
    st.one_of(
        st.text(max_size=200), st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.text())
    )
)
def test_anything_is_a_size_or_a_quantity_error(value: object) -> None:
    try:
        size = base_units("cpu", value)  # pyright: ignore[reportArgumentType]
    except QuantityError:
        return
    assert 0 <= size <= LARGEST
