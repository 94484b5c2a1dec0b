"""Times as text."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_api import times


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:00Z",
        "2026-03-02T10:00:00.000Z",
        "2026-03-02T10:00:00",
        "2026-03-02 10:00:00",
        "2026-03-02T12:00:00+02:00",
        "2026-03-02T12:00:00 02:00",  # a plus that a query string took for a blank
        "2026-03-02T10",
    ],
)
def test_one_moment_has_many_spellings(text: str):
    assert times.parse(text) == datetime(2026, 3, 2, 10, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1772445600", "2026-13-01", None, 5, "0001-01-01T00:00:00x"]
)
def test_everything_else_is_refused(text: object):
    with pytest.raises(ValueError, match="ISO 8601"):
        times.parse(text)


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_written_times_are_read_again(moment: datetime):
    whole = moment.replace(microsecond=0, tzinfo=UTC).timestamp()
    assert times.parse(times.iso(whole)) == whole


@given(st.text())
def test_no_text_breaks_the_reader(text: str):
    with contextlib.suppress(ValueError):
        assert math.isfinite(times.parse(text))


def test_durations():
    assert [times.duration(each) for each in (0, 300, 1800, 3600, 90_000)] == [
        "00:00:00", "00:05:00", "00:30:00", "01:00:00", "25:00:00",
    ]  # fmt: skip
