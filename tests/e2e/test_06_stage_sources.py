"""Agent, event log and REST API of the same real driver, read while it runs: they agree on what they tell."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import extender.adapters.spark.agent
from extender.adapters.spark.agent.wire import Batch, decode_batch
from extender.adapters.spark.driver_rest import DriverRest, session
from extender.adapters.spark.eventlog.follow import LogDirectory, LogFollower
from extender.adapters.spark.stage_events import stage_events
from extender.core.stages import events as core
from extender.core.stages.graph import StageGraph

VENVS = Path(__file__).resolve().parent / ".venvs"
AGENT = Path(extender.adapters.spark.agent.__file__).parent / "sitecustomize.py"
# Two slow shuffles that are joined, then the same again, whose shuffles are reused.
JOB = """
import time
from pyspark import SparkContext
context = SparkContext("local[2]", "sources")
print("APPLICATION", context.applicationId, flush=True)
def slow(n):
    time.sleep(0.1)
    return n % 5, n
def wait(row):
    time.sleep(0.3)
    return row
left = context.parallelize(range(12), 4).map(slow).groupByKey(3)
right = context.parallelize(range(6), 3).map(slow).groupByKey(3)
joined = left.join(right, 3).map(wait)
print("RESULT", joined.count(), joined.count(), flush=True)
input()
context.stop()
"""
# A driver without Python. It waits on a statement that is not ended until we end it.
SQL = """
SELECT k, count(slept) FROM (
  SELECT id % 3 AS k, java_method('java.lang.Thread', 'sleep', 150L) AS slept FROM range(0, 12, 1, 4)
) GROUP BY k;
SELECT 'RES' || 'ULT';
"""
PATIENCE_S = 400.0

pytestmark = pytest.mark.timeout(1200)


@dataclass
class Running:
    """A driver, and what each source has told of it."""

    process: asyncio.subprocess.Process
    logs: Path
    port: int
    app_id: str = ""
    done: bool = False
    batches: dict[int, Batch] = field(default_factory=dict[int, Batch])
    told: dict[str, list[core.StageEvent]] = field(default_factory=lambda: {"log": [], "rest": []})
    url: str = ""

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            words = line.decode().split()
            if words[:1] == ["APPLICATION"]:
                self.app_id = words[1]
            self.done = self.done or words[:1] == ["RESULT"]

    async def follow(self, until: Callable[[], bool]) -> None:
        """Read the log and ask the driver again and again until something holds."""
        follower: LogFollower | None = None
        rest: DriverRest | None = None
        async with session(5.0) as http, asyncio.timeout(PATIENCE_S):
            while not until():
                await asyncio.sleep(0.1)
                if not self.app_id:
                    self.app_id = next((_app_id(each.name) for each in self.logs.iterdir()), "")
                    continue
                if follower is None:
                    for url in LogDirectory(str(self.logs)).find({self.app_id}).values():
                        follower, self.url = LogFollower(url), url
                if follower is not None:
                    self.told["log"] += follower.step()
                    assert follower.problem == ""
                rest = rest or DriverRest(http, "127.0.0.1", self.port, self.app_id)
                self.told["rest"] += await rest.poll()

    def graph(self, source: str) -> StageGraph:
        graph = StageGraph()
        graph.apply(self.agents() if source == "agent" else self.told[source])
        return graph

    def agents(self) -> list[core.StageEvent]:
        return stage_events(event for batch in self.batches.values() for event in batch.events)[0]


def _app_id(name: str) -> str:
    return name.removeprefix("eventlog_v2_").removesuffix(".inprogress").removesuffix(".zstd")


def counts(graph: StageGraph) -> dict[int, tuple[int, int, int, str]]:
    """By stage number: RDD, tasks, finished tasks and state of what ran."""
    return {
        run.stage_id: (key, stand.tasks, stand.finished, stand.state.value)
        for key, stand in graph.standings.items()
        for run in graph.stages[key].runs
        if run.stage_id == stand.stage_id
    }


def complete(graph: StageGraph, tasks: Sequence[int]) -> bool:
    """Whether stages with these numbers of tasks are complete."""
    ended = [each.finished for each in graph.standings.values() if each.state == "complete"]
    return sorted(ended) == sorted(tasks)


@asynccontextmanager
async def running(
    version: str, tmp_path: Path, conf: dict[str, str], start: Callable[[Path, list[str]], list[str]]
) -> AsyncIterator[Running]:
    """A driver with event log, UI and agent."""
    logs, site = tmp_path / "logs", tmp_path / "agent"
    logs.mkdir()
    site.mkdir()
    (site / AGENT.name).write_bytes(AGENT.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    spark = VENVS / f"spark-{version}"
    all_conf = {
        "ui.enabled": "true",
        "ui.port": str(port),
        "eventLog.enabled": "true",
        "eventLog.dir": logs.as_uri(),
        **conf,
    }
    flags = [word for key, value in all_conf.items() for word in ("--conf", f"spark.{key}={value}")]
    made: list[Running] = []

    async def take(request: web.Request) -> web.Response:
        batch = decode_batch(await request.read())
        made[0].batches[batch.batch] = batch
        return web.json_response({"interval_s": 0.2})

    application = web.Application()
    application.router.add_post("/{path:.*}", take)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(application))
        stderr = stack.enter_context((tmp_path / "stderr").open("wb"))
        process = await asyncio.create_subprocess_exec(
            *start(spark, flags),
            env={
                **{key: os.environ[key] for key in ("HOME", "JAVA_HOME") if key in os.environ},
                "PATH": f"{spark}/bin:{os.environ['PATH']}",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "PYTHONPATH": str(site),
                "PYSPARK_SUBMIT_ARGS": f"{' '.join(flags)} pyspark-shell",
                "CARBON_SCHEDULER_URL": f"http://127.0.0.1:{server.port}",
                "CARBON_SCHEDULER_NAMESPACE": "spark",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=tmp_path,
        )
        made.append(Running(process, logs, port))
        listening = asyncio.create_task(made[0].listen())
        try:
            yield made[0]
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await listening


@pytest.mark.parametrize(
    ("version", "conf", "name"),
    [
        ("3.5", {}, "{}.inprogress"),
        ("3.5", {"eventLog.compress": "true"}, "{}.zstd.inprogress"),
        pytest.param("3.5", {"eventLog.rolling.enabled": "true"}, "eventlog_v2_{}", marks=pytest.mark.full),
        ("4", {}, "eventlog_v2_{}"),
        pytest.param(
            "4",
            {"eventLog.rolling.enabled": "false", "eventLog.compress": "false"},
            "{}.inprogress",
            marks=pytest.mark.full,
        ),
    ],
    ids=["3.5", "3.5-zstd", "3.5-rolling", "4", "4-plain"],
)
async def test_agent_log_and_rest_agree_while_the_driver_runs(
    tmp_path: Path, version: str, conf: dict[str, str], name: str
) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)
    async with running(
        version, tmp_path, conf, lambda spark, _: [str(spark / "bin/python"), str(script)]
    ) as driver:
        tasks = [3, 3, 3, 4]
        await driver.follow(
            lambda: (
                driver.done
                and complete(driver.graph("log"), tasks)
                and complete(driver.graph("agent"), tasks)
                and len(counts(driver.graph("rest"))) == len(tasks)
                and not driver.graph("rest").live()
            )
        )
        assert driver.process.returncode is None, "all of it is known while the driver still runs"
        assert driver.url.endswith(name.format(driver.app_id))
        agent, log, rest = (driver.graph(source) for source in ("agent", "log", "rest"))
        assert counts(agent) == counts(log) == counts(rest)
        assert sorted(agent.graph.edges) == sorted(log.graph.edges)
        assert len(log.graph.edges) == 4  # both shuffles feed the last stage of each job
        assert list(rest.graph.edges) == []
        copies = {key: log.skipped_copies(key) for key in log.stages}
        assert sum(copies.values()) == 2  # both shuffles, listed again by the second job
        shares = {key: log.task_s[key] for key in log.stages}
        assert shares == pytest.approx({key: agent.task_s[key] for key in agent.stages}, rel=0.05)
        assert driver.process.stdin is not None
        driver.process.stdin.write(b"\n")
        await driver.process.stdin.drain()
        assert await asyncio.wait_for(driver.process.wait(), PATIENCE_S) == 0


@pytest.mark.parametrize("version", [pytest.param("3.5", marks=pytest.mark.full), "4"])
async def test_a_driver_without_python_is_known_by_log_and_rest(tmp_path: Path, version: str) -> None:
    def start(spark: Path, flags: list[str]) -> list[str]:
        (shell,) = spark.glob("lib/python3*/site-packages/pyspark/bin/spark-sql")
        master = ["--master", "local[2]", "--conf", "spark.sql.catalogImplementation=in-memory"]
        return [str(shell), *master, *flags]

    async with running(version, tmp_path, {}, start) as driver:
        assert driver.process.stdin is not None
        driver.process.stdin.write(SQL.encode())
        await driver.process.stdin.drain()
        await driver.follow(
            lambda: (
                driver.done
                and bool(driver.graph("log").stages)
                and not driver.graph("log").live()
                and not driver.graph("rest").live()
            )
        )
        log, rest = counts(driver.graph("log")), counts(driver.graph("rest"))
        slow = {stage_id: each for stage_id, each in log.items() if each[1] == 4}
        assert len(slow) == 1
        assert {stage_id: rest[stage_id] for stage_id in slow} == slow
        assert {stage_id: each[:2] for stage_id, each in rest.items()}.items() <= {
            stage_id: each[:2] for stage_id, each in log.items()
        }.items()
        assert driver.batches == {}
