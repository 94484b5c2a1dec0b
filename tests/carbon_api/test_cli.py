"""The command: what it refuses, and a service that really listens."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from carbon_api.cli import app
from extender.cli import app as whole
from tests.carbon_api.support import daily, write_trace


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["serve", "--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["serve", "--replay-start", "soon"], "ISO 8601"),
        (["serve", "--replay-speed", "-1"], "replay.speed"),
        (["serve", "--listen-port", "99999"], "listen_port"),
        (["serve", "--log-level", "loud"], "must be debug"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], message: str):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_it_is_part_of_the_whole_command():
    result = CliRunner().invoke(whole, ["carbon-api", "serve", "--log-level", "loud"])
    assert result.exit_code == 2
    assert "must be debug" in result.output
    help_text = CliRunner().invoke(whole, ["carbon-api", "--help"]).output
    assert "backtest" in help_text
    assert "serve" in help_text


async def test_a_service_that_listens_and_ends_on_a_signal(tmp_path: Path):
    write_trace(tmp_path / "trace.csv", daily(48))
    (tmp_path / "carbon.yaml").write_text("zones: {XX: {source: replay, files: [trace.csv]}}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "extender.cli", "carbon-api", "serve",
        "--config", str(tmp_path / "carbon.yaml"), "--listen-port", "0",
        "--replay-start", "2026-03-02T05:00:00Z",
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    line = b""
    while b"listening on" not in line:
        line = await asyncio.wait_for(process.stderr.readline(), 60)
        assert line, "the service ended before it listened"
    async with aiohttp.ClientSession(f"http://127.0.0.1:{int(line.split()[-1])}") as session:
        async with session.get("/v1/now", params={"zone": "XX"}) as reply:
            found = await reply.json()
        assert found["at"].startswith("2026-03-02T05:00")
        assert found["reading"]["g_per_kwh"] == daily(6)[5]
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM)
