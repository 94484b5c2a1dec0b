"""The agent in real drivers: what is told is right, and nothing the extender does changes the job."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

import extender.adapters.spark.agent
from extender.adapters.spark.agent.wire import Batch, Reply, decode_batch, encode_reply
from extender.adapters.spark.eventlog.events import ApplicationEnd, JobEnd, JobStart, TaskEnd, TaskProgress
from extender.adapters.spark.eventlog.files import find_logs
from extender.adapters.spark.eventlog.reader import EventLog

VENVS = Path(__file__).resolve().parent / ".venvs"
AGENT = Path(extender.adapters.spark.agent.__file__).parent / "sitecustomize.py"
JOB = """
from pyspark import SparkContext
context = SparkContext("local[2]", "agent test")
pairs = context.parallelize(range(100), 4).map(lambda n: (n % 5, n))
left, right = pairs.reduceByKey(lambda a, b: a + b, 3), pairs.groupByKey(3).mapValues(len)
print("RESULT", sorted(left.join(right, 3).collect()))
context.stop()
"""
# Two branches of slow tasks on one slot: left alone, Spark ends the branch with the smaller stage id first.
BRANCHES = """
import time
from pyspark import SparkContext
context = SparkContext("local[1]", "branches")
def slow(n):
    time.sleep(0.2)
    return n % 5, n
left, right = (context.parallelize(range(10), 10).map(slow).groupByKey(1) for _ in range(2))
joined = left.join(right, 1).collect()
print("BRANCHES", len(joined))
context.stop()
"""
RESULT = f"RESULT {[(k, (sum(range(k, 100, 5)), 20)) for k in range(5)]}"

pytestmark = pytest.mark.timeout(180)


one_quickly = pytest.mark.parametrize(
    "python", [pytest.param("3.5", marks=pytest.mark.full), "4"], indirect=True
)


@pytest.fixture(params=["3.5", "4"])
def python(request: pytest.FixtureRequest) -> Path:
    return VENVS / f"spark-{request.param}" / "bin" / "python"


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs the job with the agent on PYTHONPATH; answers what it printed."""
    site, logs = tmp_path / "agent", tmp_path / "logs"
    site.mkdir()
    logs.mkdir()
    (site / AGENT.name).write_bytes(AGENT.read_bytes())
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "branches.py").write_text(BRANCHES)
    conf = {"ui.enabled": "false", "eventLog.enabled": "true", "eventLog.dir": logs.as_uri()}
    arguments = " ".join(f"--conf spark.{key}={value}" for key, value in conf.items())

    def run(url: str, job: str = "job.py", **environ: str) -> str:
        done = subprocess.run(
            [python, tmp_path / job],
            env={
                **{key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME") if key in os.environ},
                "PYTHONPATH": str(site),
                "PYSPARK_SUBMIT_ARGS": f"{arguments} pyspark-shell",
                "CARBON_SCHEDULER_AGENT_DEBUG": "1",
                "CARBON_SCHEDULER_URL": url,
                "CARBON_SCHEDULER_NAMESPACE": "spark",
                **environ,
            },
            capture_output=True,
            text=True,
            timeout=150,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (RESULT if job == "job.py" else "BRANCHES 5") in done.stdout
        return done.stderr

    return run


class Extender:
    """A small HTTP server; `answer(handler)` may do as it likes."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.tokens: set[str | None] = set()
        self.paths: set[str] = set()

    @contextmanager
    def serve(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.batches.append(decode_batch(body))
                outer.tokens.add(self.headers["Authorization"])
                outer.paths.add(self.path)
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = b'{"interval_s": 0.2}') -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def graph(events: Sequence[object]) -> set[tuple[int, int, tuple[int, ...], int]]:
    stages = [stage for event in events if isinstance(event, JobStart) for stage in event.stages]
    return {(stage.stage_id, stage.key, stage.parent_ids, stage.tasks) for stage in stages}


def test_agent_and_event_log_tell_the_same_of_a_real_job(run: Callable[..., str], tmp_path: Path) -> None:
    extender = Extender()
    token = tmp_path / "token"
    token.write_text("secret\n")
    with extender.serve(reply) as url:
        run(url, CARBON_SCHEDULER_TOKEN_FILE=str(token))
    (path,) = find_logs(str(tmp_path / "logs"))
    log = EventLog(path)
    logged = list(log.read())
    told = list({batch.batch: batch for batch in extender.batches}.values())
    events = [event for batch in told for event in batch.events]

    assert extender.tokens == {"Bearer secret"}
    assert all(path.startswith("/v1/applications/spark/local-") for path in extender.paths)
    assert told[-1].dropped == 0
    assert isinstance(events[-1], ApplicationEnd)
    assert sum(isinstance(event, JobEnd) for event in events) == 1
    tasks = sum(isinstance(event, TaskEnd) and event.succeeded for event in logged)
    assert sum(event.succeeded for event in events if isinstance(event, TaskProgress)) == tasks == 4 + 4 + 3
    assert graph(logged) == graph(events)
    assert log.counts.garbage == log.counts.broken_files == 0


def test_an_extender_that_is_wrong_slow_or_gone_changes_nothing(run: Callable[..., str]) -> None:
    answers = iter(range(1000))
    never = Event()

    def misbehave(handler: BaseHTTPRequestHandler) -> None:
        match next(answers) % 5:
            case 0:
                reply(handler, body=b'{"interval_s": 0.2, "priorities": {"x": []}, "target_executors": -3}')
            case 1:
                reply(handler, 500)
            case 2:
                reply(handler, body=b"\xff<html>")
            case 3:
                reply(handler, body=b'{"interval_s": NaN, "target_executors": 1e400}')
            case _:
                never.wait(20)  # longer than the agent's patience; released when the test ends

    extender = Extender()
    with extender.serve(misbehave) as url:
        stderr = run(url)
        never.set()
    assert "attached to" in stderr
    assert extender.batches


@one_quickly
def test_an_extender_that_is_down_changes_nothing(run: Callable[..., str]) -> None:
    assert "extender not reached" in run("http://127.0.0.1:9")


@one_quickly
def test_switched_off_it_is_not_even_installed(run: Callable[..., str]) -> None:
    assert "carbon-scheduler agent" not in run("http://127.0.0.1:9", CARBON_SCHEDULER_AGENT="off")


@one_quickly
def test_the_images_own_sitecustomize_still_runs(run: Callable[..., str], tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys; print('THEIRS', file=sys.stderr)")
    agent = tmp_path / "agent"
    assert "THEIRS" in run("", PYTHONPATH=f"{agent}:{other}")


def test_stage_order_follows_the_extenders_priorities(run: Callable[..., str], tmp_path: Path) -> None:
    extender = Extender()

    def prefer_the_later_branch(handler: BaseHTTPRequestHandler) -> None:
        jobs = [event for batch in extender.batches for event in batch.events if isinstance(event, JobStart)]
        branches = [stage.stage_id for job in jobs for stage in job.stages if not stage.parent_ids]
        preferred = {max(branches): -1} if branches else {}
        answer = Reply(
            interval_s=0.2, priorities=preferred, target_executors=3
        )  # local mode has none to give
        reply(handler, body=encode_reply(answer))

    with extender.serve(prefer_the_later_branch) as url:
        stderr = run(url, "branches.py")
    assert "steering given up" not in stderr
    (path,) = find_logs(str(tmp_path / "logs"))
    ends = {event.stage_id: event.finish_ms for event in EventLog(path).read() if isinstance(event, TaskEnd)}
    earlier, later = sorted(ends)[:2]
    assert ends[later] < ends[earlier]
