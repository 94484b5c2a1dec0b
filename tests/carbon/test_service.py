"""The whole service with the real carbon service beside it, and without it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from carbon_api import times
from extender.cli import app as command
from extender.core.wakes import WAKE
from extender.runtime.service import Service
from extender.runtime.supervisor import ServiceFailed
from extender.settings.loading import load
from tests.carbon.serving import serving
from tests.carbon_api.support import HOUR_S, START_S, Hand, replay_app
from tests.cluster.apiserver import node
from tests.service.cluster import Cluster, driver, driver_config_map, ready

NIGHT_S = START_S + 40 * 24 * HOUR_S + 2 * HOUR_S
"""The dirtiest hour of the invented grid; twelve hours later it is cleanest."""

NAMES = ["n0", "n1"]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with Cluster() as running:
        for name in NAMES:
            made = node(name)
            made["metadata"].setdefault("labels", {})["carbon-scheduler/carbon-zone"] = "XX"
            running.put("nodes", made)
        running.put("configmaps", driver_config_map("a", executors=1))
        yield running


def flexible(app: str = "a", **annotations: str) -> dict[str, Any]:
    made = driver(app)
    made["metadata"]["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made["metadata"]["annotations"] = {
        "carbon-scheduler/max-delay": "1h",
        "carbon-scheduler/carbon-policy": "threshold",
        **annotations,
    }
    return made


def woken(cluster: Cluster) -> bool:
    return WAKE in cluster.pod("a-driver")["metadata"].get("annotations", {})


def night(path: Path, hand: Hand) -> Any:
    return replay_app(path, hand, times.iso(NIGHT_S), replay={"speed": 3600.0})


async def known(cluster: Cluster, client: Any) -> dict[str, Any]:
    """What `/v1/carbon` says of the zone once there is a value."""
    while True:
        view = (await client.get("/v1/carbon"))[1]
        if view["zones"] and not view["zones"][0]["stale"]:
            return view


async def test_a_gang_waits_at_night_and_starts_at_noon(cluster: Cluster, tmp_path: Path):
    hand = Hand()
    waits = flexible()
    cluster.put("pods", waits)
    async with (
        serving(night(tmp_path, hand)) as url,
        ready(cluster, carbon__url=url, carbon__poll_s="0.1") as (_, client),
    ):
        view = await known(cluster, client)
        assert view["zones"][0]["zone"] == "XX"
        assert view["zones"][0]["lower"] <= view["zones"][0]["upper"]
        assert [each["app_id"] for each in view["held"]] == ["a"]
        first = await client.filter(waits, NAMES)
        assert first.reason.startswith("carbon-scheduler: held-for-carbon: carbon policy threshold holds it")
        assert (await client.filter(waits, NAMES)).reason == first.reason, "a changed text wakes the pod"
        metrics = (await client.get("/metrics"))[1]
        assert 'carbon_scheduler_carbon_intensity_g_per_kwh{zone="XX"}' in metrics
        assert "carbon_scheduler_held_gangs 1.0" in metrics
        hand.at_s += 12
        await cluster.until(lambda: woken(cluster))
        assert len((await client.filter(waits, NAMES)).names or ()) == 1
        assert (await client.get("/v1/carbon"))[1]["held"] == []


async def test_when_the_source_dies_nothing_blocks(cluster: Cluster, tmp_path: Path):
    waits = flexible()
    cluster.put("pods", waits)
    async with serving(night(tmp_path, Hand())) as url:
        options = {"carbon.url": url, "carbon.poll_s": "0.1", "carbon.stale_after_s": "2"}
        running = ready(cluster, **options)
        _, client = await running.__aenter__()
        await known(cluster, client)
        assert "held-for-carbon" in (await client.filter(waits, NAMES)).reason
    try:
        await cluster.until(lambda: woken(cluster))
        assert len((await client.filter(waits, NAMES)).names or ()) == 1
        assert (await client.get("/readyz"))[0] == 200
        health = (await client.get("/healthz"))[1]
        assert health["status"] == "ok"
        assert "XX" in health["carbon"]["problems"]
        metrics = (await client.get("/metrics"))[1]
        assert 'carbon_scheduler_carbon_stale{zone="XX"} 1.0' in metrics
        assert "carbon_intensity_g_per_kwh{" not in metrics, "unknown has no sample"
    finally:
        await running.__aexit__(None, None, None)


async def test_a_source_that_was_never_there_holds_nothing(cluster: Cluster):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    waits = flexible()
    cluster.put("pods", waits)
    async with ready(cluster, carbon__url=url, carbon__poll_s="0.1") as (_, client):
        assert len((await client.filter(waits, NAMES)).names or ()) == 1


async def test_a_gated_driver_is_released_by_taking_the_gate_off(cluster: Cluster, tmp_path: Path):
    hand = Hand()
    waits = flexible()
    waits["spec"]["schedulingGates"] = [{"name": "carbon-scheduler/hold"}]
    cluster.put("pods", waits)
    async with (
        serving(night(tmp_path, hand)) as url,
        ready(cluster, carbon__url=url, carbon__poll_s="0.1") as (service, client),
    ):
        (held,) = (await known(cluster, client))["held"]
        assert held["gated"]
        hand.at_s += 12
        await cluster.until(lambda: not cluster.pod("a-driver")["spec"]["schedulingGates"])
        assert service.patcher.health.failed == 0


async def test_energy_is_booked_and_reported(cluster: Cluster, tmp_path: Path):
    ledger = str(tmp_path / "ledger.sqlite")
    made = driver("a")
    cluster.put("pods", made)
    async with serving(night(tmp_path, Hand())) as url:
        options = {
            "carbon.url": url,
            "carbon.poll_s": "0.1",
            "accounting.ledger": ledger,
            "accounting.flush_s": "0.2",
        }
        async with ready(cluster, **options) as (service, client):
            await known(cluster, client)
            (name,) = (await client.filter(made, NAMES)).names or [""]
            assert await client.bind(made, name) == ""
            running = cluster.pod("a-driver")
            cluster.put("pods", {**running, "status": {"phase": "Running"}})
            books = service.bookkeeper
            assert books is not None
            assert books.problem == ""
            assert (await client.get("/healthz"))[1]["accounting"]["writes"]
            assert (await client.get("/healthz"))[1]["accounting"]["problem"] == ""
    shown = CliRunner().invoke(command, ["report", "--ledger", ledger, "--json"])
    assert shown.exit_code == 0, shown.output
    assert "a" in shown.output


async def test_a_ledger_that_cannot_be_opened_is_said_at_the_start(cluster: Cluster, tmp_path: Path):
    (tmp_path / "ledger").mkdir()
    async with await cluster.client() as api:
        with pytest.raises(ServiceFailed, match="the ledger cannot be used"):
            Service(load(None, {"accounting.ledger": str(tmp_path / "ledger")}), api)


async def test_after_a_restart_the_first_answer_knows_the_signal(cluster: Cluster, tmp_path: Path):
    waits = flexible()
    cluster.put("pods", waits)
    async with (
        serving(night(tmp_path, Hand())) as url,
        ready(cluster, carbon__url=url, carbon__poll_s="3600") as (_, client),
    ):
        assert "held-for-carbon" in (await client.filter(waits, NAMES)).reason
