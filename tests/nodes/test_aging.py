"""The cache that ages equals a reference, keeps within its weight, and keeps what was used last."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from extender.core.aging import AgingCache


@given(
    st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 5)), max_size=60)
)
def test_it_gives_up_what_was_idle_longest(most: int, steps: list[tuple[bool, int, int]]) -> None:
    cache: AgingCache[int, tuple[int, int]] = AgingCache(most, lambda value: value[1])
    reference: list[tuple[int, tuple[int, int]]] = []  # idle first
    for number, (put, key, weight) in enumerate(steps):
        known = next((value for each, value in reference if each == key), None)
        if put:
            cache.put(key, (number, weight))
            reference = [entry for entry in reference if entry[0] != key] + [(key, (number, weight))]
            while sum(value[1] for _, value in reference) > most and len(reference) > 1:
                reference.pop(0)
        else:
            assert cache.get(key) == known
            if known is not None:
                reference = [entry for entry in reference if entry[0] != key] + [(key, known)]
        assert list(cache.values()) == [value for _, value in reference]
        assert len(cache) == len(reference)


def test_more_keys_than_it_holds_do_not_empty_it() -> None:
    cache: AgingCache[int, int] = AgingCache(100)
    for number in range(10_000):
        cache.put(number, number + 1)
        assert len(cache) == min(number + 1, 100)
    assert cache.get(9_999) == 10_000
    assert cache.get(0) is None
    cache.clear()
    assert len(cache) == 0
