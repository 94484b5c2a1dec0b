"""What the agent may cost a driver: memory, time with the interpreter, calls into the JVM."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extender.adapters.spark.agent import sitecustomize as agent
from extender.adapters.spark.agent.wire import Reply, encode_reply
from tests.agent.rig import JOB, Jvm, Rig, stage_event


def job(number: int, stages: int) -> str:
    infos = [{"Stage ID": number * 10_000 + each, "Number of Tasks": 1} for each in range(stages)]
    return json.dumps({"Job ID": number, "Submission Time": 2, "Stage Infos": infos})


def stages_of(batch: dict[str, Any]) -> int:
    return sum(len(event.get("stages", ())) for event in batch["events"])


def test_large_jobs_travel_in_more_batches() -> None:
    rig = Rig()
    for number in range(4):
        rig.agent.put("JobStart", job(number, 400))
    rig.agent.put("JobStart", job(4, 3_000))
    for _ in range(8):
        rig.later(5)
    assert [stages_of(batch) for batch in rig.network.sent if batch["events"]] == [800, 800, 3_000]
    assert rig.network.sent[-1]["dropped"] == 0


def test_what_waits_is_bounded_by_stages_too() -> None:
    rig = Rig()
    rig.network.answer = OSError("down")
    for number in range(20):
        rig.agent.put("JobStart", job(number, 900))
    rig.later(0)
    rig.network.answer = (200, b"{}")
    for _ in range(40):
        rig.later(5)
    told = {event["job_id"]: event for batch in rig.network.sent for event in batch["events"]}
    assert sum(len(event["stages"]) for event in told.values()) <= 5_000 + 1_000
    assert max(told) == 19, "the latest are kept"
    assert rig.network.sent[-1]["dropped"] == 20 - len(told)


def test_what_is_told_again_is_bounded_by_stages_too() -> None:
    rig = Rig()
    for number in range(30):
        rig.agent.put("JobStart", job(number, 900))
        rig.later(5)
    assert sum(map(stages_of, rig.network.sent)) == 27_000
    rig.network.answer = (200, encode_reply(Reply(resend=True)))
    rig.later(5)
    rig.network.answer = (200, b"{}")
    before = len(rig.network.sent)
    for _ in range(20):
        rig.later(5)
    assert 4_000 < sum(map(stages_of, rig.network.sent[before:])) <= 5_000


def test_an_event_that_is_too_long_is_dropped_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_EVENT_CHARS", 1_000)
    rig = Rig()
    rig.agent.put("JobStart", job(1, 1_000))
    rig.agent.put("JobStart", JOB)
    rig.later(0)
    assert rig.network.sent[0]["dropped"] == 1
    assert len(rig.network.sent[0]["events"]) == 1


def test_long_texts_and_lineages_are_cut() -> None:
    rig = Rig()
    info = {
        "Stage ID": 1,
        "Number of Tasks": 1,
        "Stage Name": "n" * 50_000,
        "Failure Reason": "trace " * 50_000,
        "RDD Info": [{"RDD ID": each} for each in range(3_000)],
    }
    rig.agent.put("StageCompleted", json.dumps({"Stage Info": info}))
    rig.later(0)
    (stage,) = (event["stage"] for event in rig.network.sent[0]["events"])
    assert (len(stage["name"]), len(stage["failure"])) == (1_000, 1_000)
    assert stage["rdd_ids"] == list(range(2_900, 3_000))


def test_many_events_are_taken_in_turn_with_the_clock() -> None:
    rig = Rig()
    for _ in range(2_500):
        rig.agent.put("JobEnd", json.dumps({"Job ID": 1, "Completion Time": 2}))
    left = []
    for _ in range(4):
        rig.later(0)
        left.append(len(rig.agent._queue))
    assert left == [1_500, 500, 0, 0]


def test_a_slow_jvm_is_asked_more_rarely() -> None:
    """A walk through the task sets may take a tenth of the time at most."""
    clock: list[Rig] = []

    class Slow(Jvm):
        walks = 0

        def toArray(self) -> list[Any]:  # noqa: N802 - Java's name
            self.walks += 1
            clock[0].clock.now_s += 0.5
            return super().toArray()

    jvm = Slow({})
    rig = Rig(agent.Steering(jvm))
    clock.append(rig)
    rig.network.answer = (200, encode_reply(Reply(priorities={3: 1})))
    rig.agent.put("StageSubmitted", stage_event(3))
    started_s = rig.clock.now_s
    while rig.clock.now_s < started_s + 60:
        rig.later(rig.agent.wait_s())
    assert 5 <= jvm.walks <= 12
