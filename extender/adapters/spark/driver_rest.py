"""Stages from a driver's REST API: tasks done and tasks open, without parents.

Spark's `/api/v1` has no field for a stage's parents in any version up to 4.3, so only stages that have
tasks are reported: for the others nothing says whether they could run. That is the task backlog, for
applications that report no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from extender.adapters.spark.identify import SPARK_APP_SELECTOR_LABEL, SPARK_ROLE_LABEL
from extender.core.stages import events as core

T = TypeVar("T")

MOST_BYTES: Final = 2 << 20
"""Of all answers in one poll."""

POLL_S: Final = 10.0
"""For all answers in one poll."""

_MOST_STAGES: Final = 500
_MOST_ENDED: Final = 20
_MOST_JOBS: Final = 500
_MOST_STAGES_OF_A_JOB: Final = 1_000
_LONGEST_NAME: Final = 200
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fGMT"


class DriverSilent(Exception):
    """A driver that did not answer as Spark does; the text says what it did."""


class _Stage(msgspec.Struct, frozen=True, rename="camel"):
    """Spark's `StageData`, as far as it is used."""

    status: str
    stage_id: int
    attempt_id: int
    num_tasks: int
    num_complete_tasks: int = 0
    executor_run_time: int = 0
    executor_deserialize_time: int = 0
    name: str = ""
    rdd_ids: tuple[int, ...] = ()
    resource_profile_id: int = 0
    submission_time: str | None = None
    completion_time: str | None = None
    failure_reason: str | None = None

    @property
    def run(self) -> tuple[int, int]:
        return self.stage_id, self.attempt_id

    def info(self) -> core.StageInfo:
        return core.StageInfo(
            stage_id=self.stage_id,
            rdd_id=max(self.rdd_ids, default=-1 - self.stage_id),
            tasks=self.num_tasks,
            attempt=self.attempt_id,
            name=self.name[:_LONGEST_NAME],
            resource_profile=max(0, self.resource_profile_id),
        )

    def progress(self) -> core.TasksEnded:
        """Spark adds up the time of running tasks too, so the mean is above the truth while they are many."""
        task_ms = self.executor_run_time + self.executor_deserialize_time
        return core.TasksEnded(*self.run, self.num_complete_tasks, task_ms)

    def makes_sense(self) -> bool:
        """Whether no number is negative that cannot be, and none beyond what Spark can count."""
        try:
            return bool(self.info() and self.progress())
        except ValueError:
            return False


class _Job(msgspec.Struct, frozen=True, rename="camel"):
    """Spark's `JobData`, as far as it is used."""

    job_id: int
    status: str
    stage_ids: tuple[int, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        return self.stage_ids[:_MOST_STAGES_OF_A_JOB]

    def makes_sense(self) -> bool:
        """Whether it has a number that Spark could give it."""
        try:
            return bool(core.JobStarted(self.job_id, ()))
        except ValueError:
            return False


_STAGES: Final = msgspec.json.Decoder(list[_Stage])
_STAGE: Final = msgspec.json.Decoder(_Stage)
_JOBS: Final = msgspec.json.Decoder(list[_Job])


class DriverRest:
    """One application, asked again and again at the address of its driver (an IP address).

    `problem` says why the last poll did not get all it asked for; empty if it did. A poll takes at most
    `poll_s` seconds, whatever the driver does; what it told until then counts.
    """

    def __init__(
        self, session: aiohttp.ClientSession, host: str, port: int, app_id: str, *, poll_s: float = POLL_S
    ) -> None:
        where = f"[{host}]" if ":" in host else host
        self._poll_s = poll_s
        self._left_bytes = MOST_BYTES
        self.problem = ""
        self._session = session
        self._base = f"http://{where}:{port}/api/v1/applications/{quote(app_id, safe='')}"
        self._active: dict[tuple[int, int], _Stage] = {}
        self._told: dict[tuple[int, int], core.TasksEnded] = {}
        self._failed: dict[int, _Stage] = {}

    async def poll(self) -> list[core.StageEvent]:
        """Changes since the last call. Never raises."""
        told: list[core.StageEvent] = []
        self._left_bytes = MOST_BYTES
        try:
            async with asyncio.timeout(self._poll_s):
                await self._ask(told)
            self.problem = ""
        except DriverSilent as problem:
            self.problem = str(problem)
        except TimeoutError:
            self.problem = f"did not answer all within {self._poll_s:g} s"
        return told

    async def _ask(self, told: list[core.StageEvent]) -> None:
        stages = await self._get("/stages", _STAGES, status="active")
        active = [each for each in stages[:_MOST_STAGES] if each.status == "ACTIVE" and each.makes_sense()]
        for stage in active:
            self._see(stage, told)
        await self._end_others({stage.run for stage in active}, told)
        await self._close({stage.stage_id for stage in active}, told)

    def _see(self, stage: _Stage, told: list[core.StageEvent]) -> None:
        if stage.run not in self._active:
            told.append(core.StageSubmitted(stage.info(), _milliseconds(stage.submission_time)))
        self._active[stage.run] = stage
        progress = stage.progress()
        if self._told.get(stage.run) != progress:
            self._told[stage.run] = progress
            told.append(progress)

    async def _end_others(self, active: set[tuple[int, int]], told: list[core.StageEvent]) -> None:
        """Results of attempts that are not active any more; a few a poll, the oldest first."""
        gone = [run for run in self._active if run not in active]
        for run in gone[:_MOST_ENDED]:
            known = self._active[run]
            stage = await self._get(f"/stages/{run[0]}/{run[1]}", _STAGE, absent=known, details="false")
            self._end(stage if stage.run == run and stage.makes_sense() else known, told)
        for run in gone[_MOST_ENDED:-_MOST_STAGES]:
            self._end(self._active[run], told)

    def _end(self, stage: _Stage, told: list[core.StageEvent]) -> None:
        """An attempt that Spark has forgotten counts as complete."""
        self._see(stage, told)
        del self._active[stage.run], self._told[stage.run]
        failed = stage.status == "FAILED"
        failure = (stage.failure_reason or "failed")[:_LONGEST_NAME] if failed else ""
        told.append(core.StageCompleted(stage.info(), _milliseconds(stage.completion_time), failure))
        if failed and len(self._failed) < _MOST_STAGES:
            self._failed[stage.stage_id] = stage

    async def _close(self, active: set[int], told: list[core.StageEvent]) -> None:
        """Spark tries a failed stage again, unless its job ended: then no job wants it any more."""
        self._failed = {number: stage for number, stage in self._failed.items() if number not in active}
        if not self._failed:
            return
        jobs = [job for job in (await self._get("/jobs", _JOBS))[:_MOST_JOBS] if job.makes_sense()]
        wanted = {number for job in jobs if job.status == "RUNNING" for number in job.numbers}
        known = {stage.stage_id: stage for stage in self._active.values()} | self._failed
        closed = 0
        for job in jobs:
            lost = {number for number in job.numbers if number in self._failed and number not in wanted}
            if not lost or closed == _MOST_ENDED:
                continue
            closed += 1
            stages = tuple(known[number].info() for number in dict.fromkeys(job.numbers) if number in known)
            told += [core.JobStarted(job.job_id, stages), core.JobEnded(job.job_id, succeeded=False)]
            for number in lost:
                del self._failed[number]

    async def _get(
        self, path: str, decoder: msgspec.json.Decoder[T], *, absent: T | None = None, **query: str
    ) -> T:
        try:
            async with self._session.get(
                self._base + path,
                params=query,
                allow_redirects=False,
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            ) as answer:
                if answer.status == 404 and absent is not None:
                    return absent
                if answer.status != 200:
                    raise DriverSilent(f"{path} was answered {answer.status}")
                body = await self._read(answer)
            return decoder.decode(body)
        except TimeoutError:
            raise DriverSilent("no answer in time") from None
        except (aiohttp.ClientError, OSError) as problem:
            raise DriverSilent(f"cannot be asked: {problem}"[:_LONGEST_NAME]) from None
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            raise DriverSilent(f"{path} is not as Spark writes it: {problem}"[:_LONGEST_NAME]) from None

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        async for chunk in answer.content.iter_any():
            self._left_bytes -= len(chunk)
            if self._left_bytes < 0:
                raise DriverSilent(f"answers of more than {MOST_BYTES} bytes at once")
            chunks.append(chunk)
        return b"".join(chunks)


def _milliseconds(text: str | None) -> int:
    """Spark's `2026-11-22T01:30:45.411GMT` as milliseconds since 1970; 0 if it says nothing."""
    if not text:
        return 0
    try:
        return max(0, round(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp() * 1000))
    except ValueError:
        return 0


def session(timeout_s: float) -> aiohttp.ClientSession:
    """For all drivers: no proxies, no cookies, no connection kept, at most this long for an answer."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=timeout_s / 2),
        connector=aiohttp.TCPConnector(force_close=True, limit=32),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # we ask for plain text; what is packed all the same could be a bomb
        trust_env=False,
    )


class DriverPod(msgspec.Struct, frozen=True):
    """IP address of a driver (empty: none yet), and Spark's own id of its application."""

    host: str
    app_id: str


class _Metadata(msgspec.Struct, frozen=True):
    uid: str = ""
    labels: Mapping[str, str] | None = None


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    pod_ip: str = msgspec.field(name="podIP", default="")


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    status: _Status = _Status()


_POD: Final = msgspec.json.Decoder(_Pod)


def driver_pod(body: bytes, uid: str) -> DriverPod | None:
    """Read from a pod as the API server sends it; None if it is no Spark driver, or another pod by now."""
    try:
        pod = _POD.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    labels = pod.metadata.labels or {}
    app_id = labels.get(SPARK_APP_SELECTOR_LABEL)
    if pod.metadata.uid != uid or labels.get(SPARK_ROLE_LABEL) != "driver" or not app_id:
        return None
    return DriverPod(_address(pod.status.pod_ip), app_id)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
