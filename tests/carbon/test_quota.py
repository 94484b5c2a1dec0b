"""CAP as a ResourceQuota, with each of the original daemon's defects as a test."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.cap import cap_quota
from extender.cluster.client import ApiClient, ApiError
from extender.cluster.quota import CapQuota, Share
from extender.core.carbon import Signal
from extender.core.events import CarbonSeen, NodeSeen, PodSeen
from extender.core.facts import GangKey, NodeFacts, PodFacts, Role
from extender.core.store import Store
from extender.settings import load

PATH = "/api/v1/namespaces/batch/resourcequotas/mine"
EXECUTOR = Share(4000, 8 << 30)


class Quotas:
    """The API server's ResourceQuotas, by path."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.fails = False

    async def answer(self, request: web.Request) -> web.Response:
        if self.fails:
            return web.json_response({"kind": "Status", "message": "down"}, status=503)
        path, method = request.path, request.method
        if method == "POST":
            body = await request.json()
            path = f"{path}/{body['metadata']['name']}"
            self.objects[path] = body
        elif path not in self.objects:
            return web.json_response({"kind": "Status", "message": "not found"}, status=404)
        elif method == "PATCH":
            assert request.content_type == "application/merge-patch+json"
            merge(self.objects[path], await request.json())
        elif method == "DELETE":
            self.writes.append(method)
            return web.json_response(self.objects.pop(path))
        if method != "GET":
            self.writes.append(method)
        return web.json_response(self.objects[path])

    @property
    def hard(self) -> dict[str, str]:
        return self.objects[PATH]["spec"]["hard"]


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


@pytest.fixture
def quotas() -> Quotas:
    return Quotas()


@pytest.fixture
async def api(quotas: Quotas) -> AsyncIterator[ApiClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", quotas.answer)
    server = TestServer(application)
    await server.start_server(access_log=None)
    async with await ApiClient.anonymous(str(server.make_url("")).rstrip("/")) as client:
        yield client
    await server.close()


class Cluster:
    def __init__(self) -> None:
        self.budget: int | None = 100
        self.drivers = Share()

    def quota(self, api: ApiClient) -> CapQuota:
        return CapQuota(api, "batch", "mine", EXECUTOR, lambda: self.budget, lambda: self.drivers)


def theirs() -> dict[str, Any]:
    return {"metadata": {"name": "mine"}, "spec": {"hard": {"cpu": "400", "pods": "9"}}}


async def test_it_follows_the_budget_in_the_namespace_and_under_the_name_it_was_told(
    api: ApiClient, quotas: Quotas
):
    cluster = Cluster()
    kept = cluster.quota(api)
    await kept.keep()
    assert quotas.hard == {"cpu": "400000m", "memory": str(800 << 30)}
    cluster.budget = 20
    await kept.keep()
    assert quotas.hard == {"cpu": "80000m", "memory": str(160 << 30)}


async def test_nothing_is_written_while_nothing_changes(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    for _ in range(3):
        await kept.keep()
    assert quotas.writes == ["POST"]


async def test_drivers_do_not_eat_the_executors_quota(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    cluster.drivers = Share(3000, 6 << 30)
    await cluster.quota(api).keep()
    assert quotas.hard == {"cpu": "403000m", "memory": str(806 << 30)}


async def test_on_exit_the_quota_is_as_it_was(api: ApiClient, quotas: Quotas):
    quotas.objects[PATH] = theirs()
    kept = Cluster().quota(api)
    await kept.keep()
    assert quotas.hard["pods"] == "9", "what is not ours stays"
    await kept.restore()
    assert quotas.hard == theirs()["spec"]["hard"]
    assert quotas.objects[PATH]["metadata"]["annotations"] == {}


async def test_a_quota_of_ours_is_gone_on_exit(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    await kept.keep()
    await kept.restore()
    assert quotas.objects == {}


async def test_after_a_crash_the_original_is_still_known(api: ApiClient, quotas: Quotas):
    quotas.objects[PATH] = theirs()
    cluster = Cluster()
    cluster.budget = 1
    await cluster.quota(api).keep()
    after = cluster.quota(api)  # the first one died without restoring
    cluster.budget = 2
    await after.keep()
    await after.restore()
    assert quotas.hard == theirs()["spec"]["hard"]


async def test_without_a_signal_there_is_no_limit_and_no_frozen_one(api: ApiClient, quotas: Quotas):
    quotas.objects[PATH] = theirs()
    cluster = Cluster()
    kept = cluster.quota(api)
    await kept.keep()
    cluster.budget = None
    await kept.keep()
    assert quotas.hard == theirs()["spec"]["hard"]
    cluster.budget = 5
    await kept.keep()
    assert quotas.hard["cpu"] == "20000m"


async def test_a_failed_write_is_made_the_next_time(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    quotas.fails = True
    with pytest.raises(ApiError):
        await kept.keep()
    quotas.fails = False
    await kept.keep()
    assert quotas.hard["cpu"] == "400000m"


async def test_an_unreadable_memory_of_the_original_takes_only_our_keys_out(api: ApiClient, quotas: Quotas):
    quotas.objects[PATH] = copy.deepcopy(theirs())
    quotas.objects[PATH]["metadata"]["annotations"] = {"carbon-scheduler/original-hard": "{"}
    await Cluster().quota(api).restore()
    assert json.dumps(quotas.hard) == '{"pods": "9"}'


def test_without_cap_or_without_a_namespace_there_is_no_quota(api: ApiClient):
    for flags in ({}, {"cap": "true"}, {"cap_quota_namespace": "batch"}):
        assert cap_quota(load(None, flags), api, Store(), lambda: 0.0) is None


async def test_drivers_of_the_namespace_have_their_share(api: ApiClient, quotas: Quotas):
    flags = {"cap": "true", "cap_min_executors": "2", "cap_max_executors": "20", "cap_quota_name": "mine"}
    flags |= {"cap_quota_namespace": "batch", "cap_quota_spare_drivers": "0"}
    settings = load(None, flags)
    store = Store(settings.to_policy())
    for namespace in ("batch", "elsewhere"):
        leader = PodFacts(
            f"u-{namespace}", namespace, "a", scheduler_name="carbon-scheduler", role=Role.LEADER
        )
        leader = replace(leader, requests={"cpu": 500, "memory": 1 << 30}, gang=GangKey(namespace, "a"))
        store.apply(PodSeen(leader), 0.0)
    kept = cap_quota(settings, api, store, lambda: 0.0)
    assert kept is not None
    await kept.keep()
    assert quotas.objects == {}, "no signal, no limit"
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    store.apply(NodeSeen(NodeFacts("n", {"cpu": 64000, "memory": 1 << 38, "pods": 110}, labels)), 0.0)
    signal = Signal("XX", 0.0, 400.0, forecast=(400.0, 200.0), lower=200.0, upper=400.0)
    store.apply(CarbonSeen(signal), 0.0)
    await kept.keep()
    assert quotas.hard == {"cpu": "8500m", "memory": str(17 << 30)}, "two executors and the one driver here"
