"""Figures of a run: what they summarise, and that their document is read back as it was."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from benchmarks.figures import Figures, Machine, as_json, figure, from_json, percentile


def test_percentiles_are_measured_values() -> None:
    values = [float(value) for value in range(1, 201)]
    assert percentile(values, 99) == 198
    assert percentile(values, 50) == 100
    assert percentile([7.0], 99) == 7
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1, 100))
def test_at_least_the_percentage_is_not_above_a_percentile(values: list[float], percent: float) -> None:
    limit = percentile(values, percent)
    assert limit in values
    assert sum(value <= limit for value in values) >= len(values) * percent / 100


def test_the_spread_is_that_of_the_rounds() -> None:
    measured = figure("x", "ms", [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    assert (measured.p50, measured.rounds, measured.samples) == (2.5, (2.0, 3.0), 6)
    assert measured.spread == pytest.approx(0.4)
    assert measured.p99 is None  # of six samples no 99th percentile can be told


def test_a_name_is_used_once() -> None:
    figures = Figures([figure("x", "ms", [[1.0]])])
    with pytest.raises(ValueError, match="already"):
        figures.add(figure("x", "ms", [[2.0]]))


def test_a_document_is_read_back_as_it_was() -> None:
    figures = Figures([figure("x", "ms", [[1.0, 2.0], [3.0]]), figure("y", "s", [[4.0] * 100])])
    document = json.loads(json.dumps(as_json(Machine.here(), figures)))
    assert list(from_json(document)) == list(figures)
    with pytest.raises(ValueError, match="not a result"):
        from_json({"figures": [{"name": "x"}]})
