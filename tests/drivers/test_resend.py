"""An extender that starts anew in the middle of an application learns of the jobs that run."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extender.adapters.spark.agent import sitecustomize as agent
from extender.adapters.spark.agent.wire import Reply, encode_reply
from extender.adapters.spark.eventlog.lines import decode_line
from extender.core.stages.store import StageView
from extender.core.store import Store
from extender.runtime.agent_reports import DriverReports
from tests.drivers.reporting import KEY, reports, running, take

TASKS = 3
ENVIRON = {"CARBON_SCHEDULER_URL": "http://extender:1", "CARBON_SCHEDULER_NAMESPACE": "ns"}


@dataclass
class Driver:
    """A driver with an agent whose extender may be killed, and whose answers may be lost."""

    store: Store = field(default_factory=running)
    taker: DriverReports = field(init=False)
    agent: Any = field(init=False)
    sent: Counter[str] = field(default_factory=Counter)
    now_s: float = 0.0
    lose_answer: bool = False
    told: list[str] = field(default_factory=list)
    jobs: dict[int, list[int]] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.taker = reports(self.store)
        self.agent = agent.Agent(
            agent.Settings(ENVIRON), "a", str, None, self.send, lambda: self.now_s, jitter=lambda: 1.0
        )

    def send(self, _settings: Any, _path: str, body: bytes) -> tuple[int, bytes]:
        reply = take(self.taker, body)
        self.sent["batches"] += 1
        self.sent["resend"] += reply.resend
        if self.lose_answer:
            self.lose_answer = False
            raise OSError("reset")
        return 200, encode_reply(Reply(resend=reply.resend))

    def restart_extender(self) -> None:
        self.store = running()
        self.taker = reports(self.store)

    def report(self) -> None:
        self.now_s += 100.0
        self.agent.step()

    # -- what Spark does -------------------------------------------------------------------------

    def put(self, kind: str, **event: Any) -> None:
        text = json.dumps({"Event": f"SparkListener{kind}", **event})
        self.told.append(text)
        self.agent.put(kind, text)

    def info(self, stage: int) -> dict[str, Any]:
        parents = [] if stage % 3 < 2 else [stage - 1, stage - 2]
        return {
            "Stage ID": stage,
            "Stage Attempt ID": 0,
            "Stage Name": "map",
            "Number of Tasks": TASKS,
            "Parent IDs": parents,
            "RDD Info": [{"RDD ID": stage + 50}],
        }

    def start_job(self) -> None:
        """A diamond's half: two stages, and one that waits for both."""
        job = len(self.jobs)
        self.jobs[job] = [3 * job, 3 * job + 1, 3 * job + 2]
        infos = [self.info(stage) for stage in self.jobs[job]]
        self.put("JobStart", **{"Job ID": job, "Submission Time": 1, "Stage Infos": infos})

    def submit_stage(self, stage: int) -> None:
        if stage not in self.left and any(stage in stages for stages in self.jobs.values()):
            self.left[stage] = TASKS
            self.put("StageSubmitted", **{"Stage Info": {**self.info(stage), "Submission Time": 2}})

    def end_task(self, stage: int, reason: str = "Success") -> None:
        if self.left.get(stage, 0) > 0:
            self.left[stage] -= reason == "Success"
            task = {"Launch Time": 10, "Finish Time": 35, "Task ID": 1, "Index": 0, "Executor ID": "1"}
            ids = {"Stage ID": stage, "Stage Attempt ID": 0, "Task Type": "ResultTask"}
            self.put("TaskEnd", **ids, **{"Task Info": task, "Task End Reason": {"Reason": reason}})
            if not self.left[stage]:
                done = {**self.info(stage), "Submission Time": 2, "Completion Time": 9}
                self.put("StageCompleted", **{"Stage Info": done})

    def end_job(self, job: int) -> None:
        stages = self.jobs.get(job)
        if stages and all(self.left.get(stage) == 0 for stage in stages):
            self.jobs[job] = []
            result = {"Result": "JobSucceeded"}
            self.put("JobEnd", **{"Job ID": job, "Completion Time": 9, "Job Result": result})

    def live(self, store: Store) -> dict[int, StageView]:
        """Stages of jobs that run, by number."""
        numbers = {stage for stages in self.jobs.values() for stage in stages}
        return {view.stage_id: view for view in store.state.stages.stages(KEY) if view.stage_id in numbers}


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["start_job", "report", "report", "restart_extender"])),
        st.tuples(st.sampled_from(["submit_stage", "end_task", "end_task", "end_task"]), st.integers(0, 8)),
        st.tuples(st.just("end_job"), st.integers(0, 2)),
        st.tuples(st.just("lose")),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(ACTIONS)
def test_what_runs_is_known_again_whenever_the_extender_is_killed(actions: list[tuple[Any, ...]]) -> None:
    driver = Driver()
    driver.start_job()
    for name, *arguments in actions:
        if name == "lose":
            driver.lose_answer = True
        else:
            getattr(driver, name)(*arguments)
    driver.lose_answer = False
    for _ in range(3):  # what waited behind a lost answer, what shows the loss, what is sent again
        driver.report()
    whole = Driver()
    for text in driver.told:
        decoded = json.loads(text)
        whole.agent.put(decoded["Event"].removeprefix("SparkListener"), text)
        assert decode_line(text.encode()) is not None, "such a line could stand in an event log"
    whole.jobs = driver.jobs
    whole.report()
    assert driver.live(driver.store) == driver.live(whole.store)


def test_an_extender_that_heard_the_beginning_asks_for_nothing() -> None:
    driver = Driver()
    driver.start_job()
    for _ in range(5):
        driver.report()
    assert driver.sent == {"batches": 5, "resend": 0}


def test_it_is_asked_for_once_and_again_only_if_the_answer_was_lost() -> None:
    driver = Driver()
    driver.start_job()
    driver.report()
    driver.restart_extender()
    driver.lose_answer = True
    for _ in range(5):
        driver.report()
    assert driver.sent["resend"] == 2
    assert set(driver.live(driver.store)) == {0, 1, 2}
