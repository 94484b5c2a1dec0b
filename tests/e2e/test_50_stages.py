"""Real Spark with the agent in its driver: graphs, stage order, and executors that wait for cleaner power."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extender.adapters.spark.eventlog.events import JobStart, LogEvent, StageSubmitted, TaskEnd, TaskStart
from extender.adapters.spark.eventlog.files import find_logs
from extender.adapters.spark.eventlog.reader import EventLog
from tests.e2e.harness.agent import driver_template, install_agent
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import Extender
from tests.e2e.harness.grid import ZONE_LABELS, Grid
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.processes import free_port
from tests.e2e.harness.spark import APPS, Submission, submit
from tests.e2e.harness.sparks import SPARK_3, SPARK_4, SparkHome
from tests.e2e.harness.waiting import wait_for

both = pytest.mark.parametrize("spark", [SPARK_3, SPARK_4], ids=lambda spark: spark.version)
one_quickly = pytest.mark.parametrize(
    "spark", [pytest.param(SPARK_3, marks=pytest.mark.full), SPARK_4], ids=lambda spark: spark.version
)
Graph = dict[int, tuple[frozenset[int], int, int]]
"""Stages by last RDD: parents, tasks, tasks that succeeded."""


class Stages:
    """One application with the agent and an event log, and the extender that hears of it."""

    def __init__(self, cluster: ControlPlane, extender: Extender, port: int, logs: Path) -> None:
        self.cluster, self.extender, self.port, self.logs = cluster, extender, port, logs
        self.logs.mkdir(exist_ok=True)

    def submit(
        self, spark: SparkHome, name: str, namespace: str, app: str, args: list[str | Path], **conf: str
    ) -> Submission:
        install_agent(self.cluster, namespace)
        confs = {"spark.eventLog.enabled": "true", "spark.eventLog.dir": self.logs.as_uri()}
        return submit(
            self.cluster,
            spark,
            name,
            namespace=namespace,
            app=APPS / app,
            args=args,
            scheduler="carbon-scheduler",
            conf=confs | {key.replace("__", "."): value for key, value in conf.items()},
            driver_template=driver_template(f"http://127.0.0.1:{self.port}"),
        )

    def view(self, application: Submission) -> dict[str, Any]:
        """What the extender's API says of it."""
        driver = application.await_driver()
        app_id = driver["metadata"]["labels"]["spark-app-selector"]
        return self.extender.get(f"/v1/applications/{application.namespace}/{app_id}")

    def events(self) -> list[LogEvent]:
        """Of the event log of the only application that ended."""
        (url,) = find_logs(str(self.logs))
        log = EventLog(url)
        events = list(log.read())
        assert not log.live
        assert (log.counts.garbage, log.counts.broken_files) == (0, 0)
        return events


def told_by_log(events: list[LogEvent]) -> Graph:
    """The graph as an independent reader of the log would draw it."""
    infos = [info for event in events if isinstance(event, JobStart) for info in event.stages]
    key_of = {info.stage_id: info.key for info in infos}
    done = Counter(key_of[each.stage_id] for each in events if isinstance(each, TaskEnd) and each.succeeded)
    parents: dict[int, set[int]] = {info.key: set() for info in infos}
    for info in infos:
        parents[info.key] |= {key_of[parent] for parent in info.parent_ids}
    return {info.key: (frozenset(parents[info.key]), info.tasks, done[info.key]) for info in infos}


def told_by_api(stages: list[dict[str, Any]]) -> Graph:
    return {each["key"]: (frozenset(each["parents"]), each["tasks"], each["finished"]) for each in stages}


@pytest.fixture
def start_stages(
    installed: ControlPlane, start_pair: Callable[..., Any], tmp_path: Path
) -> Callable[..., Stages]:
    """`start_stages(**options)`: an extender that hears agents every half second."""

    def start(**options: str) -> Stages:
        port = free_port()
        reports = {"drivers.port": str(port), "drivers.report_interval_s": "0.5"}
        return Stages(installed, start_pair(**reports, **options).extender, port, tmp_path / "logs")

    return start


@both
def test_a_diamond_and_an_adaptive_query_are_told_alike_by_agent_and_event_log(
    namespace: str,
    real_nodes,
    start_stages,
    observer: Callable[[], Observer],
    spark: SparkHome,
    tmp_path: Path,
) -> None:
    """Scenario 1: the right results under our scheduler, and one graph from two sources."""
    kubelet = real_nodes(2, cpu="2", memory="4Gi")
    watching = observer()
    stages = start_stages()
    result_file, end_file = tmp_path / "result.json", tmp_path / "end"
    name = f"diamond-{spark.version.replace('.', '-')}"
    application = stages.submit(spark, name, namespace, "diamond.py", [result_file, end_file])
    driver = application.await_driver()["metadata"]["name"]
    wait_for(result_file.exists, "the results", 150, lambda: kubelet.container_log(driver)[-3000:])
    assert json.loads(result_file.read_text())["version"] == spark.version

    over_s = time.time()

    def all_told() -> dict[str, Any] | None:
        """Nothing is open, and that was reported when the last job had long been over."""
        view = stages.view(application)
        states = {each["state"] for each in view["stages"]}
        if not view["stages"] or time.time() - view["heard_age_s"] < over_s + 2:
            return None
        return view if states <= {"complete", "skipped"} else None

    view = wait_for(all_told, "all stages told", 20, lambda: kubelet.container_log(driver)[-3000:])
    assert view is not None
    end_file.write_text("")
    assert application.wait(60) == 0, kubelet.container_log(driver)[-3000:]
    events = stages.events()
    graph = told_by_log(events)
    assert told_by_api(view["stages"]) == graph

    jobs = [event for event in events if isinstance(event, JobStart)]
    run = {event.stage.stage_id for event in events if isinstance(event, StageSubmitted)}
    listed = {info.stage_id: info.key for job in jobs for info in job.stages}
    skipped = Counter(key for stage_id, key in listed.items() if stage_id not in run)
    assert {each["key"]: each["skipped"] for each in view["stages"] if each["skipped"]} == skipped
    assert sum(skipped.values()) > 0, "adaptive execution lists stages again that ran in earlier jobs"
    assert len([job for job in jobs if job.sql_execution_id]) > 1, "one query, several jobs"
    first = {info.key for info in jobs[0].stages}
    children = {key: {other for other in first if key in graph[other][0]} for key in first}
    (top,) = [key for key in first if not graph[key][0]]
    left, right = sorted(children[top])
    assert children[left] == children[right] != set(), "two ways from the top meet again"
    watching.assert_kept()


@one_quickly
def test_stage_order_follows_importance(
    namespace: str, real_nodes, start_stages: Callable[..., Stages], spark: SparkHome, tmp_path: Path
) -> None:
    """Scenario 5: one slot, two jobs; the long one, which began later, goes first."""
    tasks = 10
    kubelet = real_nodes(1, cpu="2", memory="4Gi")
    stages = start_stages(stages__order="true")
    name = f"order-{spark.version.replace('.', '-')}"
    arguments: list[str | Path] = [tmp_path / "result.json", str(tasks), "0.2"]
    one = {"spark__executor__instances": "1"}
    application = stages.submit(spark, name, namespace, "branches.py", arguments, **one)
    driver = application.await_driver()["metadata"]["name"]
    assert application.wait(180) == 0, kubelet.container_log(driver)[-3000:]
    events = stages.events()
    jobs = {
        info.stage_id: event.job_id
        for event in events
        if isinstance(event, JobStart)
        for info in event.stages
    }
    begun = [event for event in events if isinstance(event, TaskStart)]
    order = [jobs[event.stage_id] for event in sorted(begun, key=lambda event: event.launch_ms)]
    # Until the extender has answered, Spark's own order holds: that of the jobs.
    rest = list(itertools.dropwhile(lambda job: job == 0, order))
    assert len(order) == 4 * tasks + tasks, order
    assert rest.count(0) >= tasks / 2, f"the short job was not overtaken: {order}"
    # While two of its three slow stages run, the long job is clearly the longer one. Only between two of them
    # its next tasks are not there yet, and the slot goes to the short one.
    second_stage_over = [place for place, job in enumerate(rest) if job == 1][2 * tasks - 1]
    early = rest[:second_stage_over].count(0)
    assert early < tasks / 2, f"the short job was served before the long one: {order}"


ELASTIC = {
    "spark__executor__instances": "1",
    "spark__dynamicAllocation__enabled": "true",
    "spark__dynamicAllocation__shuffleTracking__enabled": "true",
    "spark__dynamicAllocation__minExecutors": "1",
    "spark__dynamicAllocation__initialExecutors": "1",
    "spark__dynamicAllocation__maxExecutors": "4",
}
DEFERRED = "deferred-by-importance"


def due(within_s: int, estimate_s: int) -> tuple[float, dict[str, str]]:
    """A deadline in seconds since 1970, and the configuration that tells of it."""
    deadline_s = math.ceil(time.time()) + within_s
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(deadline_s))
    annotation = "spark__kubernetes__driver__annotation__carbon-scheduler/"
    return deadline_s, {f"{annotation}deadline": stamp, f"{annotation}runtime-estimate": f"{estimate_s}s"}


@pytest.fixture
def dirty(start_grid: Callable[..., Grid]) -> Grid:
    """The dirtiest hour, which lasts until the test says otherwise."""
    return start_grid(2, 3600.0)


class DirtyRun:
    """An application of two jobs that was submitted in the dirty hour."""

    def __init__(self, stages: Stages, kubelet: Any, application: Submission, result: Path) -> None:
        self.stages, self.kubelet, self.application, self.result = stages, kubelet, application, result
        self.driver: str = application.await_driver()["metadata"]["name"]

    @property
    def view(self) -> dict[str, Any]:
        return self.stages.view(self.application)

    def bound(self) -> list[bool]:
        """Which executors have a node; those that wait come first."""
        return sorted(bool(pod["spec"].get("nodeName")) for pod in self.application.executors())

    def explain(self) -> str:
        return f"{self.view}\n{self.kubelet.container_log(self.driver)[-3000:]}"

    def await_withheld(self, executors: int) -> dict[str, Any]:
        """The view in which so many executors wait for cleaner power."""

        def withheld() -> dict[str, Any] | None:
            view = self.view
            return view if len(view["withheld"]) == executors else None

        view = wait_for(withheld, f"{executors} executors withheld", 90, self.explain)
        assert view is not None
        assert {each["outcome"] for each in view["withheld"]} == {DEFERRED}
        return view

    def end(self) -> int:
        """Wait for the right end; the number of executors that the application had then."""
        assert self.application.wait(120) == 0, self.explain()
        return json.loads(self.result.read_text())["executors"]


@pytest.fixture
def run_dirty(
    namespace: str, real_nodes, start_stages: Callable[..., Stages], dirty: Grid, tmp_path: Path
) -> Callable[..., DirtyRun]:
    """`run_dirty(spark, name, tasks, conf, nodes, **options)`: strictest PCAPS, dirtiest hour."""

    def run(
        spark: SparkHome, name: str, tasks: int, conf: dict[str, str], nodes: int = 2, **options: str
    ) -> DirtyRun:
        kubelet = real_nodes(nodes, cpu="3", memory="6Gi", labels=ZONE_LABELS)
        pcaps = {
            "stages.pcaps.enabled": "true",
            "stages.pcaps.gamma": "1",
            "carbon.url": dirty.url,
            "carbon.poll_s": "0.5",
        }
        stages = start_stages(**pcaps, **options)
        dirty.await_known(stages.extender)
        result = tmp_path / "result.json"
        arguments: list[str | Path] = [result, str(tasks), "0.7"]
        unique = f"{name}-{spark.version.replace('.', '-')}"
        application = stages.submit(spark, unique, namespace, "branches.py", arguments, **conf)
        return DirtyRun(stages, kubelet, application, result)

    return run


@one_quickly
def test_executors_of_unimportant_stages_wait_for_the_clean_hour(
    run_dirty: Callable[..., DirtyRun], dirty: Grid, spark: SparkHome
) -> None:
    """Scenario 3: the job goes on with what it has, and has all it asked for when it gets clean."""
    deadline_s, annotations = due(180, 60)
    run = run_dirty(spark, "dirty", 10, ELASTIC | annotations)
    view = run.await_withheld(3)
    assert view["target"] == 1
    (short,) = [each["stage_id"] for each in view["stages"] if each["jobs"] == [0]]
    assert short in view["deferral"]["deferred"]
    done = sum(each["finished"] for each in view["stages"])

    def goes_on() -> bool:
        assert sum(run.bound()) == 1, "nobody joins in the dirty hour"
        return sum(each["finished"] for each in run.view["stages"]) >= done + 3

    wait_for(goes_on, "the job goes on", 20)
    dirty.jump(14)
    wait_for(lambda: sum(run.bound()) == 4, "they join in the clean hour", 20, run.explain)
    assert not run.view["withheld"]
    assert run.end() == 4
    assert time.time() < deadline_s


@pytest.mark.full
@both
def test_when_the_carbon_source_is_gone_what_waited_for_cleaner_power_joins(
    run_dirty: Callable[..., DirtyRun], dirty: Grid, spark: SparkHome
) -> None:
    """Its last value gets too old, and unknown is neutral: executors withheld until then are let in."""
    run = run_dirty(spark, "unknown", 30, ELASTIC, carbon__stale_after_s="60")
    run.await_withheld(3)
    dirty.kill()
    wait_for(lambda: not run.view["withheld"], "nobody is withheld", 90, run.explain)
    wait_for(lambda: sum(run.bound()) == 4, "all have joined", 30, run.explain)
    assert run.end() == 4


@pytest.mark.full
@both
def test_the_agent_asks_kubernetes_for_no_more_executors_than_are_wanted_now(
    run_dirty: Callable[..., DirtyRun], dirty: Grid, spark: SparkHome
) -> None:
    """Static allocation: pods that wait for room are given up, and asked for again in the clean hour."""
    conf = {
        "spark__executor__instances": "4",
        "spark__kubernetes__driver__annotation__carbon-scheduler/executor-min-count": "1",
        # Spark deletes pods above its target once they are older than this, whatever the allocation.
        "spark__dynamicAllocation__executorIdleTimeout": "2s",
    }
    run = run_dirty(spark, "target", 30, conf, nodes=1, stages__executor_target="true")
    wait_for(lambda: run.bound() == [False, False, True, True], "room for two of four", 90, run.explain)
    wait_for(lambda: run.bound() == [True, True], "those that wait are given up", 60, run.explain)
    dirty.jump(14)
    wait_for(lambda: run.bound() == [False, False, True, True], "they are asked for again", 30, run.explain)
    assert run.end() == 2


@pytest.mark.full
@both
def test_from_its_latest_start_on_nothing_is_withheld_from_an_application(
    run_dirty: Callable[..., DirtyRun], spark: SparkHome
) -> None:
    """The same dirty hour, which never ends, and a deadline that leaves no time to wait."""
    deadline_s, annotations = due(90, 60)
    assert run_dirty(spark, "hurried", 20, ELASTIC | annotations).end() == 4
    assert time.time() < deadline_s


@pytest.mark.full
@both
def test_an_executor_the_extender_and_the_carbon_source_die_and_nothing_is_lost(
    namespace: str,
    real_nodes,
    start_stages: Callable[..., Stages],
    start_grid: Callable[..., Grid],
    observer: Callable[[], Observer],
    spark: SparkHome,
    tmp_path: Path,
) -> None:
    """Scenario 4, all within one job."""
    kubelet = real_nodes(2, cpu="2", memory="4Gi", labels=ZONE_LABELS)
    watching = observer()
    grid = start_grid(14, 3600.0)
    stages = start_stages(
        stages__pcaps__enabled="true", stages__order="true", carbon__url=grid.url, carbon__poll_s="0.5"
    )
    grid.await_known(stages.extender)
    name = f"losses-{spark.version.replace('.', '-')}"
    arguments: list[str | Path] = [tmp_path / "result.json", "20", "1"]
    application = stages.submit(spark, name, namespace, "branches.py", arguments)
    driver = application.await_driver()["metadata"]["name"]
    wait_for(lambda: len(application.executors()) == 2, "two executors", 90)
    names = [pod["metadata"]["name"] for pod in application.executors()]
    watching.await_bound(names, 60)
    wait_for(lambda: stages.view(application)["stages"], "stages told", 60)
    victim = watching.named(names[0])
    assert victim is not None
    kubelet.process(names[0]).kill()

    def replacement() -> dict[str, Any] | None:
        fresh = [pod for pod in application.executors() if pod["metadata"]["name"] not in names]
        return next((pod for pod in fresh if pod["spec"].get("nodeName")), None)

    fresh = wait_for(replacement, "a replacement", 60, lambda: kubelet.container_log(driver)[-3000:])
    assert fresh is not None
    assert fresh["spec"]["nodeName"] == victim["spec"]["nodeName"], "in the slot of the one that was lost"

    def finished() -> dict[int, int]:
        """Of the stages that have open tasks, by key."""
        return {
            each["key"]: each["finished"] for each in stages.view(application)["stages"] if each["importance"]
        }

    known = finished()
    assert known
    stages.extender.kill()
    grid.kill()
    stages.extender.start()

    def told_again() -> bool:
        now = {each["key"]: each["finished"] for each in stages.view(application)["stages"]}
        return all(now.get(key, -1) >= tasks for key, tasks in known.items())

    wait_for(
        told_again, "the agent told the extender all again", 60,
        lambda: f"{known} {stages.view(application)} {kubelet.container_log(driver)[-3000:]}",
    )  # fmt: skip
    assert application.wait(180) == 0, kubelet.container_log(driver)[-3000:]
    assert json.loads((tmp_path / "result.json").read_text())["executors"] == 2
    wait_for(lambda: not stages.extender.held(), "nothing held afterwards", 30)
    watching.assert_kept()
