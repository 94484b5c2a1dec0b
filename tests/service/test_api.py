"""What people see: queue, applications, nodes, health, metrics, OpenAPI, and the command line's tables."""

from __future__ import annotations

import re

import pytest

from extender.adapters.api.tables import age, amount
from extender.cli.text import explained
from tests.cluster.apiserver import pod
from tests.service.cluster import Client, Cluster, driver, driver_config_map, executor, ready


async def submit(cluster: Cluster, app: str, executors: int) -> None:
    cluster.put("configmaps", driver_config_map(app, executors))
    cluster.put("pods", driver(app))


async def admit(cluster: Cluster, client: Client, app: str, executors: int, names: list[str]) -> None:
    await submit(cluster, app, executors)
    (node,) = (await client.filter(driver(app), names)).names or [""]
    assert await client.bind(driver(app), node) == ""


async def test_a_waiting_gang_is_explained(cluster: Cluster, names: list[str]):
    await submit(cluster, "b", 20)
    await submit(cluster, "c", 1)
    async with ready(cluster) as (_, client):
        await client.filter(driver("b"), names)
        first, second = (await client.get("/v1/queue"))[1]
        assert (first["app_id"], first["position"], first["outcome"]) == ("b", 1, "exceeds-cluster")
        assert (second["app_id"], second["position"]) == ("c", 2)
        code, found = await client.get("/v1/applications/ns/b")
        assert code == 200
        assert found["summary"]["state"] == "waiting"
        assert found["request"]["min_workers"] == 20
        assert found["request"]["source"] == "spark-configuration"
        assert found["workers_fit_now"] == 12
        cpu = next(each for each in found["shortages"] if each["resource"] == "cpu")
        assert cpu == {
            "resource": "cpu",
            "requested": 21_000,
            "free": 12_000,
            "missing": 9_000,
            "fits_workers": 12,
        }
        text = explained((await client.get("/v1/explain?name=b-driver"))[1], 0.0, 80)
        assert text.startswith("b-driver  ns/b\n")
        assert "refused for good" in text
        assert "12 of 20 executors would fit now" in text
        assert "9 of cpu" in text


async def test_a_blocked_gang_names_the_gang_before_it(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await admit(cluster, client, "a", 8, names)
        for app in ("b", "c"):
            await submit(cluster, app, 3)
            await client.filter(driver(app), names)
        queue = {each["app_id"]: each for each in (await client.get("/v1/queue"))[1]}
        assert queue["b"]["outcome"] == "no-room"
        assert queue["c"]["outcome"] == "earlier-gang-waits"
        assert queue["c"]["blocked_by"] == "ns/b"
        assert (await client.get("/v1/queue?explained=0"))[1][0]["outcome"] == ""


async def test_a_running_gang_shows_its_slots(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await admit(cluster, client, "a", 2, names)
        cluster.put("pods", executor("a", 1))
        (node,) = (await client.filter(executor("a", 1), names)).names or [""]
        await client.bind(executor("a", 1), node)
        found = (await client.get("/v1/applications/ns/a"))[1]
        assert found["summary"]["state"] == "running"
        assert (found["summary"]["slots"], found["summary"]["slots_open"]) == (2, 1)
        holders = {slot["pod"]: slot["bound"] for slot in found["slots"]}
        assert holders == {"a-exec-1": True, "": False}
        assert found["waiting"] is None
        assert "a-exec-1: on n" in explained((await client.get("/v1/explain?name=a-exec-1"))[1], 0.0, 80)
        (summary,) = (await client.get("/v1/applications"))[1]
        assert summary == found["summary"]
        nodes = (await client.get("/v1/nodes"))[1]
        assert [each["name"] for each in nodes] == names
        assert sum(each["reserved"]["cpu"] for each in nodes) == 1000
        for each in nodes:
            for resource, offered in each["allocatable"].items():
                parts = each["used"][resource] + each["reserved"][resource] + each["free"][resource]
                assert parts == offered


async def test_an_unknown_application_is_a_404_that_helps(cluster: Cluster):
    async with ready(cluster) as (_, client):
        code, answer = await client.get("/v1/applications/ns/nobody")
        assert code == 404
        assert answer["detail"] == "no gang ns/nobody is known; see /v1/applications"
        assert (await client.get("/v1/queue?explained=-1"))[0] == 422


async def test_health_tells_of_over_committed_nodes(cluster: Cluster):
    async with ready(cluster) as (_, client):
        assert (await client.get("/healthz"))[1]["status"] == "ok"
    for number in range(5):
        cluster.put("pods", pod(f"crowd-{number}", node="n0"))
    async with ready(cluster) as (_, client):
        health = (await client.get("/healthz"))[1]
        assert health["status"] == "degraded"
        assert health["problems"] == ["node n0 is over-committed"]
        assert {cache["name"] for cache in health["caches"]} == {"nodes", "pods", "config maps"}


async def test_metrics(cluster: Cluster, names: list[str]):
    async with ready(cluster) as (_, client):
        await admit(cluster, client, "a", 2, names)
        code, text = await client.get("/metrics")
        assert code == 200
        lines = set(text.splitlines())
        assert 'carbon_scheduler_requests_total{outcome="admitted",verb="filter"} 1.0' in lines
        assert 'carbon_scheduler_requests_total{outcome="bound",verb="bind"} 1.0' in lines
        assert 'carbon_scheduler_gangs{state="running"} 1.0' in lines
        assert 'carbon_scheduler_reserved{resource="cpu"} 2000.0' in lines
        assert "carbon_scheduler_slots_open 2.0" in lines
        assert 'carbon_scheduler_waiting_missing{resource="cpu"} 0.0' in lines
        assert 'carbon_scheduler_cache_synced{cache="pods"} 1.0' in lines
        buckets = [line for line in lines if "duration_seconds_bucket" in line and 'verb="filter"' in line]
        assert len(buckets) == 12


async def test_openapi_describes_webhooks_and_api(cluster: Cluster):
    async with ready(cluster) as (_, client):
        document = (await client.get("/openapi.json"))[1]
        paths = {"/filter", "/prioritize", "/bind", "/preempt", "/v1/queue", "/metrics"}
        assert paths <= set(document["paths"])
        defined = set(document["components"]["schemas"])
        used = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
        assert used
        assert used <= defined


@pytest.mark.parametrize(
    ("resource", "value", "text"),
    [
        ("cpu", 1500, "1.5"),
        ("memory", 1408 << 20, "1.375Gi"),
        ("memory", 0, "0"),
        ("ephemeral-storage", 1 << 40, "1Ti"),
        ("nvidia.com/gpu", 3, "3"),
    ],
)
def test_amounts_are_written_as_people_write_them(resource: str, value: int, text: str):
    assert amount(resource, value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (75, "1m15s"), (3720, "1h2m"), (90_000, "1d1h")])
def test_ages(seconds: float, text: str):
    assert age(seconds) == text


async def test_a_cache_that_may_be_old_is_told_and_not_ready(cluster: Cluster):
    async with ready(cluster) as (service, client):
        pods = next(each for each in service.reflectors if each.name == "pods")
        assert pods.health.fresh_s is not None
        pods.health.fresh_s -= 121
        code, answer = await client.get("/readyz")
        assert code == 503
        assert "the watch of pods has been silent for 1" in answer["detail"]
        health = (await client.get("/healthz"))[1]
        assert health["status"] == "degraded"
        assert any("the watch of pods has been silent" in each for each in health["problems"])
