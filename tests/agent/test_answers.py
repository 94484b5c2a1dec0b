"""What an extender may answer: one with all it says in bounds is obeyed, and any other is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.adapters.spark.agent import sitecustomize as agent
from extender.adapters.spark.agent.wire import Reply, encode_reply
from tests.agent.rig import APPLICATION_END, JOB, Rig, Wishes

DEEP = b"[" * 100_000


def fields(**given: Any) -> bytes:
    return json.dumps(given).encode()


@pytest.mark.parametrize(
    ("text", "interval_s"),
    [
        (b"{}", 5.0),
        (b'{"interval_s": 7}', 7),
        (b'{"interval_s": 1e-300}', 0.2),
        (b'{"interval_s": 1e9}', 300.0),
        (b'{"unknown": {"to": ["come"]}}', 5.0),
    ],
)
def test_the_time_between_batches_has_a_floor_and_a_ceiling(text: bytes, interval_s: float) -> None:
    assert agent.read_reply(text)["interval_s"] == interval_s


def test_what_the_extender_encodes_is_read() -> None:
    sent = Reply(interval_s=2.5, priorities={3: -1, 4: 1000}, target_executors=6, resend=True)
    assert agent.read_reply(encode_reply(sent)) == {
        "interval_s": 2.5,
        "priorities": {"3": -1, "4": 1000},
        "target_executors": 6,
        "off": False,
        "resend": True,
    }


BAD = [
    b"",
    b"[]",
    b"7",
    b"null",
    b"<html>",
    b"\xff\xfe{}",
    b'{"interval_s": NaN}',
    b'{"interval_s": Infinity}',
    b'{"interval_s": -Infinity}',
    b'{"interval_s": 1e999}',
    b'{"interval_s": 0}',
    b'{"interval_s": -1}',
    b'{"interval_s": true}',
    b'{"interval_s": "5"}',
    b'{"interval_s": null}',
    b'{"interval_s": ' + b"9" * 100_000 + b"}",
    b'{"unknown": NaN}',
    b'{"unknown": ' + DEEP + b"]" * 100_000 + b"}",
    b'{"unknown": ' + b'{"a":' * 100_000,
    DEEP,
    fields(priorities=[]) + b",",
    fields(priorities=[1, 2]),
    fields(priorities="all"),
    fields(priorities={"x": 1}),
    fields(priorities={"-1": 1}),
    fields(priorities={"\u0663": 1}),
    fields(priorities={"9" * 5_000: 1}),
    fields(priorities={"1": 1.5}),
    fields(priorities={"1": True}),
    fields(priorities={"1": None}),
    fields(priorities={"1": 1 << 31}),
    fields(priorities={"1": -(1 << 40)}),
    b'{"priorities": {"1": ' + b"9" * 100_000 + b"}}",
    *(fields(target_executors=target) for target in (0, -1, "3", 1 << 40, 100_001, True, 2.5, [])),
]


@pytest.mark.parametrize("answer", BAD, ids=lambda answer: answer[:40].decode("latin-1"))
def test_an_answer_with_any_fault_is_none(answer: bytes) -> None:
    wishes = Wishes()
    rig = Rig(wishes)
    rig.agent.put("JobStart", JOB)
    rig.network.answer = (200, answer)
    for _ in range(600):
        rig.later(1)
    assert rig.agent.active
    assert len(rig.agent.updates) == 1, "the batch is kept"
    assert len(rig.network.sent) < 30, "it is tried ever more rarely"
    assert all(wish == {} for wish in wishes.wishes)


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["interval_s", "priorities", "target_executors", "off", "resend", "7"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_answered_the_agent_sleeps_and_goes_on(answer: bytes) -> None:
    rig = Rig(Wishes())
    rig.network.answer = (200, answer)
    for _ in range(20):
        rig.agent.put("JobStart", JOB)
        before = len(rig.network.sent)
        rig.later(0.25)
        assert len(rig.network.sent) <= before + 1
        assert 0.01 <= rig.agent.wait_s() <= 1
        assert rig.agent.active or json.loads(answer)["off"] is True


def test_a_bad_answer_does_not_prolong_the_steering() -> None:
    wishes = Wishes()
    rig = Rig(wishes)
    rig.network.answer = (200, fields(priorities={"1": 5}))
    rig.later(0)
    rig.network.answer = (200, fields(priorities={"1": "now"}))
    for _ in range(61):
        rig.later(1)
    assert wishes.wishes[0]["priorities"] == {"1": 5}
    assert wishes.wishes[-1] == {}


def test_who_steers_is_asked_before_the_steering_ends() -> None:
    wishes = Wishes()
    rig = Rig(wishes)
    rig.network.answer = (200, fields(interval_s=300, target_executors=3))
    for _ in range(600):
        rig.later(1)
    assert len(rig.network.sent) == 30
    assert all(wish["target_executors"] == 3 for wish in wishes.wishes)


def test_an_extender_that_forgets_every_time_is_told_slowly() -> None:
    rig = Rig()
    rig.agent.put("JobStart", JOB)
    rig.network.answer = (200, fields(interval_s=0.2, resend=True))
    for _ in range(600):
        rig.later(0.1)
    assert len(rig.network.sent) <= 15
    rig.agent.put("ApplicationEnd", APPLICATION_END)
    for _ in range(600):
        rig.later(0.1)
    assert len(rig.network.sent) <= 30


@pytest.mark.parametrize("fault", [ValueError("JVM"), RecursionError()])
def test_steering_that_fails_is_taken_back_and_given_up(fault: Exception) -> None:
    class Faulty(Wishes):
        def wish(self, reply: dict[str, Any]) -> None:
            super().wish(reply)
            if reply:
                raise fault

    wishes = Faulty()
    rig = Rig(wishes)
    rig.network.answer = (200, fields(target_executors=3))
    for _ in range(60):
        rig.later(1)
    assert len(wishes.wishes) == 2
    assert wishes.wishes[-1] == {}
    assert rig.agent.active
    assert rig.agent.healthy
