"""The whole service against an API server: start, admission, faults, restart, end."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest
import uvicorn

from extender.adapters.accounting import accountant
from extender.adapters.accounting.ledger import Ledger
from extender.core.gangs.reservation import RESERVATION
from extender.core.invariants import snapshot, violations
from extender.core.wakes import WAKE
from extender.runtime import ledger_recorder
from extender.runtime.http.server import Server
from extender.runtime.service import Service
from extender.runtime.supervisor import ServiceFailed
from extender.settings.loading import load
from tests.cluster.apiserver import lose, pod
from tests.patience import PATIENCE_S
from tests.service.cluster import (
    Cluster,
    delivered,
    driver,
    driver_config_map,
    executor,
    held_back,
    ready,
    started,
)


async def test_nothing_is_ready_before_every_cache_is_filled(cluster: Cluster, names: list[str]):
    release = asyncio.Event()
    cluster.faults["list"].extend([held_back(release)] * 3)
    async with started(cluster) as (service, client):
        assert (await client.get("/livez"))[0] == 200
        code, answer = await client.get("/readyz")
        assert code == 503
        assert answer["detail"] == "not synced yet: nodes, pods, config maps"
        assert (await client.get("/healthz"))[1]["status"] == "not-ready"
        result = await client.filter(driver("a"), names)
        assert result.error.startswith("carbon-scheduler: not-ready")
        assert await client.bind(driver("a"), "n0") == "the caches are not synced yet"
        release.set()
        await asyncio.wait_for(service.ready.wait(), PATIENCE_S)
        assert (await client.get("/readyz"))[0] == 200


async def test_an_unannotated_driver_waits_for_its_config_map_and_is_woken_by_it(
    cluster: Cluster, names: list[str]
):
    cluster.put("pods", driver("a"))
    async with ready(cluster) as (_, client):
        result = await client.filter(driver("a"), names)
        assert result.reason.startswith("carbon-scheduler: waiting-for-configuration")
        cluster.put("configmaps", driver_config_map("a", executors=2))
        await cluster.until(lambda: WAKE in cluster.pod("a-driver")["metadata"].get("annotations", {}))
        assert len((await client.filter(driver("a"), names)).names or ()) == 1


async def test_a_driver_is_bound_with_its_reservation_and_executors_take_the_slots(
    cluster: Cluster, names: list[str]
):
    cluster.put("configmaps", driver_config_map("a", executors=2))
    cluster.put("pods", driver("a"))
    async with ready(cluster) as (service, client):
        for made in (driver("a"), executor("a", 1), executor("a", 2)):
            if made["metadata"]["name"] != "a-driver":
                cluster.put("pods", made)
            (node,) = (await client.filter(made, names)).names or [""]
            assert await client.bind(made, node) == ""
            assert cluster.pod(made["metadata"]["name"])["spec"]["nodeName"] == node
        reservation = json.loads(cluster.pod("a-driver")["metadata"]["annotations"][RESERVATION])
        assert reservation["min"] == 2
        assert reservation["worker"] == {"cpu": 1000, "memory": 1408 << 20}
        assert violations(service.store.state) == []
        assert not service.store.state.nodes.reserved.any()


async def test_a_binding_whose_answer_is_lost_is_a_success_and_made_once(cluster: Cluster, names: list[str]):
    cluster.put("configmaps", driver_config_map("a", executors=1))
    cluster.put("pods", driver("a"))
    async with ready(cluster) as (_, client):
        (node,) = (await client.filter(driver("a"), names)).names or [""]
        cluster.faults["bind"].append(lose(after=True))
        assert await client.bind(driver("a"), node) == ""
        assert await client.bind(driver("a"), node) == ""
        assert cluster.count("bind") == 1
        assert cluster.pod("a-driver")["spec"]["nodeName"] == node


async def test_room_taken_by_others_behind_our_back_is_seen_at_the_last_look(cluster: Cluster):
    async with ready(cluster) as (service, client):
        mine = pod("mine", schedulerName="carbon-scheduler")
        assert (await client.filter(mine, ["n0"])).names == ["n0"]
        for stream in cluster.streams:
            stream.out = asyncio.Queue()  # what happens now is not told to our watches
        for number in range(4):
            cluster.put("pods", pod(f"other-{number}", node="n0"))
        cluster.put("pods", mine)
        assert "cpu 4000 used" in await client.bind(mine, "n0")
        assert "nodeName" not in cluster.pod("mine")["spec"]
        assert not service.store.state.nodes.reserved.any()


async def test_a_restart_rebuilds_the_state_from_pods_alone(cluster: Cluster, names: list[str]):
    for app in ("a", "b"):
        cluster.put("configmaps", driver_config_map(app, executors=2))
        cluster.put("pods", driver(app))
    cluster.put("pods", executor("a", 1))
    async with ready(cluster) as (service, client):
        for made in (driver("a"), driver("b"), executor("a", 1)):
            (node,) = (await client.filter(made, names)).names or [""]
            assert await client.bind(made, node) == ""
        before = snapshot(service.store.state)
    for name in list(cluster.objects["configmaps"]):
        cluster.delete("configmaps", name[1], name[0])  # a reservation needs no ConfigMap
    async with ready(cluster) as (service, client):
        assert snapshot(service.store.state) == before
        assert violations(service.store.state) == []
        cluster.put("pods", executor("a", 2))
        assert (await client.filter(executor("a", 2), names)).names


async def test_the_end_of_the_driver_frees_everything(cluster: Cluster, names: list[str]):
    cluster.put("configmaps", driver_config_map("a", executors=2))
    cluster.put("pods", driver("a"))
    async with ready(cluster) as (service, client):
        (node,) = (await client.filter(driver("a"), names)).names or [""]
        assert await client.bind(driver("a"), node) == ""
        ended = cluster.pod("a-driver")
        ended["status"] = {"phase": "Succeeded"}
        cluster.put("pods", ended)
        later = delivered(service, "later")
        cluster.put("pods", pod("later"))
        await asyncio.wait_for(later.wait(), PATIENCE_S)
        assert not service.store.state.nodes.reserved.any()
        assert not service.store.state.nodes.used.any()


async def test_stopping_finishes_the_binding_under_way(cluster: Cluster, names: list[str]):
    release, arrived = asyncio.Event(), asyncio.Event()
    made = pod("p", schedulerName="carbon-scheduler")
    cluster.put("pods", made)
    async with ready(cluster) as (service, client):
        (node,) = (await client.filter(made, names)).names or [""]
        cluster.faults["bind"].append(held_back(release, arrived))
        call = asyncio.create_task(client.bind(made, node))
        await asyncio.wait_for(arrived.wait(), PATIENCE_S)
        assert service.health.binds_under_way() == 1
        service.stop()
        release.set()
        assert await call == ""
    assert cluster.pod("p")["spec"]["nodeName"] == node


async def test_answers_do_not_wait_for_acknowledgements():
    """On asyncio too, where an answer is two writes: 44 ms each with Nagle's algorithm, measured."""
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    class Watching(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted = transport.get_extra_info("socket")
            seen.set_result(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    config = uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_config=None)
    listener = Server(config).bound_socket()
    async with await asyncio.get_running_loop().create_server(Watching, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(seen, PATIENCE_S)
        writer.close()


async def test_a_ledger_that_does_not_answer_keeps_the_service_neither_from_starting_nor_from_ending(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    answers, asked = threading.Event(), threading.Event()

    def silent(*_: object, **__: object) -> None:
        asked.set()
        assert answers.wait(PATIENCE_S)

    monkeypatch.setattr(ledger_recorder, "OPENING_S", 0.01)
    monkeypatch.setattr(accountant, "CLOSING_S", 0.01)
    settings = {"accounting.ledger": str(tmp_path / "ledger"), "accounting.flush_s": "0.01"}
    with monkeypatch.context() as away:
        away.setattr(Ledger, "load", silent)
        async with ready(cluster, **settings) as (service, _):
            assert "it has not answered" in " ".join(service.health.problems())
        assert not answers.is_set(), "the service began and ended without the ledger"
    with monkeypatch.context() as away:
        away.setattr(Ledger, "write", silent)
        asked.clear()
        async with ready(cluster, **settings):
            assert await asyncio.to_thread(asked.wait, PATIENCE_S), "a write is under way"
        assert not answers.is_set(), "the service ended without the ledger"
    answers.set()


async def test_a_port_in_use_is_said_clearly(cluster: Cluster):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with await cluster.client() as api:
            with pytest.raises(ServiceFailed, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
                await Service(load(None, {"http.port": port}), api).run()


async def test_a_part_that_fails_again_and_again_ends_the_service(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
):
    delays: list[float] = []

    async def no_time_passes(delay_s: float) -> None:
        delays.append(delay_s)
        await asyncio.sleep(0)

    async with await cluster.client() as api:
        service = Service(load(None, {"http.port": "0"}), api, sleep=no_time_passes)

        async def broken() -> None:
            raise RuntimeError("a bug in the patcher")

        service.patcher.run = broken  # type: ignore[method-assign]
        with pytest.raises(ServiceFailed, match="annotations failed 5 times in a row"):
            await service.run()
    assert caplog.text.count("RuntimeError: a bug") == 5
    assert [delay for delay in delays if delay > 1] == [2.0, 4.0, 4.0]
