"""Real Spark without an agent: its stages are known from outside, under the rights of the manifests."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import Extender
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.spark import APPS, Submission, submit
from tests.e2e.harness.sparks import SPARK_3, SPARK_4
from tests.e2e.harness.waiting import wait_for

TASKS = 14
QUERY = f"""
    select id % 3, count(*) from range(0, {TASKS}, 1, {TASKS})
    where reflect('java.lang.Thread', 'sleep', 1000L + id) is not null group by 1
"""


def stages(extender: Extender, application: Submission) -> list[dict[str, Any]]:
    """What the extender's API says of an application's stages."""
    driver = application.await_driver()
    app_id = driver["metadata"]["labels"]["spark-app-selector"]
    return extender.get(f"/v1/applications/{application.namespace}/{app_id}")["stages"]


def slow_stage(extender: Extender, application: Submission) -> list[dict[str, Any]]:
    """The first stage, while it is not complete."""
    known = stages(extender, application)
    first = [each for each in known if each["tasks"] == TASKS and not each["parents"]]
    return [each for each in first if each["state"] in ("waiting", "running")]


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def connect_client(port: int, log: Path) -> Process:
    """A Spark Connect client that sends `QUERY`. Arrow wants to see the JVM's own buffers."""
    jars = SPARK_4.home / "jars"
    opened = "--add-opens=java.base/java.nio=ALL-UNNAMED"
    classes = f"{jars / 'connect-repl'}/*:{jars}/*"
    remote = f"sc://127.0.0.1:{port}"
    command = ["java", opened, "--class-path", classes, APPS / "ConnectClient.java", remote, QUERY]
    return Process("connect client", command, log)


def test_a_log_is_followed_and_read_again_after_a_crash(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """Spark 4: a rolling log of zstd frames. The extender is killed while the job runs."""
    real_nodes(3, cpu="2", memory="4Gi")
    watching = observer()
    logs = tmp_path / "logs"
    logs.mkdir()
    extender = start_pair(
        stages__event_logs__directory=str(logs), stages__event_logs__interval_s="1"
    ).extender
    application = submit(
        installed,
        SPARK_4,
        "logged",
        namespace=namespace,
        args=[tmp_path / "result.json", "500", str(TASKS), "1.5"],
        scheduler="carbon-scheduler",
        conf={"spark.eventLog.enabled": "true", "spark.eventLog.dir": logs.as_uri()},
    )
    (slow,) = wait_for(
        lambda: slow_stage(extender, application), "the stage is known", 120, extender.log_text
    )
    children = [each for each in stages(extender, application) if slow["key"] in each["parents"]]
    assert children
    extender.kill()
    extender.start()
    (again,) = wait_for(lambda: slow_stage(extender, application), "it is known again", 30, extender.log_text)
    assert again["key"] == slow["key"]
    assert [each for each in stages(extender, application) if slow["key"] in each["parents"]] == children
    health = extender.get("/healthz")["stage_sources"]
    assert (health["followed"], health["problems"]) == (1, {})
    assert application.wait(180) == 0
    assert json.loads((tmp_path / "result.json").read_text())["counts"]
    wait_for(lambda: extender.get("/healthz")["stage_sources"]["followed"] == 0, "following ended", 30)
    watching.assert_kept()


@pytest.mark.full
def test_a_driver_is_asked_for_its_backlog(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """Spark 3.5: its REST API at the address of its pod, which the extender reads itself."""
    real_nodes(3, cpu="2", memory="4Gi")
    watching = observer()
    extender = start_pair(stages__driver_rest__enabled="true", stages__driver_rest__interval_s="1").extender
    application = submit(
        installed,
        SPARK_3,
        "asked",
        namespace=namespace,
        args=[tmp_path / "result.json", "500", str(TASKS), "1.5"],
        scheduler="carbon-scheduler",
        conf={"spark.ui.enabled": "true"},
    )

    def half() -> list[dict[str, Any]]:
        return [each for each in slow_stage(extender, application) if 0 < each["finished"] < TASKS]

    (slow,) = wait_for(half, "some of its tasks have ended", 120, extender.log_text)
    assert slow["task_s"] >= 1.5
    assert slow["remaining_s"] >= 1.5 * (TASKS - slow["finished"])
    assert extender.get("/healthz")["stage_sources"]["answering"] == 1
    assert application.wait(180) == 0
    watching.assert_kept()


@pytest.mark.full
def test_queries_of_a_connect_client_are_stages_of_the_server(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """Spark 4: the driver in the cluster is a Connect server (Spark starts it as a plugin there)."""
    real_nodes(3, cpu="2", memory="4Gi")
    watching = observer()
    logs = tmp_path / "logs"
    logs.mkdir()
    extender = start_pair(
        stages__event_logs__directory=str(logs),
        stages__event_logs__interval_s="1",
        stages__driver_rest__enabled="true",
        stages__driver_rest__interval_s="1",
    ).extender
    port, pipe = free_port(), tmp_path / "end"
    os.mkfifo(pipe)
    server = submit(
        installed,
        SPARK_4,
        "connect",
        namespace=namespace,
        app=APPS / "until.py",
        args=[pipe],
        scheduler="carbon-scheduler",
        conf={
            "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
            "spark.connect.grpc.binding.address": "127.0.0.1",
            "spark.connect.grpc.binding.port": str(port),
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": logs.as_uri(),
            "spark.ui.enabled": "true",
        },
    )
    wait_for(lambda: listens(port), "the server listens", 120, server.log)
    client = connect_client(port, tmp_path / "client.log")
    (slow,) = wait_for(lambda: slow_stage(extender, server), "the query is known", 120, client.log_tail)
    assert client.wait(120) == 0, client.log_tail()
    assert sorted(line for line in client.log.read_text().splitlines() if line.startswith("row ")) == [
        "row 0 5",
        "row 1 5",
        "row 2 4",
    ]

    def children() -> list[dict[str, Any]]:
        return [each for each in stages(extender, server) if slow["key"] in each["parents"]]

    wait_for(children, "adaptive execution has told the rest of the query", 30)
    os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))  # an error if the server does not read any more
    assert server.wait(60) == 0
    watching.assert_kept()
