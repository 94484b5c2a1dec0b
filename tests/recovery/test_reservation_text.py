"""The annotation: what is written is read; whatever else stands there is believed or ignored, never fatal."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from extender.core.facts import GangKey
from extender.core.gangs.reservation import (
    MOST_RESERVED,
    MOST_WORKERS,
    RESERVATION,
    Reservation,
    decode,
    encode,
)
from extender.core.gangs.spec import GangSpec
from extender.core.outcomes import Outcome
from tests.gang.world import World, node, size, spec

GOOD = {"v": 1, "min": 2, "max": 3, "packer": "", "worker": {"cpu": 1000}, "slots": [["n1", 2]]}

NAMES = st.text(max_size=8)
REQUESTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "example.com/x"]), st.integers(0, MOST_RESERVED // 12)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(REQUESTS, st.lists(NAMES, max_size=12), st.integers(0, 5), st.sampled_from(["", "tightly-pack"]))
def test_what_is_written_is_read(worker: dict[str, int], nodes: list[str], more: int, packer: str) -> None:
    wanted = GangSpec(worker, len(nodes), len(nodes) + more, packer=packer)
    found = decode(encode(wanted, nodes))
    assert found is not None
    assert (found.worker, found.min_workers, found.max_workers, found.packer) == (
        worker,
        len(nodes),
        len(nodes) + more,
        packer,
    )
    assert sorted(found.nodes) == sorted(nodes)


@given(st.text())
def test_any_text_is_a_reservation_or_none(text: str) -> None:
    assert decode(text) is None or isinstance(decode(text), Reservation)


@given(JSON, st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_any_json_is_a_sound_reservation_or_none(value: object, changes: dict[str, object]) -> None:
    for data in (value, {**GOOD, **changes}):
        found = decode(json.dumps(data))
        if found is not None:
            assert 0 <= found.min_workers == len(found.nodes) <= found.max_workers
            assert all(amount >= 0 for amount in found.worker.values())


BROKEN = {
    "empty": "",
    "no-json": "{",
    "deep": "[" * 100_000,
    "list": "[]",
    "null": "null",
    "other-version": json.dumps({**GOOD, "v": 2}),
    "fewer-slots": json.dumps({**GOOD, "slots": [["n1", 1]]}),
    "negative-run": json.dumps({**GOOD, "slots": [["n1", 3], ["n2", -1]]}),
    "min-above-max": json.dumps({**GOOD, "max": 1}),
    "negative-size": json.dumps({**GOOD, "worker": {"cpu": -1}}),
    "huge": json.dumps({**GOOD, "min": 10**9, "max": 10**9, "slots": [["n1", 10**9]]}),
    "too-many": json.dumps(
        {**GOOD, "min": MOST_WORKERS + 1, "max": MOST_WORKERS + 1, "slots": [["n1", MOST_WORKERS + 1]]}
    ),
    "infinite": '{"v":1,"min":1e999,"max":1,"worker":{},"slots":[]}',
    "not-a-number": '{"v":1,"min":NaN,"max":1,"worker":{},"slots":[]}',
    "size-beyond-int64": json.dumps({**GOOD, "worker": {"cpu": 2**63}}),
    "sum-beyond-int64": json.dumps({**GOOD, "worker": {"cpu": 2**62}}),
    "more-than-there-is": json.dumps({**GOOD, "worker": {"cpu": MOST_RESERVED // 2 + 1}}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_texts_that_are_not_ours_are_ignored(text: str) -> None:
    assert decode(text) is None


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_bound_leader_with_such_a_text_is_rebuilt_from_its_request(text: str) -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(2), node="n1", annotations={RESERVATION: text})
    world.restart()
    assert world.slots("a") == [("n1", "")] * 2
    world.sound()


def bound(reservation: dict[str, object], **fields: object) -> World:
    """A leader that was bound with this reservation before we knew it."""
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", spec(2), node="n1", annotations={RESERVATION: json.dumps(reservation)}, **fields)
    world.restart()
    return world


def test_a_reservation_is_believed_before_the_request() -> None:
    world = bound({**GOOD, "worker": {"cpu": 3000}})
    (admission,) = world.store.state.admissions()
    assert (admission.spec.worker, admission.spec.max_workers) == ({"cpu": 3000}, 3)
    assert world.held() == {"n1": 2}


def test_a_reservation_needs_no_readable_request() -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", None, node="n1", annotations={RESERVATION: json.dumps(GOOD)})
    world.restart()
    assert world.slots("a") == [("n1", "")] * 2


def test_slots_on_nodes_that_are_gone_are_placed_elsewhere() -> None:
    world = bound({**GOOD, "slots": [["gone", 2]]})
    assert {where for where, _ in world.slots("a")} <= {"n1", "n2"}
    assert len(world.slots("a")) == 2
    world.sound()


def test_slots_that_over_commit_a_node_are_placed_elsewhere() -> None:
    world = bound({**GOOD, "min": 10, "max": 10, "slots": [["n1", 10]]})
    assert len(world.slots("a")) == 10
    assert {where for where, _ in world.slots("a")} == {"n1", "n2"}
    world.sound()


def test_slots_that_fit_nowhere_are_owed_and_hold_nothing() -> None:
    world = bound({**GOOD, "min": 100, "max": 100, "slots": [["n1", 100]]})
    where = [name for name, _ in world.slots("a")]
    assert len(where) == 100
    assert where.count("") == 100 - 15
    world.sound()


def test_a_text_of_somebody_else_replaces_ours() -> None:
    """An administrator edits the annotation, or another replica wrote it."""
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.change("a-driver", annotations={RESERVATION: json.dumps({**GOOD, "n": 5, "slots": [["n2", 2]]})})
    assert world.slots("a") == [("n2", "")] * 2
    world.sound()


def test_a_text_of_somebody_else_keeps_running_workers_in_their_slots() -> None:
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", spec(2))
    world.run("a", 2)
    world.change("a-driver", annotations={RESERVATION: json.dumps({**GOOD, "n": 5, "slots": [["n2", 2]]})})
    assert {pod for _, pod in world.slots("a")} == {"a-exec-1", "a-exec-2"}
    assert world.held() == {}
    world.sound()


@pytest.mark.parametrize("text", ["", "{", json.dumps({**GOOD, "v": 2})], ids=["none", "broken", "version"])
def test_a_text_that_is_removed_or_spoiled_changes_nothing(text: str) -> None:
    world = World()
    world.add(node("n1", 8))
    world.leader("a", spec(2))
    world.schedule("a-driver")
    world.change("a-driver", annotations={RESERVATION: text} if text else {})
    assert world.slots("a") == [("n1", "")] * 2
    world.sound()


def test_an_echo_of_an_older_text_of_ours_changes_nothing() -> None:
    world = World()
    world.add(node("n1", 3), node("n2", 3), node("n3", 3))
    world.leader("a", spec(2), requests=size(2))
    world.schedule("a-driver")
    before = world.pods["uid-a-driver"].annotations
    assert [where for where, _ in world.slots("a")] == ["n1", "n2"]
    world.add(node("n2", 3, unschedulable=True))
    world.tick()
    moved = world.slots("a")
    assert ("n2", "") not in moved
    world.change("a-driver", annotations=before)
    assert world.slots("a") == moved
    world.sound()


def test_a_waiting_leaders_annotation_is_not_believed() -> None:
    """Copied from another pod's manifest, for example."""
    world = World()
    world.add(node("n1", 8), node("n2", 8))
    world.leader("a", spec(2), annotations={RESERVATION: json.dumps({**GOOD, "n": 5, "slots": [["n2", 2]]})})
    assert world.held() == {}
    assert world.schedule("a-driver").node == "n1"
    found = decode(world.pods["uid-a-driver"].annotations[RESERVATION])
    assert found is not None
    assert found.nodes == ("n1", "n2")
    assert world.slots("a") == [("n1", ""), ("n2", "")]


def test_two_leaders_of_one_gang_with_reservations_share_none() -> None:
    world = World()
    world.add(node("n1", 8))
    text = json.dumps(GOOD)
    world.leader("a", spec(2), node="n1", annotations={RESERVATION: text}, created_s=2.0)
    world.leader("a", spec(2), name="first", node="n1", annotations={RESERVATION: text}, created_s=1.0)
    world.restart()
    assert world.held() == {"n1": 2}
    assert world.store.state.gangs[GangKey("ns", "a")].owner_uid == "uid-first"
    world.sound()
    world.worker("a", 1)
    assert world.schedule("a-exec-1").outcome is Outcome.SLOT_TAKEN
