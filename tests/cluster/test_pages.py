"""Lists cut into items while they arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.kubernetes.pages import ListSplitter
from extender.objects.structs import DECODE_ERRORS

TRAPS = st.sampled_from(
    [
        '},{"metadata":{',
        "items",
        '"items":[',
        [{"x": 1}, {"metadata": {"name": "inner"}}, {"metadata": {}}],
        {"items": [{"a": 1}, {"metadata": {"uid": "inner"}}]},
        None,
        "é\\",
    ]
)
ITEMS = st.lists(
    st.fixed_dictionaries({"metadata": st.fixed_dictionaries({"uid": st.uuids().map(str)}), "spec": TRAPS}),
    max_size=6,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


def cut(body: bytes, sizes: list[int]) -> tuple[list[Any], str | None, int]:
    """Feed a body in chunks; the items, the list's version, and how many came before the end."""
    splitter, bodies, start = ListSplitter(), [], 0
    for size in [*sizes, len(body)]:
        bodies += [item.body for item in splitter.feed(body[start : start + size])]
        start += size
    early = len(bodies)
    page, rest = splitter.finish()
    bodies += [item.body for item in rest]
    return (
        [json.loads(each) for each in bodies],
        page.metadata.resource_version if page.metadata else None,
        early,
    )


@given(ITEMS, SEPARATORS, st.lists(st.integers(1, 60), max_size=20), st.booleans())
def test_whatever_the_chunks_the_items_are_the_same(
    items: list[Any], separators: tuple[str, str], sizes: list[int], metadata_first: bool
) -> None:
    whole: dict[str, Any] = {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": items}
    if not metadata_first:
        whole["metadata"] = whole.pop("metadata")
    found, version, _ = cut(json.dumps(whole, separators=separators).encode(), sizes)
    assert found == items
    assert version == "7"


def test_items_of_the_api_servers_spelling_come_before_the_end() -> None:
    items = [{"metadata": {"uid": str(number)}, "spec": {}} for number in range(100)]
    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}, separators=(",", ":")).encode()
    found, _, early = cut(body, [100] * 60)
    assert found == items
    assert early == 99


@pytest.mark.parametrize(
    "body", [b"", b'{"items":[', b'{"items":[{"metadata":{}},{"metadata":{}', b"[]", b"{}}"]
)
def test_a_body_that_is_no_list_is_an_error_at_its_end(body: bytes) -> None:
    splitter = ListSplitter()
    list(splitter.feed(body))
    with pytest.raises(DECODE_ERRORS):
        splitter.finish()
