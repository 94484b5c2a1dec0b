"""However the agent ends, it leaves Spark's listener bus and takes its steering back, and holds nobody up."""

from __future__ import annotations

import atexit
import logging
import os
import random
import sys
from collections.abc import Callable
from threading import Event, Thread
from typing import Any
from unittest.mock import MagicMock

import pytest

from extender.adapters.spark.agent import sitecustomize as agent
from tests.agent.rig import APPLICATION_END, ENVIRON, JOB, Rig, Wishes


@pytest.fixture
def rig() -> Rig:
    """An agent that steers and was answered; `rig.left` counts how often it left the bus."""
    rig = Rig(Wishes())
    rig.network.answer = (200, b'{"target_executors": 3}')
    rig.later(0)
    return rig


@pytest.fixture
def left(rig: Rig) -> list[str]:
    calls: list[str] = []
    rig.agent.detach = lambda: calls.append("left")
    return calls


def wishes(rig: Rig) -> list[dict[str, Any]]:
    steering = rig.agent._steering
    assert isinstance(steering, Wishes)
    return steering.wishes


def exit_of(rig: Rig) -> None:
    """The process exits while the agent works."""
    worker = Thread(target=rig.agent.run)
    worker.start()
    rig.agent.last_words()
    worker.join()


def test_at_exit_it_leaves_spark_and_tells_the_rest(rig: Rig, left: list[str]) -> None:
    wished = wishes(rig)
    rig.agent.put("JobStart", JOB)
    exit_of(rig)
    assert left == ["left"]
    assert rig.network.sent[-1]["events"][0]["type"] == "JobStart"
    assert wished[-1] == {}


def test_at_exit_an_extender_that_is_down_is_not_asked_again(rig: Rig, left: list[str]) -> None:
    rig.network.answer = OSError("down")
    rig.later(10)
    asked = len(rig.network.sent)
    exit_of(rig)
    assert left == ["left"]
    assert len(rig.network.sent) == asked


def test_an_exit_waits_a_moment_only(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an agent whose thread stands somewhere: here it was never started."""
    monkeypatch.setattr(agent, "_LAST_WORDS_S", 0.01)
    rig.agent.last_words()
    assert not rig.agent.finished.is_set()


def test_a_forked_child_exits_without_the_agent(rig: Rig, left: list[str]) -> None:
    rig.agent._pid = os.getpid() + 1
    rig.agent.last_words()
    assert not rig.agent._leaving
    assert left == []


def test_off_leaves_spark_as_it_was(rig: Rig, left: list[str]) -> None:
    wished = wishes(rig)
    rig.network.answer = (200, b'{"off": true, "target_executors": 9}')
    rig.later(10)
    rig.agent.run()
    assert wished[-1] == {}
    assert left == ["left"]


@pytest.mark.parametrize("part", ["_take_in", "_exchange"])
def test_an_error_of_the_agent_leaves_spark_as_it_was(
    rig: Rig, left: list[str], part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = wishes(rig)

    def broken() -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(rig.agent, part, broken)
    rig.clock.now_s += 10
    rig.agent.run()
    assert wished[-1] == {}
    assert left == ["left"]


def test_an_application_that_ended_is_left_alone(rig: Rig, left: list[str]) -> None:
    """Its bus stops by itself, and waits for its listeners meanwhile."""
    wished = wishes(rig)
    rig.agent.put("ApplicationEnd", APPLICATION_END)
    rig.agent.run()
    assert left == []
    assert wished[-1]["target_executors"] == 3


def test_nothing_is_kept_in_memory(rig: Rig, left: list[str]) -> None:
    rig.network.answer = OSError("down")
    rig.agent.put("JobStart", JOB)
    rig.later(10)
    exit_of(rig)
    assert left
    assert len(rig.agent.updates) == 0
    assert rig.agent._steering is None
    rig.agent.put("JobStart", JOB)
    assert len(rig.agent._queue) == 0


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """A SparkContext to attach to; no thread can be started."""
    monkeypatch.setitem(sys.modules, "pyspark", MagicMock())
    monkeypatch.setitem(sys.modules, "pyspark.java_gateway", MagicMock())
    monkeypatch.setattr(agent, "_current", None)
    monkeypatch.setattr(atexit, "register", lambda _function: None)
    monkeypatch.setattr(Thread, "start", MagicMock(side_effect=RuntimeError("can't start new thread")))
    context = MagicMock(applicationId="spark-1", appName="etl", version="4")
    context.getConf().get = lambda _key, default: default
    return context


def test_a_container_without_room_for_a_thread_is_left_at_once(context: MagicMock) -> None:
    with pytest.raises(RuntimeError, match="thread"):
        agent.attach(context, ENVIRON)
    spark = context._jsc.sc()
    ((listener, _queue), _) = spark.listenerBus().addToQueue.call_args
    spark.removeSparkListener.assert_called_once_with(listener)


@pytest.mark.parametrize("token", ["", "/tokens/ours"])
def test_who_names_no_token_is_told_what_to_do(
    context: MagicMock, token: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARBON_SCHEDULER_AGENT_DEBUG", "1")
    with pytest.raises(RuntimeError, match="thread"):
        agent.attach(context, {**ENVIRON, "CARBON_SCHEDULER_TOKEN_FILE": token})
    assert capfd.readouterr().err.count("CARBON_SCHEDULER_TOKEN_FILE") == (not token)


def test_the_jobs_random_numbers_are_the_jobs() -> None:
    settings = agent.Settings(ENVIRON)
    network = Rig().network
    network.answer = OSError("down")
    ours = agent.Agent(settings, "spark-1", str, None, network)
    before = random.getstate()
    ours.step()
    assert not ours.healthy
    assert random.getstate() == before


# --- words of py4j -------------------------------------------------------------------------------------


def test_few_of_the_listeners_of_many_contexts_are_remembered() -> None:
    quiet = agent._Quiet()
    for number in range(100):
        quiet.add([f"p{number}"])
    assert len(quiet.endings) == agent._LISTENERS
    assert quiet.endings[-2:] == (" id p98", " id p99")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    quiet = agent._Quiet()
    quiet.add(["p7"])
    for name in ("py4j.clientserver", "py4j.java_gateway"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    quiet.install()
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records]


def test_calls_of_our_listener_are_not_in_the_jobs_log(heard: Callable[[], list[str]]) -> None:
    for name in ("py4j.clientserver", "py4j.java_gateway"):
        for listener in ("p7", "p17", "p8"):
            logging.getLogger(name).info("Received command c on object id %s".replace("%s", listener))
    assert heard() == [f"Received command c on object id {name}" for name in ("p17", "p8")] * 2


def test_calls_of_our_threads_are_not_in_the_jobs_log(heard: Callable[[], list[str]]) -> None:
    said = Event()

    def call() -> None:
        logging.getLogger("py4j.clientserver").debug("Command to send: m")
        said.set()

    for name in ("carbon-scheduler-agent", "theirs"):
        Thread(target=call, name=name).start()
        assert said.wait(10)
        said.clear()
    assert heard() == ["Command to send: m"]
