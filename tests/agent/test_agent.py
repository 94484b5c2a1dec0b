"""The in-driver agent's logic, with a made-up gateway, clock and network."""

from __future__ import annotations

import json

import pytest

from extender.adapters.spark.agent import sitecustomize as agent
from extender.adapters.spark.agent.wire import BatchRefused, Reply, decode_batch, encode_reply
from extender.adapters.spark.eventlog.events import JobStart, TaskEnd, TaskProgress
from extender.adapters.spark.eventlog.lines import decode_line
from tests.agent.rig import (
    APPLICATION_END,
    ENVIRON,
    JOB,
    Jvm,
    Rig,
    Wishes,
    stage_event,
)
from tests.cases import case_path


def task_event(stage_id: int, reason: str = "Success") -> str:
    info = {"Launch Time": 10, "Finish Time": 35}
    return json.dumps({"Stage ID": stage_id, "Task Info": info, "Task End Reason": {"Reason": reason}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"CARBON_SCHEDULER_AGENT": "off"}, "switched off"),
        ({"CARBON_SCHEDULER_URL": ""}, "CARBON_SCHEDULER_URL"),
        ({"CARBON_SCHEDULER_URL": "extender:8420"}, "CARBON_SCHEDULER_URL"),
        ({"CARBON_SCHEDULER_NAMESPACE": ""}, "CARBON_SCHEDULER_NAMESPACE"),
    ],
)
def test_reasons_to_do_nothing(change: dict[str, str], words: str) -> None:
    assert words in agent.Settings({**ENVIRON, **change}).problem


def test_tasks_of_a_stage_are_one_update() -> None:
    rig = Rig()
    for reason in ("Success", "Success", "TaskKilled"):
        rig.agent.put("TaskEnd", task_event(7, reason))
    rig.later(0)
    (update,) = decode_batch(json.dumps(rig.network.sent[0]).encode()).events
    assert isinstance(update, TaskProgress)
    assert (update.stage_id, update.succeeded, update.failed) == (7, 2, 1)
    assert (update.duration_ms, update.max_duration_ms) == (75, 25)


def test_a_batch_is_repeated_as_it_was_until_it_is_answered() -> None:
    rig = Rig()
    rig.agent.put("JobStart", JOB)
    rig.network.answer = OSError("down")
    rig.later(0)
    rig.agent.put("TaskEnd", task_event(1))
    rig.later(3)
    rig.network.answer = (200, b"{}")
    rig.later(10)
    first, second, third = rig.network.sent
    assert first == second == third
    rig.later(10)
    assert [event["type"] for event in rig.network.sent[-1]["events"]] == ["TaskProgress"]
    assert rig.network.sent[-1]["batch"] == first["batch"] + 1


def test_an_extender_that_is_down_is_asked_ever_more_rarely() -> None:
    rig = Rig()
    rig.network.answer = OSError("down")
    for _ in range(3600):
        rig.agent.put("JobStart", JOB)
        rig.later(1)
    assert 60 <= len(rig.network.sent) <= 70
    assert len(rig.agent.updates) <= 6000


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (401, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"interval_s": "x"}'),
        (200, b""),
    ],
)
def test_wrong_answers_change_nothing_and_lose_nothing(answer: tuple[int, bytes]) -> None:
    rig = Rig()
    rig.agent.put("JobStart", JOB)
    rig.network.answer = answer
    rig.later(0)
    assert rig.agent.active
    assert len(rig.agent.updates) == 1


def test_what_the_extender_refuses_is_given_up_and_counted() -> None:
    rig = Rig()
    rig.agent.put("JobStart", JOB)
    rig.network.answer = (400, b"")
    rig.later(0)
    rig.network.answer = (200, b"{}")
    rig.later(60)
    assert rig.network.sent[-1]["events"] == []
    assert rig.network.sent[-1]["dropped"] == 1


def test_a_full_queue_drops_tasks_before_stages() -> None:
    rig = Rig()
    for _ in range(12_000):
        rig.agent.put("TaskEnd", task_event(1))
    rig.agent.put("JobStart", JOB)
    for _ in range(10):
        rig.later(5)
    told = [event for batch in rig.network.sent for event in batch["events"]]
    assert sum(event["succeeded"] for event in told if event["type"] == "TaskProgress") == 5000
    assert told[-1]["type"] == "JobStart"
    assert rig.network.sent[0]["dropped"] == 7000


def test_events_that_are_not_understood_are_counted() -> None:
    rig = Rig()
    for text in ("", "[]", "{}", "not json"):
        rig.agent.put("JobStart", text)
    rig.later(0)
    assert rig.network.sent[0]["dropped"] == 4


def test_the_extender_can_switch_it_off() -> None:
    rig = Rig()
    rig.network.answer = (200, b'{"off": true}')
    rig.later(0)
    rig.agent.put("JobStart", JOB)
    rig.agent.run()
    assert rig.agent.finished.is_set()
    assert len(rig.network.sent) == 1


def test_it_ends_with_the_application_whether_or_not_the_extender_hears() -> None:
    for answer in ((200, b"{}"), OSError("down")):
        rig = Rig()
        rig.network.answer = answer
        rig.agent.put("ApplicationEnd", APPLICATION_END)
        rig.agent.run()
        assert rig.agent.finished.is_set()
        assert len(rig.network.sent) == 1


def test_the_listener_answers_every_method_spark_may_have() -> None:
    rig = Rig()
    listener = agent.Listener(rig.agent)
    listener.onSomethingOfSpark9(None)
    listener.onJobStart(JOB)
    rig.later(0)
    assert [event["type"] for event in rig.network.sent[0]["events"]] == ["JobStart"]
    with pytest.raises(AttributeError):
        _ = listener.other


def test_steering_is_taken_back_when_the_extender_falls_silent() -> None:
    wishes = Wishes()
    rig = Rig(wishes)
    rig.network.answer = (200, encode_reply(Reply(priorities={3: -1}, target_executors=4)))
    rig.later(0)
    assert wishes.wishes[-1]["priorities"] == {"3": -1}
    rig.network.answer = OSError("down")
    rig.later(30)
    assert wishes.wishes[-1]["target_executors"] == 4
    rig.later(31)
    assert wishes.wishes[-1] == {}


def test_stage_priorities_are_set_and_given_back() -> None:
    jvm = Jvm({})
    steering = agent.Steering(jvm)
    steering.heard("StageSubmitted", json.loads(stage_event(3)))
    steering.wish({"priorities": {"3": -5}})
    steering.order()  # Spark tells of a stage before its task set exists
    assert steering.pending
    jvm.priorities = {3: 0, 4: 0}
    steering.order()
    assert jvm.priorities == {3: -5, 4: 0}
    assert not steering.pending
    steering.wish({})
    steering.order()
    assert jvm.priorities == {3: 0, 4: 0}
    assert not steering.pending


def test_a_stage_that_never_comes_is_given_up() -> None:
    steering = agent.Steering(Jvm({}))
    steering.heard("StageSubmitted", json.loads(stage_event(3)))
    steering.wish({"priorities": {"3": -5}})
    for _ in range(200):
        assert steering.pending
        steering.order()
    assert not steering.pending


def test_executors_are_asked_for_once_and_given_back() -> None:
    jvm = Jvm({}, instances="4")
    steering = agent.Steering(jvm)
    for reply in ({}, {"target_executors": 6}, {"target_executors": 6}, {}, {}):
        steering.wish(reply)
    assert jvm.requests == [6, 4]


def test_dynamic_allocation_keeps_its_own_target() -> None:
    jvm = Jvm({}, enabled="true")
    agent.Steering(jvm).wish({"target_executors": 6})
    assert jvm.requests == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"agent":1,"driver":"d","batch":1,"events":[{"type":"Nothing"}]}']
)
def test_bodies_that_are_no_batch_are_refused(body: bytes) -> None:
    with pytest.raises(BatchRefused, match="not a batch"):
        decode_batch(body)


@pytest.mark.parametrize("aqe", ["true", "false"])
def test_agent_and_event_log_agree(aqe: str) -> None:
    rig = Rig()
    lines = case_path(f"spark-captures/eventlog-trimmed-3.5.9-sql-aqe-{aqe}.jsonl").read_text().splitlines()
    logged = [event for line in lines if line.strip() and (event := decode_line(line.encode()))]
    for line in filter(str.strip, lines):
        kind = json.loads(line)["Event"].removeprefix("SparkListener")
        if kind in agent._HEARD:
            rig.agent.put(kind, line)
    rig.later(0)
    told = decode_batch(json.dumps(rig.network.sent[0]).encode()).events
    tasks = [event for event in logged if isinstance(event, TaskEnd)]
    progress = [event for event in told if isinstance(event, TaskProgress)]
    assert [event for event in told if not isinstance(event, TaskProgress)] == [
        event
        for event in logged
        if type(event).__name__ not in ("LogStart", "ApplicationStart", "TaskStart", "TaskEnd")
    ]
    assert any(isinstance(event, JobStart) for event in told)
    assert sum(event.succeeded for event in progress) == len(tasks)
    for field in ("duration_ms", "shuffle_read_bytes", "shuffle_write_bytes", "input_bytes"):
        assert sum(getattr(event, field) for event in progress) == sum(getattr(task, field) for task in tasks)
