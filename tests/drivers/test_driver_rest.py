"""Spark's REST API asked for the task backlog: what is told, and what a strange answer can do."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.adapters.spark.driver_rest import MOST_BYTES, DriverPod, DriverRest, driver_pod, session
from extender.core.stages import events as core
from extender.core.stages.graph import StageGraph
from extender.core.stages.stage import StageState
from tests.cases import case_path
from tests.drivers.rest_api import Driver, stage


def info(number: int, attempt: int = 0) -> core.StageInfo:
    return core.StageInfo(number, number * 10 + 5, 8, attempt, (), f"stage {number}")


@pytest.fixture
async def driver() -> AsyncIterator[Driver]:
    made = Driver()
    application = web.Application()
    application.router.add_get("/{path:.*}", made.serve)
    async with TestServer(application) as server:
        made.port = server.port or 0
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with session(2.0) as made:
        yield made


@pytest.fixture
def rest(http: aiohttp.ClientSession, driver: Driver) -> DriverRest:
    return DriverRest(http, "127.0.0.1", driver.port, "spark-1")


async def test_active_stages_are_told_once_and_their_tasks_as_totals(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1, done=2), stage(2, "PENDING"), stage(0, "COMPLETE", 8)]
    assert await rest.poll() == [
        core.StageSubmitted(info(1), 1795311045411),
        core.TasksEnded(1, 0, 2, 2020),
    ]
    assert await rest.poll() == []
    driver.stages = [stage(1, done=5)]
    assert await rest.poll() == [core.TasksEnded(1, 0, 5, 5050)]
    assert driver.asked == ["/api/v1/applications/spark-1/stages?status=active"] * 3


async def test_a_stage_that_ended_between_two_polls_is_complete(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1, done=2)]
    await rest.poll()
    driver.stages = [stage(1, "COMPLETE", 8, completionTime="2026-11-22T01:30:46.000GMT")]
    assert await rest.poll() == [
        core.TasksEnded(1, 0, 8, 8080),
        core.StageCompleted(info(1), 1795311046000),
    ]
    assert await rest.poll() == []


async def test_a_stage_that_spark_forgot_is_complete(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1, done=2)]
    await rest.poll()
    driver.stages = []
    assert await rest.poll() == [core.StageCompleted(info(1))]


async def test_a_stage_that_failed_is_open_while_its_job_runs_and_closed_afterwards(
    driver: Driver, rest: DriverRest
):
    graph = StageGraph()
    driver.stages, driver.jobs = [stage(1, done=2)], [{"jobId": 0, "status": "RUNNING", "stageIds": [0, 1]}]
    graph.apply(await rest.poll())
    driver.stages = [stage(1, "FAILED", 2, failureReason="fetch failed")]
    graph.apply(await rest.poll())
    assert graph.standings[15].state is StageState.WAITING
    assert graph.standings[15].open_tasks > 0
    driver.stages = [*driver.stages, stage(1, attempt=1)]
    graph.apply(await rest.poll())
    assert graph.standings[15].state is StageState.RUNNING
    driver.stages = [stage(1, "FAILED", attempt=1)]
    driver.jobs = [{"jobId": 0, "status": "FAILED", "stageIds": [0, 1]}]
    graph.apply(await rest.poll())
    assert graph.standings[15].state is StageState.FAILED
    assert not graph.live()
    asked = len(driver.asked)
    assert await rest.poll() == []
    assert len(driver.asked) == asked + 1  # jobs are asked for only while a failed stage is open


async def test_the_backlog_of_the_graph_is_that_of_spark(driver: Driver, rest: DriverRest):
    graph = StageGraph()
    driver.stages = [stage(1, done=2), stage(2, done=0)]
    graph.apply(await rest.poll())
    assert {key: graph.standings[key].open_tasks for key in graph.live()} == {15: 6, 25: 8}
    driver.stages = [stage(1, "COMPLETE", 8), stage(2, done=3)]
    graph.apply(await rest.poll())
    assert {key: graph.standings[key].open_tasks for key in graph.live()} == {25: 5}


async def test_recorded_answers_of_spark_are_understood(driver: Driver, rest: DriverRest):
    recorded = json.loads(case_path("spark-captures/rest-4.3.0-sample.json").read_text())
    last = recorded["GET .../stages (five)"][0]
    driver.stages = [{**last, "status": "ACTIVE"}]
    submitted, tasks = await rest.poll()
    assert isinstance(submitted, core.StageSubmitted)
    assert (submitted.stage.stage_id, submitted.stage.rdd_id, submitted.stage.tasks) == (11, 20, 1)
    assert submitted.time_ms == 1795311045411
    assert tasks == core.TasksEnded(11, 0, 1, 272 + 17)
    driver.stages = [last]
    assert isinstance((await rest.poll())[-1], core.StageCompleted)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (web.Response(status=404), "answered 404"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), "answered 302"),
        (web.Response(body=b"<html>"), "not as Spark writes it"),
        (web.Response(body=b"{}"), "not as Spark writes it"),
        (web.Response(body=b"[{}]"), "not as Spark writes it"),
        (web.Response(body=b"\xff"), "not as Spark writes it"),
        (
            web.Response(body=gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"}),
            "not as Spark writes",
        ),
        (web.Response(body=b"[" * 100_000), "not as Spark writes it"),
        (web.Response(body=b" " * (MOST_BYTES + 1)), "more than"),
    ],
)
async def test_a_strange_answer_is_a_problem_and_nothing_more(
    driver: Driver, rest: DriverRest, reply: web.Response, words: str
):
    driver.reply = reply
    assert await rest.poll() == []
    assert words in rest.problem
    assert len(driver.asked) == 1


async def test_after_a_problem_nothing_is_lost(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1)]
    await rest.poll()
    driver.reply = web.Response(status=500)
    await rest.poll()
    driver.reply, driver.stages = None, [stage(1, "COMPLETE", 8)]
    assert await rest.poll() == [core.TasksEnded(1, 0, 8, 8080), core.StageCompleted(info(1))]
    assert rest.problem == ""


async def test_numbers_that_cannot_be_are_left_out(driver: Driver, rest: DriverRest):
    driver.stages = [stage(-1), stage(1, done=-2), stage(2, numTasks=-8), stage(3)]
    assert await rest.poll() == [core.StageSubmitted(info(3), 1795311045411), core.TasksEnded(3, 0, 0, 0)]


async def test_thousands_of_stages_are_not_all_followed(driver: Driver, rest: DriverRest):
    for start in range(0, 4_000, 1_000):
        driver.stages = [stage(start + number) for number in range(1_000)]
        events = await rest.poll()
        assert sum(isinstance(each, core.StageSubmitted) for each in events) == 500
        assert len(driver.asked) <= 21 * 4
    assert len(rest._active) <= 1_000  # pyright: ignore[reportPrivateUsage]


BIG = 10**400


@pytest.mark.parametrize(
    "more",
    [
        {"numTasks": BIG},
        {"stageId": BIG},
        {"attemptId": 2**31},
        {"numCompleteTasks": BIG},
        {"executorRunTime": BIG},
        {"rddIds": [BIG]},
        {"resourceProfileId": BIG},
    ],
    ids=lambda more: next(iter(more)),
)
async def test_numbers_that_spark_cannot_count_are_left_out(
    driver: Driver, rest: DriverRest, more: dict[str, Any]
):
    driver.stages = [stage(1, **more), stage(3)]
    assert await rest.poll() == [core.StageSubmitted(info(3), 1795311045411), core.TasksEnded(3, 0, 0, 0)]
    assert rest.problem == ""
    driver.stages = [stage(3, "COMPLETE", **{**more, "stageId": 3})]
    assert isinstance((await rest.poll())[-1], core.StageCompleted)
    assert rest.problem == ""


async def test_jobs_that_cannot_be_are_left_out(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1)]
    await rest.poll()
    driver.stages = [stage(1, "FAILED")]
    driver.jobs = [
        {"jobId": number, "status": "FAILED", "stageIds": [1, BIG, *range(5_000)]} for number in (BIG, -1, 7)
    ]
    events = await rest.poll()
    assert rest.problem == ""
    assert events[-2:] == [core.JobStarted(7, (info(1),)), core.JobEnded(7, succeeded=False)]


async def test_a_stage_of_no_known_profile_has_the_default_one(driver: Driver, rest: DriverRest):
    driver.stages = [stage(1, resourceProfileId=-1)]
    assert (await rest.poll())[0] == core.StageSubmitted(info(1), 1795311045411)


async def test_what_was_told_before_the_time_is_over_counts(driver: Driver, http: aiohttp.ClientSession):
    """The driver answers a few questions of a look, and then no more."""
    rest = DriverRest(http, "127.0.0.1", driver.port, "spark-1", poll_s=1.5)
    driver.stages = [stage(number) for number in range(20)]
    await rest.poll()
    driver.stages, driver.answers_left = [stage(30)], 4
    events = await rest.poll()
    assert rest.problem == "did not answer all within 1.5 s"
    assert events[0] == core.StageSubmitted(info(30), 1795311045411)
    assert sum(isinstance(each, core.StageCompleted) for each in events) < 10
    driver.answers_left = None
    events += await rest.poll()
    assert sum(isinstance(each, core.StageCompleted) for each in events) == 20
    assert rest.problem == ""


async def test_an_answer_that_drips_is_given_up(http: aiohttp.ClientSession):
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    application = web.Application()
    application.router.add_get("/{path:.*}", drip)
    async with TestServer(application) as server:
        rest = DriverRest(http, "127.0.0.1", server.port or 0, "spark-1", poll_s=0.2)
        assert await rest.poll() == []
        assert "within 0.2 s" in rest.problem


async def test_the_answers_of_a_poll_have_a_size_together(driver: Driver, rest: DriverRest):
    driver.stages = [stage(number) for number in range(20)]
    await rest.poll()
    ended = [stage(number, "COMPLETE", pad="x" * (MOST_BYTES // 10)) for number in range(20)]
    driver.stages = [stage(30), *ended]
    events = await rest.poll()
    assert "at once" in rest.problem
    assert 5 <= sum(isinstance(each, core.StageCompleted) for each in events) <= 10
    await rest.poll()
    await rest.poll()
    assert rest.problem == ""


async def test_nobody_there(http: aiohttp.ClientSession):
    rest = DriverRest(http, "127.0.0.1", 9, "spark-1")
    assert await rest.poll() == []
    assert "cannot be asked" in rest.problem


async def test_ids_are_quoted_and_ipv6_has_brackets(driver: Driver, http: aiohttp.ClientSession):
    await DriverRest(http, "127.0.0.1", driver.port, "../../x?y").poll()
    assert driver.asked == ["/api/v1/applications/..%2F..%2Fx%3Fy/stages?status=active"]
    rest = DriverRest(http, "::1", 9, "spark-1")
    await rest.poll()
    assert "cannot be asked" in rest.problem


def pod(**changed: Any) -> bytes:
    labels = {"spark-role": "driver", "spark-app-selector": "spark-1"}
    metadata = {"uid": "u", "labels": labels, **changed.pop("metadata", {})}
    return json.dumps({"metadata": metadata, "status": {"podIP": "10.1.2.3", **changed}}).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (pod(), DriverPod("10.1.2.3", "spark-1")),
        (pod(podIP="fd00::7"), DriverPod("fd00::7", "spark-1")),
        (pod(podIP=""), DriverPod("", "spark-1")),
        (pod(podIP="evil.example/x"), DriverPod("", "spark-1")),
        (pod(metadata={"uid": "other"}), None),
        (pod(metadata={"labels": {"spark-role": "executor"}}), None),
        (pod(metadata={"labels": None}), None),
        (pod(metadata={"labels": {"spark-role": "driver"}}), None),
        (b"{}", None),
        (b"[]", None),
        (b"\xff", None),
    ],
)
def test_where_a_driver_is_comes_from_its_pod(body: bytes, expected: DriverPod | None):
    assert driver_pod(body, "u") == expected
