"""docs/architecture.md names functions that exist, and a real run passes through them in that order."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from carbon_api import times
from extender.core.wakes import WAKE
from tests.carbon.serving import serving
from tests.carbon_api.support import HOUR_S, START_S, Hand, replay_app
from tests.cluster.apiserver import node
from tests.service.cluster import Cluster, delivered, driver, driver_config_map, executor, ready

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
STEP = re.compile(r"^\d+\. `([\w/.]+\.py)::([\w.]+)`", re.MULTILINE)
PATHS = re.compile(r"`((?:extender|carbon_api|manifests|tests)/[\w/.-]+?)(?:::([\w.]+))?`")
NIGHT_S = START_S + 40 * 24 * HOUR_S + 2 * HOUR_S
"""The dirtiest hour of the invented grid; twelve hours later it is cleanest."""
NAMES = ["n0", "n1"]

Call = tuple[str, str]


def section(heading: str) -> str:
    match = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, f"the page has no section {heading!r}"
    return match[1]


def steps_of(heading: str) -> list[Call]:
    return [(path, name) for path, name in STEP.findall(section(heading))]


def functions_of(path: Path) -> set[str]:
    """Qualified names of all functions and classes of a module."""
    found: set[str] = set()

    def visit(node: ast.AST, above: str) -> None:
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(above + each.name)
                visit(each, f"{above}{each.name}.")

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


@pytest.mark.parametrize("named", sorted({(path, name) for path, name in PATHS.findall(PAGE)}))
def test_every_file_and_function_exists(named: Call):
    path, name = named
    assert (ROOT / path).exists(), path
    if name:
        assert name in functions_of(ROOT / path), f"{path} has no {name}"


def test_every_step_is_numbered_and_names_a_function():
    for heading in ("The watch delivers the pod", "POST /filter", "POST /bind", "The executors"):
        numbered = re.findall(r"^(\d+)\. ", section(heading), re.MULTILINE)
        assert numbered == [str(number) for number in range(1, len(numbered) + 1)]
        assert len(steps_of(heading)) == len(numbered) >= 4
    assert len(steps_of("One carbon update")) >= 10


@contextmanager
def calls_of_this_thread() -> Iterator[list[Call]]:
    """Every function of the two packages that is called meanwhile, in order."""
    calls: list[Call] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(ROOT):
                calls.append((str(path.relative_to(ROOT)), frame.f_code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def assert_passes_through(heading: str, calls: list[Call]) -> None:
    """Every step of the section was called, each after the one before."""
    left = iter(calls)
    for number, step in enumerate(steps_of(heading), 1):
        assert step in left, (
            f"{heading}, step {number}: {'::'.join(step)} was not called after the one before"
        )


def held_driver() -> dict[str, Any]:
    made = driver("a")
    made["metadata"]["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made["metadata"]["annotations"] = {
        "carbon-scheduler/max-delay": "1h",
        "carbon-scheduler/carbon-policy": "threshold",
    }
    return made


async def test_a_real_run_takes_the_named_steps_in_the_named_order(tmp_path: Path):
    hand, leader, worker = Hand(), held_driver(), executor("a", 1)
    carbon = replay_app(tmp_path, hand, times.iso(NIGHT_S), replay={"speed": 3600.0})
    async with Cluster() as cluster, serving(carbon) as url:
        for name in NAMES:
            made = node(name)
            made["metadata"].setdefault("labels", {})["carbon-scheduler/carbon-zone"] = "XX"
            cluster.put("nodes", made)
        cluster.put("configmaps", driver_config_map("a", executors=1))
        options = {"carbon__url": url, "carbon__poll_s": "3600", "kubernetes__name_nodes": "false"}
        async with ready(cluster, **options) as (service, client):
            assert service.carbon is not None
            await service.carbon.asked.wait()

            with calls_of_this_thread() as watched:
                there = delivered(service, "a-driver")
                cluster.put("pods", leader)
                await there.wait()
            refused = await client.filter(leader, NAMES)
            assert "held-for-carbon" in refused.reason

            with calls_of_this_thread() as updated:
                hand.at_s += 12
                service.carbon.wake()
                await cluster.until(
                    lambda: WAKE in cluster.pod("a-driver")["metadata"].get("annotations", {})
                )
            with calls_of_this_thread() as filtered:
                (place,) = (await client.filter(leader, NAMES)).names or [""]
            with calls_of_this_thread() as bound:
                assert await client.bind(leader, place) == ""

            with calls_of_this_thread() as placed:
                there = delivered(service, "a-exec-1")
                cluster.put("pods", worker)
                await there.wait()
                (place,) = (await client.filter(worker, NAMES)).names or [""]
                assert await client.bind(worker, place) == ""

    assert_passes_through("The watch delivers the pod", watched)
    assert_passes_through("One carbon update", updated)
    assert_passes_through("POST /filter", filtered)
    assert_passes_through("POST /bind", bound)
    assert_passes_through("The executors", placed)


def test_a_step_out_of_order_is_noticed():
    steps = steps_of("POST /filter")
    assert_passes_through("POST /filter", steps)
    with pytest.raises(AssertionError, match="was not called after"):
        assert_passes_through("POST /filter", steps[::-1])
