"""`carbon-scheduler demo`, started as users start it: the service in a process of its own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from extender.lab import demo
from extender.lab.checks import Invariant
from extender.lab.demo import Script, run_demo
from extender.lab.service_process import ServiceProcess, ServiceProcessFailed, kubeconfig
from extender.lab.workload import Submission
from extender.lab.world import World
from tests.lab.demos import QUICK, console, output_of
from tests.lab.support import application


@pytest.mark.parametrize("terminal", [False, True])
def test_it_ends_by_itself_and_writes_what_it_saw(tmp_path: Path, terminal: bool) -> None:
    shown, written = console(force_terminal=terminal), tmp_path / "summary.json"
    assert run_demo(once=True, seed=4, output=written, script=QUICK, console=shown) == 0
    summary = json.loads(written.read_text())
    assert summary["seed"] == 4
    assert summary["complete"]
    assert summary["finished"] == summary["admitted"] == 10
    assert summary["refused"] == 2
    assert summary["outcomes"]["admitted"] == 10
    assert summary["outcomes"]["slot-taken"] > 0
    assert summary["invariants_broken"] == {each.value: [] for each in Invariant}
    assert summary["webhook_latency_ms"]["filter"]["calls"] == summary["decisions"] > 0
    text = output_of(shown)
    assert text.index("carbon-api serve") < text.index("carbon-scheduler serve") < text.index("driver on")
    assert "every invariant held" in text
    assert "admitted as a whole" in text
    assert ("\x1b[?1049h" in text) == terminal  # the alternate screen, left again at the end
    assert ("\x1b[?1049l" in text) == terminal


def test_a_broken_invariant_is_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service keeps no order although the checks expect it to: seen, told, and exit code 1."""
    process = demo.ServiceProcess

    def without_order(url: str, directory: Path, **options: object) -> ServiceProcess:
        return process(url, directory, flags=("--pools.fifo", "off"))

    monkeypatch.setattr(demo, "ServiceProcess", without_order)
    shown, written = console(), tmp_path / "summary.json"
    stream = [
        Submission(0.0, application("first", executors=30, cores=2, work_s=900.0)),
        Submission(5.0, application("large", executors=30, cores=2, work_s=60.0)),
        Submission(10.0, application("small", executors=1)),
    ]
    monkeypatch.setattr(demo, "applications", lambda *_: stream)
    crowded = Script(applications=3, gap_s=1.0, foreign_gap_s=1.0, speed=10.0, longest_s=40.0)
    assert run_demo(once=True, seed=4, output=written, script=crowded, console=shown) == 1
    assert json.loads(written.read_text())["invariants_broken"]["first-in-first-out"]
    assert "an invariant broke" in output_of(shown)


def test_a_service_that_does_not_start_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    process = demo.ServiceProcess

    def misled(url: str, directory: Path, **options: object) -> ServiceProcess:
        return process(url, directory, flags=("--pools.packer", "nonsense"))

    monkeypatch.setattr(demo, "ServiceProcess", misled)
    shown = console()
    assert run_demo(script=QUICK, console=shown) == 1
    assert "the service did not start" in output_of(shown)
    assert "nonsense" in output_of(shown)


async def test_a_service_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    """Nobody answers at the API server's address."""
    service = ServiceProcess("http://127.0.0.1:9", tmp_path, start_within_s=2.0)
    with pytest.raises(ServiceProcessFailed, match="was not ready within 2 s"):
        await service.__aenter__()
    assert not service.running


def test_a_summary_that_cannot_be_written_is_told_before_the_demo(tmp_path: Path) -> None:
    shown = console()
    assert run_demo(output=tmp_path / "absent" / "summary.json", script=QUICK, console=shown) == 1
    assert "there is no directory" in output_of(shown)
    assert "submitted" not in output_of(shown)


def test_a_summary_that_is_not_written_is_still_shown(tmp_path: Path) -> None:
    shown = console()
    tiny = Script(applications=1, gap_s=0.1, speed=20.0)
    assert run_demo(output=tmp_path, script=tiny, console=shown) == 1
    assert f"{tmp_path} cannot be written: Is a directory" in output_of(shown)
    assert "every invariant held" in output_of(shown)


def test_a_service_that_ends_on_the_way_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    submit = World.submit

    def submit_and_kill(world: World, *arguments: Any) -> Any:
        while started:
            started.pop().kill()
        return submit(world, *arguments)

    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def remember(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await start(*arguments, **options)
        started.append(process)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", remember)
    monkeypatch.setattr(World, "submit", submit_and_kill)
    shown = console()
    assert run_demo(script=QUICK, console=shown) == 1
    assert "the service has ended by itself" in output_of(shown)


def test_the_kubeconfig_names_the_api_server() -> None:
    assert "server: http://127.0.0.1:1234" in kubeconfig("http://127.0.0.1:1234")
