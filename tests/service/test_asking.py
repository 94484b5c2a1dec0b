"""What people ask on the command line: explain, queue, top, status, at an address and through a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from typer.testing import CliRunner

from extender.cli import app
from extender.cli.text import labelled, table
from tests.service.cluster import Client, Cluster, driver, driver_config_map, ready

LONG = "spark-" + "4f2c" * 16


async def ask(*words: str) -> tuple[int, str]:
    """Exit code and output of a command; the service answers meanwhile."""
    done = await asyncio.to_thread(CliRunner().invoke, app, list(words), None, {"COLUMNS": "80"})
    return done.exit_code, done.output


async def some_wait(cluster: Cluster, client: Client, names: list[str]) -> None:
    for app_id, executors in ((LONG, 20), ("b", 1)):
        cluster.put("configmaps", driver_config_map(app_id, executors))
        made = driver(app_id)
        made["metadata"]["name"] = f"daily-{app_id[:7]}-driver"
        made["metadata"]["labels"]["spark-app-name"] = f"report-{app_id[:1]}"
        cluster.put("pods", made)
        await client.filter(made, names)


async def test_the_queue_in_all_formats(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await some_wait(cluster, client, names)
        url = ("--url", client.url)
        code, text = await ask("queue", *url)
        assert code == 0
        head, *_, first = text.splitlines()
        assert head.split()[0] == "DRIVER"
        assert first.startswith("daily-spark-4-driver")
        assert "refused: exceeds-cluster" in first
        _, wide = await ask("queue", "-o", "wide", *url)
        assert LONG in wide
        _, name = await ask("queue", "-o", "name", *url)
        assert name.splitlines()[-1] == "ns/daily-spark-4-driver"
        _, found = await ask("queue", "-o", "json", *url)
        assert json.loads(found)[-1]["app_id"] == LONG
        assert await ask("queue", "-n", "other", *url) == (0, "No application waits.\n")


async def test_explain_takes_any_name_and_leaves_ids_whole(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await some_wait(cluster, client, names)
        url = ("--url", client.url)
        for name in (LONG, f"ns/{LONG}", "daily-spark-4-driver", "report-s"):
            code, text = await ask("explain", name, *url)
            assert code == 0, text
            assert text.startswith(f'daily-spark-4-driver  ns/{LONG}  "report-s"\n')
            assert "refused for good" in text
            assert "add 3 nodes like n" in text
        _, found = await ask("explain", "report-s", "-o", "json", *url)
        assert json.loads(found)["refused_for_good"] is True
        code, text = await ask("explain", "report-x", *url)
        assert code == 1
        assert "did you mean report-s" in text
        assert (await ask("explain", "report-s", "-n", "other", *url))[0] == 1


async def test_explain_shows_what_kube_scheduler_wrote_and_reads_it_once(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        cluster.put("configmaps", driver_config_map("a", 50))
        made = driver("a")
        text = "0/3 nodes are available: 3 node(s) had volume node affinity conflict."
        made["status"]["conditions"] = [{"type": "PodScheduled", "status": "False", "message": text}]
        cluster.put("pods", made)
        await client.filter(made, names)
        before = sum(1 for asked, *_ in cluster.requests if asked == "get")
        for _ in range(3):
            code, shown = await ask("explain", "a-driver", "--url", client.url)
            assert code == 0
            assert f"Scheduler  {text}" in shown
        assert sum(1 for asked, *_ in cluster.requests if asked == "get") == before + 1


async def test_top_and_status(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await some_wait(cluster, client, names)
        _, text = await ask("top", "--url", client.url)
        assert [line.split()[2] for line in text.splitlines()] == ["STATE", "admitted", "waiting"]
        _, text = await ask("status", "--url", client.url)
        assert "1 waiting, 1 admitted" in text
        assert "no node has a carbon zone" in text
        _, found = await ask("status", "-o", "json", "--url", client.url)
        assert set(json.loads(found)) == {"health", "totals", "carbon"}


async def test_through_the_api_server_the_leader_is_asked(tmp_path: Path):
    asked: list[str] = []

    def pod(name: str) -> dict[str, Any]:
        port = {"name": "api", "containerPort": 8421}
        return {"metadata": {"name": name}, "spec": {"containers": [], "initContainers": [{"ports": [port]}]}}

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path.endswith("/leases/carbon-scheduler"):
            return web.json_response({"spec": {"holderIdentity": "second_8e1f"}})
        if request.path.endswith("/pods"):
            return web.json_response({"items": [pod("first"), pod("second")]})
        if request.path.endswith("/v1/explain"):
            return web.json_response({"detail": "no application or pod 'x' is known"}, status=404)
        return web.json_response([])

    server = web.Application()
    server.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    config = tmp_path / "config"
    config.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    way = ("--in-cluster", "--kubeconfig", str(config))
    try:
        assert await ask("queue", *way) == (0, "No application waits.\n")
        assert asked[-1] == "/api/v1/namespaces/carbon-scheduler/pods/http:second:8421/proxy/v1/queue"
        code, text = await ask("explain", "x", *way)
        assert (code, "no application or pod 'x' is known" in text) == (1, True)
    finally:
        await runner.cleanup()


def test_nothing_is_cut_off():
    text = table(["A", "B"], [["x" * 90, "y"], ["x", "y" * 90]])
    assert [line.split() for line in text.splitlines()] == [["A", "B"], ["x" * 90, "y"], ["x", "y" * 90]]
    assert "z" * 100 in labelled("Name", "some words " + "z" * 100, 80)
