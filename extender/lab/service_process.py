"""The service as users run it: `carbon-scheduler serve` in a process of its own, with a kubeconfig."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import yaml

_LISTENING = re.compile(r"listening on (\S+?)(?::| port )(\d+)")
_READY: Final = ": ready: "
_LINES_KEPT: Final = 50
_GRACE_S: Final = 5.0


class ServiceProcessFailed(Exception):
    """The service did not start or has ended; the text holds the end of its log."""


def kubeconfig(url: str) -> str:
    """A kubeconfig for an API server that asks for no credentials."""
    name = "simulation"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False)


class ServiceProcess:
    """One running service. Entering waits until it has synced; leaving ends it."""

    def __init__(
        self, api_server_url: str, directory: Path, *, flags: Sequence[str] = (), start_within_s: float = 30.0
    ) -> None:
        self.url = ""
        self.log: deque[str] = deque(maxlen=_LINES_KEPT)
        self._api_server_url = api_server_url
        self._directory = directory
        self._flags = flags
        self._start_within_s = start_within_s
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._synced = False
        self._ready = asyncio.Event()

    async def __aenter__(self) -> Self:
        # Options of the caller's own service (its TLS, its port) are not meant for this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CARBON_SCHEDULER_")}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "extender.cli", *self._arguments()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is ours to handle
        )
        self._reader = asyncio.create_task(self._read(self._process))
        try:
            async with asyncio.timeout(self._start_within_s):
                await self._ready.wait()
        except TimeoutError:
            await self._end()
            raise self._failure(f"the service was not ready within {self._start_within_s:.0f} s") from None
        if not self.running:
            await self._end()
            raise self._failure("the service did not start")
        return self

    def _arguments(self) -> list[str]:
        """Arguments of the command."""
        path = self._directory / "kubeconfig"
        path.write_text(kubeconfig(self._api_server_url), encoding="utf-8")
        listen = ("--http.address", "127.0.0.1", "--http.port", "0")
        return ["serve", "--kubernetes.kubeconfig", str(path), *listen, *self._flags]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.returncode is None

    def check(self) -> None:
        """Raises `ServiceProcessFailed` if the process has ended."""
        if not self.running:
            raise self._failure("the service has ended by itself")

    def _failure(self, what: str) -> ServiceProcessFailed:
        end = "\n".join(list(self.log)[-15:]) or "(nothing)"
        return ServiceProcessFailed(f"{what}. The end of its log:\n{end}")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            self.log.append(line)
            if found := _LISTENING.search(line):
                self.url = f"http://{found[1]}:{found[2]}"
            self._synced = self._synced or _READY in line
            if self.url and self._synced:
                self._ready.set()
        # The pipe is closed: the process has ended, and no caller should wait for it any longer.
        await process.wait()
        self._ready.set()

    async def _end(self) -> None:
        process, reader = self._process, self._reader
        if process is None or reader is None:
            return
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(_GRACE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await reader


class CarbonProcess(ServiceProcess):
    """The carbon service, with the settings in a file. Entering waits until it listens."""

    def __init__(self, config: Path, *, start_within_s: float = 15.0) -> None:
        super().__init__("", config.parent, start_within_s=start_within_s)
        self._config = config
        self._synced = True  # synthetic grids are known from the start

    def _arguments(self) -> list[str]:
        return ["carbon-api", "serve", "--config", str(self._config)]


class ServiceApi:
    """The service's REST API and metrics, as people and Prometheus read them."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self.url = self._url = url
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str) -> Any:
        """A JSON document. Raises `aiohttp.ClientError` or `TimeoutError`."""
        async with self._session.get(self._url + path) as response:
            response.raise_for_status()
            return await response.json()

    async def outcomes(self) -> dict[str, int]:
        """How many filter calls ended in which outcome, from /metrics."""
        from prometheus_client.parser import text_string_to_metric_families

        async with self._session.get(self._url + "/metrics") as response:
            response.raise_for_status()
            text = await response.text()
        return {
            sample.labels["outcome"]: int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "carbon_scheduler_requests_total" and sample.labels["verb"] == "filter"
        }
