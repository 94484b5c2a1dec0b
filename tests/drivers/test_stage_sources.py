"""Running applications followed from outside: which ones, by what, until when, and what faults do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.adapters.spark.eventlog.follow import LogsFollower
from extender.core.facts import GangKey
from extender.core.queries import stages_heard_s
from extender.core.stages.events import JobStarted
from extender.core.stages.store import StageStore
from extender.settings.loading import load
from tests.cluster.apiserver import Object, answer
from tests.drivers.rest_api import Driver as RestApi
from tests.drivers.rest_api import stage as rest_stage
from tests.drivers.sources import KEY, OTHER, run_pod, world
from tests.drivers.support import DIAMOND, TokenCluster, job, listening
from tests.eventlog.logs import job as logged_job
from tests.eventlog.logs import job_start, task
from tests.eventlog.logs import stage as logged_stage
from tests.service.cluster import delivered, spark_pod


@pytest.fixture
async def rest_api() -> AsyncIterator[RestApi]:
    made = RestApi()
    application = web.Application()
    application.router.add_get("/{path:.*}", made.serve)
    async with TestServer(application) as server:
        made.port = server.port or 0
        yield made


def write(directory: Path, app: str, *lines: bytes) -> None:
    with (directory / f"{app}.inprogress").open("ab") as file:
        file.writelines(lines)


async def test_a_running_application_is_followed_by_its_log(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", "b", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", job_start(0, logged_stage(0, 3), logged_stage(1, 1, 0)), task(0, 0, 50))
        await made.sources.read_logs()
        assert made.stages() == {0: 1, 1: 0}
        write(tmp_path, "a", task(0, 1, 50), task(0, 2, 50)[:9])
        await made.sources.read_logs()
        assert made.stages() == {0: 2, 1: 0}
        assert OTHER not in made.service.store.state.stages
        assert made.sources.health.followed == 1
        assert made.sources.health.problems == {}


async def test_an_application_whose_agent_reports_is_left_alone_until_it_falls_silent(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(7, [10]))
        made.sources.agent_reported(KEY)
        await made.sources.read_logs()
        assert made.stages() == {}
        made.hand.now_s += 61.0
        await made.sources.read_logs()
        assert made.stages() == {14: 1, 15: 1}


async def test_the_service_knows_which_agents_report(cluster: TokenCluster, names: list[str], tmp_path: Path):
    flags = {"stages.event_logs.directory": str(tmp_path), "stages.event_logs.interval_s": "120"}
    async with listening(cluster, names, "a", **flags) as (service, client, (driver,)):
        await run_pod(cluster, service, "a")
        write(tmp_path, "a", *logged_job(7, [10]))
        await driver.tell(1, job(0, *DIAMOND))
        await service.sources.read_logs()
        stages = service.store.state.stages.stages(KEY)
        assert [each.stage_id for each in stages] == [0, 1, 2, 3]
        _, health = await client.get("/healthz")
        assert health["stage_sources"]["problems"] == {}
        _, metrics = await client.get("/metrics")
        assert "carbon_scheduler_stage_logs_followed 0.0" in metrics


async def test_agent_and_log_of_the_same_stages_are_not_added_up(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        agent_stage = {"stage_id": 0, "attempt": 0, "name": "s", "tasks": 3, "parent_ids": [], "rdd_ids": [7]}
        ended = {"type": "TaskProgress", "stage_id": 0, "attempt": 0, "succeeded": 2, "failed": 0}
        await made.drivers[0].tell(1, job(0, agent_stage), {**ended, "duration_ms": 100})
        write(tmp_path, "a", job_start(0, logged_stage(0, 3)), task(0, 0, 50), task(0, 1, 50))
        await made.sources.read_logs()
        assert made.stages() == {0: 2}


async def test_what_is_known_holds_as_long_as_its_source_can_be_read(
    cluster: TokenCluster, names: list[str], tmp_path: Path, rest_api: RestApi
):
    flags = {
        "stages.event_logs.directory": tmp_path,
        "stages.driver_rest.enabled": True,
        "stages.driver_rest.port": rest_api.port,
    }
    async with world(cluster, names, "a", "b", **flags) as (made, http):
        store = made.service.store
        write(tmp_path, "a", *logged_job(0, [10]))
        for _ in range(2):  # the second time without anything new
            await made.sources.read_logs()
            await made.sources.ask_drivers(http)
            assert stages_heard_s(store, KEY) == stages_heard_s(store, OTHER) == made.hand.now_s
            made.hand.now_s += 10.0
        (tmp_path / "a.inprogress").unlink()
        rest_api.reply = web.Response(status=500)
        await made.sources.read_logs()
        await made.sources.ask_drivers(http)
        assert stages_heard_s(store, KEY) == stages_heard_s(store, OTHER) == made.hand.now_s - 10.0


async def test_the_next_context_of_a_driver_begins_with_nothing(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(0, [10]), *logged_job(1, [10]))
        await made.sources.read_logs()
        assert made.stages() == {0: 1, 1: 1, 2: 1, 3: 1}
        (tmp_path / "a.inprogress").unlink()
        write(tmp_path, "a", job_start(0, logged_stage(0, 40)))
        await made.sources.read_logs()
        assert made.stages() == {0: 0}
        write(tmp_path, "a", task(0, 0, 50))
        await made.sources.read_logs()
        assert made.stages() == {0: 1}


async def test_only_the_first_portion_of_another_log_makes_what_is_known_void(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(0, [10]))
        await made.sources.read_logs()
        (tmp_path / "a.inprogress").unlink()
        many = [job_start(number, logged_stage(number, 1)) for number in range(600)]
        write(tmp_path, "a", *many)
        await made.sources.read_logs()
        assert len(made.stages()) == 600


async def test_a_log_that_comes_late_is_no_sign_of_life_and_leaves_room_for_the_rest_api(
    cluster: TokenCluster, names: list[str], rest_api: RestApi
):
    logs = fsspec.filesystem("memory")
    root = f"memory://{uuid4()}"
    part = f"{root}/eventlog_v2_a/events_{{}}_a".format
    logs.pipe(f"{root}/eventlog_v2_a/appstatus_a.inprogress", b"")
    logs.pipe(part(1), b"".join(logged_job(0, [10])))
    flags = {
        "stages.event_logs.directory": root,
        "stages.driver_rest.enabled": True,
        "stages.driver_rest.port": rest_api.port,
    }
    async with world(cluster, names, "a", **flags) as (made, http):
        store, told_s = made.service.store, made.hand.now_s

        async def look() -> None:
            await made.sources.read_logs()
            await made.sources.ask_drivers(http)

        for _ in range(30):
            await look()
            assert stages_heard_s(store, KEY) == told_s
            made.hand.now_s += 10.0
        assert rest_api.asked == []
        rest_api.stages = [rest_stage(2, done=2)]
        made.hand.now_s += 10.0
        await look()
        assert made.stages() == {0: 1, 1: 1, 2: 2}
        assert stages_heard_s(store, KEY) == made.hand.now_s
        asked = len(rest_api.asked)
        logs.pipe(part(2), b"".join(logged_job(1, [10] * 8)))
        await look()
        assert made.stages() == {0: 1, 1: 1, 2: 8, 3: 1}
        logs.mv(f"{root}/eventlog_v2_a/appstatus_a.inprogress", f"{root}/eventlog_v2_a/appstatus_a")
        made.hand.now_s += 1000.0
        await look()
        assert len(rest_api.asked) == asked, "the log speaks again, and has ended"
    logs.rm(root, recursive=True)


async def test_following_ends_with_the_driver(cluster: TokenCluster, names: list[str], tmp_path: Path):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(0, [10]))
        await made.sources.read_logs()
        assert made.sources.health.followed == 1
        await run_pod(cluster, made.service, "a", "Succeeded")
        write(tmp_path, "a", *logged_job(1, [10]))
        await made.sources.read_logs()
        assert made.sources.health.followed == 0
        assert 2 not in made.stages()


async def test_a_pod_that_is_no_driver_of_spark_is_not_followed(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(
        cluster, names, "a", stages__event_logs__directory=tmp_path, stages__driver_rest__enabled=True
    ) as (made, http):
        pod = cluster.pod("a-driver")
        pod["metadata"]["labels"] = {"carbon-scheduler/gang": "a", "carbon-scheduler/role": "leader"}
        write(tmp_path, "a", *logged_job(0, [10]))
        await made.sources.read_logs()
        await made.sources.ask_drivers(http)
        assert made.sources.health.followed == made.sources.health.answering == 0


async def test_the_logs_name_is_sparks_id_and_not_that_of_the_gang(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        cluster.pod("a-driver")["metadata"]["labels"] |= {
            "spark-app-id": "a",
            "spark-app-selector": "spark-4f2c",
        }
        write(tmp_path, "spark-4f2c", *logged_job(0, [10]))
        await made.sources.read_logs()
        assert made.stages() == {0: 1, 1: 1}


async def test_a_pod_is_looked_up_once(cluster: TokenCluster, names: list[str], tmp_path: Path):
    async with world(cluster, names, "a", "b", stages__event_logs__directory=tmp_path) as (made, _):
        before = cluster.count("get")
        for _ in range(3):
            await made.sources.read_logs()
        assert cluster.count("get") == before + 2


async def test_an_api_server_that_refuses_is_asked_again(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(0, [10]))
        cluster.faults["get"].append(answer(500))
        await made.sources.read_logs()
        assert made.stages() == {}
        await made.sources.read_logs()
        assert made.stages() == {0: 1, 1: 1}


async def test_a_damaged_log_is_said_once_and_left_to_the_rest_api(
    cluster: TokenCluster,
    names: list[str],
    tmp_path: Path,
    rest_api: RestApi,
    caplog: pytest.LogCaptureFixture,
):
    flags = {
        "stages.event_logs.directory": tmp_path,
        "stages.driver_rest.enabled": True,
        "stages.driver_rest.port": rest_api.port,
    }
    async with world(cluster, names, "a", **flags) as (made, http):
        write(tmp_path, "a", b"garbage\n" * 500)
        rest_api.stages = [rest_stage(1, done=2)]
        for _ in range(3):
            await made.sources.read_logs()
            await made.sources.ask_drivers(http)
        assert made.stages() == {1: 2}
        health = made.sources.health
        assert (health.followed, health.answering) == (0, 1)
        assert "damaged" in health.problems["event log of ns/a"]
        assert sum("damaged" in each.message for each in caplog.records) == 1


async def test_the_rest_api_is_asked_only_where_nothing_else_tells(
    cluster: TokenCluster, names: list[str], tmp_path: Path, rest_api: RestApi
):
    flags = {
        "stages.event_logs.directory": tmp_path,
        "stages.driver_rest.enabled": True,
        "stages.driver_rest.port": rest_api.port,
    }
    async with world(cluster, names, "a", "b", **flags) as (made, http):
        write(tmp_path, "a", *logged_job(0, [10]))
        rest_api.stages = [rest_stage(1, done=2)]
        await made.sources.ask_drivers(http)
        assert rest_api.asked == []  # the logs have not been looked for yet
        await made.sources.read_logs()
        await made.sources.ask_drivers(http)
        assert rest_api.asked == ["/api/v1/applications/b/stages?status=active"]
        assert made.stages(OTHER) == {1: 2}
        made.sources.agent_reported(OTHER)
        await made.sources.ask_drivers(http)
        assert len(rest_api.asked) == 1


async def test_a_driver_without_a_ui_is_asked_less_and_less_often(
    cluster: TokenCluster, names: list[str], rest_api: RestApi
):
    rest_api.reply = web.Response(status=403)
    async with world(
        cluster, names, "a", stages__driver_rest__enabled=True, stages__driver_rest__port=rest_api.port
    ) as (made, http):
        for _ in range(360):
            await made.sources.ask_drivers(http)
            made.hand.now_s += 10.0
        # every 10 s for two minutes, then after pauses that double up to five minutes
        assert len(rest_api.asked) < 30
        assert "answered 403" in made.sources.health.problems["driver of ns/a"]
        rest_api.reply = None
        made.hand.now_s += 300.0
        rest_api.stages = [rest_stage(1, done=2)]
        await made.sources.ask_drivers(http)
        assert made.sources.health.problems == {}
        assert made.stages() == {1: 2}


async def test_a_file_system_that_hangs_is_seen_and_holds_nothing_up(
    cluster: TokenCluster, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    release, entered = threading.Event(), threading.Event()

    def hang(*_: object) -> Any:
        entered.set()
        release.wait(20)
        raise OSError("stale file handle")

    monkeypatch.setattr(LogsFollower, "round", hang)
    flags = {"stages.event_logs.directory": str(tmp_path), "stages.driver_rest.enabled": "false"}
    async with world(cluster, names, "a", **flags) as (made, _):
        reading = asyncio.create_task(made.sources.run())
        await asyncio.to_thread(entered.wait, 20)
        made.hand.now_s += 100.0
        assert "has not come back for 100 s" in made.sources.health.problems["stages.event_logs.directory"]
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading  # although the thread still hangs
        release.set()


async def test_a_defect_is_logged_and_tried_again(
    cluster: TokenCluster,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def fail(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(LogsFollower, "round", fail)
    tries = 0
    again = asyncio.Event()

    async def sleep(_: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            again.set()
            await asyncio.Event().wait()

    async with world(cluster, names, "a", stages__event_logs__directory=tmp_path) as (made, _):
        made.sources._sleep = sleep  # pyright: ignore[reportPrivateUsage]
        running = asyncio.create_task(made.sources.run())
        await asyncio.wait_for(again.wait(), 20)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert sum("trying again" in each.message for each in caplog.records) == 3


async def test_stages_that_cannot_be_taken_hold_up_no_other_application(
    cluster: TokenCluster,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    async with world(cluster, names, "a", "b", stages__event_logs__directory=tmp_path) as (made, _):
        for app in ("a", "b"):
            write(tmp_path, app, job_start(0, logged_stage(0, 3), logged_stage(1, 1, 0)), task(0, 0, 50))
        apply = StageStore.apply

        def fail(store: StageStore, key: GangKey, events: Any) -> None:
            apply(store, key, [*events, JobStarted(1, None)] if key == KEY else events)  # pyright: ignore

        monkeypatch.setattr(StageStore, "apply", fail)
        await made.sources.read_logs()
        assert (made.stages(), made.stages(OTHER)) == ({}, {0: 1, 1: 0})
        assert "the stages of ns/a could not be taken" in caplog.text


async def test_passwords_are_not_told(cluster: TokenCluster, names: list[str]):
    url = "nosuch://user:secret@host/logs/"
    async with world(cluster, names, "a", stages__event_logs__directory=url) as (made, _):
        await made.sources.read_logs()
        (problem,) = made.sources.health.problems.values()
        assert "nosuch://***@host/logs" in problem
        assert "secret" not in problem
        assert "secret" not in str(load(None, {"stages.event_logs.directory": url}).redacted())


async def test_without_settings_nothing_runs(cluster: TokenCluster, names: list[str]):
    async with listening(cluster, names) as (service, client, _):
        assert not service.sources.enabled
        assert (await client.get("/healthz"))[1]["stage_sources"] is None


async def test_only_so_many_applications_are_watched(
    cluster: TokenCluster, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("extender.runtime.stage_polling._MOST_APPLICATIONS", 1)
    async with world(cluster, names, "a", "b", stages__event_logs__directory=tmp_path) as (made, _):
        write(tmp_path, "a", *logged_job(0, [10]))
        write(tmp_path, "b", *logged_job(0, [10]))
        await made.sources.read_logs()
        assert made.sources.health.followed == made.sources.health.left_out == 1


def leaderless(app: str) -> Object:
    """An executor of a driver outside the cluster."""
    return spark_pod(app, "executor", f"{app}-exec-1", nodeName="n0")


async def test_an_application_in_client_mode_has_no_driver_to_follow(
    cluster: TokenCluster, names: list[str], tmp_path: Path
):
    async with world(cluster, names, stages__event_logs__directory=tmp_path) as (made, _):
        seen = delivered(made.service, "c-exec-1")
        cluster.put("pods", leaderless("c"))
        await asyncio.wait_for(seen.wait(), 20)
        write(tmp_path, "c", *logged_job(0, [10]))
        await made.sources.read_logs()
        assert made.sources.health.followed == 0
