"""A refusal made from the received bytes equals one made from decoded names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.webhooks.offered import BadRequest, OfferedNames, is_plain, refusals_of

NAMES = st.text(st.sampled_from('abz019.-,:[]{}"\\ \t\n\x00é☃'), max_size=6)
NODE_NAMES = st.from_regex(r"[a-z0-9][a-z0-9.\-]{0,20}", fullmatch=True)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)
REASONS = st.text(max_size=30)


def joined(parts: tuple[bytes | memoryview, ...]) -> dict[str, str]:
    return json.loads(b"".join(parts))


def written(value: Any, style: int) -> bytes:
    """A JSON value the ways it can be written."""
    separators = [(",", ":"), (", ", ": "), (" ,\n", ":")][style % 3]
    return json.dumps(value, separators=separators, ensure_ascii=style < 3).encode()


@given(st.lists(NAMES, max_size=8), st.integers(0, 5), REASONS)
def test_both_paths_agree_on_any_names(names: list[str], style: int, reason: str):
    offered = OfferedNames(written(names, style))
    assert joined(offered.refusals(reason)) == json.loads(refusals_of(names, reason))
    assert list(offered.names()) == names


@given(st.lists(NODE_NAMES, min_size=1, max_size=50), REASONS)
def test_real_node_names_take_the_fast_path(names: list[str], reason: str):
    raw = written(names, 0)
    assert is_plain(raw)
    assert joined(OfferedNames(raw).refusals(reason)) == dict.fromkeys(names, reason)


@given(JSON, st.integers(0, 5))
def test_nothing_but_a_list_of_strings_is_plain(value: Any, style: int):
    raw = written(value, style)
    strings = isinstance(value, list) and all(isinstance(each, str) for each in value)
    if is_plain(raw):
        assert strings
        assert not any("," in each for each in value)
    if not strings:
        with pytest.raises(BadRequest):
            OfferedNames(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'["a",["b"],"c"]',
        b'["a",{"b":"c"},"d"]',
        b'["a",null,"b"]',
        b'["a",1,"b,"]',
        b'[",","b"]',
        b'["a\\"","b"]',
        b'["a","b" ]',
        '["ä","b"]'.encode(),
        b"[]",
        b'["a\x01b"]',
        b"null",
        b'""',
    ],
)
def test_look_alikes_are_not_plain(raw: bytes):
    assert not is_plain(raw)
