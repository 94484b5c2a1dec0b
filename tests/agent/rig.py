"""The agent in a driver that is played: its JVM, its listener bus, and what it is told."""

from __future__ import annotations

import json
from typing import Any

from extender.adapters.spark.agent import sitecustomize as agent
from extender.adapters.spark.agent.wire import decode_batch

ENVIRON = {"CARBON_SCHEDULER_URL": "http://extender:8420", "CARBON_SCHEDULER_NAMESPACE": "spark"}


JOB = json.dumps({"Event": "x", "Job ID": 1, "Submission Time": 2, "Stage Infos": []})


APPLICATION_END = json.dumps({"Event": "x", "Timestamp": 2})


def stage_event(stage_id: int) -> str:
    return json.dumps({"Stage Info": {"Stage ID": stage_id, "Number of Tasks": 4}})


class Network:
    """Answers what it is told to, and keeps what was sent."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] | Exception = (200, b"{}")
        self.sent: list[dict[str, Any]] = []

    def __call__(self, _settings: Any, path: str, body: bytes) -> tuple[int, bytes]:
        assert path == "/v1/applications/spark/spark-1/events"
        decode_batch(body)  # the extender understands each
        self.sent.append(json.loads(body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Rig:
    def __init__(self, steering: Any = None) -> None:
        self.network = Network()
        self.clock = Clock()
        settings = agent.Settings(ENVIRON)
        self.agent = agent.Agent(
            settings, "spark-1", str, steering, self.network, self.clock, jitter=lambda: 1.0
        )

    def later(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.agent.step()


class Wishes:
    """Stands for Steering."""

    pending = False

    def __init__(self) -> None:
        self.wishes: list[dict[str, Any]] = []

    def heard(self, kind: str, event: dict[str, Any]) -> None:
        del kind, event

    def wish(self, reply: dict[str, Any]) -> None:
        self.wishes.append(reply)


class Jvm:
    """Task sets, a conf and `requestTotalExecutors`, as far as steering touches them."""

    def __init__(self, priorities: dict[int, int], **conf: str) -> None:
        self.priorities = priorities
        self.conf = conf
        self.requests: list[int] = []
        self._jvm = self._jsc = self.org = self.apache = self.spark = self.api = self.python = self
        self.PythonUtils = self

    def toScalaMap(self, _map: Any) -> None: ...  # noqa: N802 - Spark's name

    def sc(self) -> Any:
        return self

    taskScheduler = rootPool = schedulableQueue = getConf = sc  # noqa: N815 - Spark's names

    def get(self, key: str, default: str) -> str:
        return self.conf.get(key.rsplit(".", 1)[1], default)

    def requestTotalExecutors(self, total: int, _locality: int, _hosts: Any) -> None:  # noqa: N802
        self.requests.append(total)

    def toArray(self) -> list[Any]:  # noqa: N802 - Java's name
        return [TaskSet(self, stage) for stage in self.priorities]


class TaskSet:
    def __init__(self, jvm: Jvm, stage: int) -> None:
        self.jvm, self.stage = jvm, stage
        setattr(self, "priority_$eq", lambda value: jvm.priorities.update({stage: value}))

    def getClass(self) -> Any:  # noqa: N802 - Java's name
        return self

    def getSimpleName(self) -> str:  # noqa: N802 - Java's name
        return "TaskSetManager"

    def stageId(self) -> int:  # noqa: N802 - Spark's name
        return self.stage

    def priority(self) -> int:
        return self.jvm.priorities[self.stage]
