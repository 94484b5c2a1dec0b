"""CAP as a ResourceQuota, with each of the original daemon's defects as a test."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.quota import INTERVAL_S, LAPSE_S, RENEW_S, CapQuota, Share

PATH = "/api/v1/namespaces/batch/resourcequotas/mine"
EXECUTOR = Share(4000, 8 << 30)


class Quotas:
    """The API server's ResourceQuotas, by path: versions, canonical quantities, and what pods use."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.fails = False
        self.before_write: Callable[[], None] = lambda: None
        self._version = 0

    async def answer(self, request: web.Request) -> web.Response:
        if self.fails:
            return problem(503, "down")
        path, method = request.path, request.method
        body = await request.json() if method in ("POST", "PATCH") else {}
        if method != "GET":
            hook, self.before_write = self.before_write, lambda: None
            hook()
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return problem(409, "already exists")
            self.put(path, body)
        elif path not in self.objects:
            return problem(404, "not found")
        elif method == "PATCH":
            assert request.content_type == "application/merge-patch+json"
            version = body["metadata"].pop("resourceVersion", None)
            if version not in (None, self.objects[path]["metadata"]["resourceVersion"]):
                return problem(409, "the object has been modified")
            merge(self.objects[path], body)
            self.put(path, self.objects[path])
        elif method == "DELETE":
            self.writes.append(method)
            return web.json_response(self.objects.pop(path))
        if method != "GET":
            self.writes.append(method)
        return web.json_response(self.objects[path])

    def put(self, path: str, quota: dict[str, Any]) -> None:
        """As anybody may write it."""
        self._version += 1
        quota["metadata"]["resourceVersion"] = str(self._version)
        hard = quota["spec"]["hard"]
        if hard.get("cpu", "").endswith("000m"):
            hard["cpu"] = hard["cpu"].removesuffix("000m")
        self.objects[path] = quota

    def edit(self, **hard: str | None) -> None:
        """As `kubectl edit` does it."""
        quota = copy.deepcopy(self.objects[PATH])
        merge(quota["spec"]["hard"], hard)
        self.put(PATH, quota)

    @property
    def hard(self) -> dict[str, str]:
        return self.objects[PATH]["spec"]["hard"]


def problem(status: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "message": message}, status=status)


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
    """What every replica knows. `now` is its clock."""

    def __init__(self) -> None:
        self.budget: int | None = 100
        self.now = 1_000_000.0

    def quota(self, api: ApiClient, replica: str = "one") -> CapQuota:
        return CapQuota(api, "batch", "mine", self.wanted, replica=replica, clock=lambda: self.now)

    def wanted(self, used: Share) -> Share | None:
        return None if self.budget is None else EXECUTOR.times(self.budget)


def theirs() -> dict[str, Any]:
    return {"metadata": {"name": "mine"}, "spec": {"hard": {"cpu": "400", "pods": "9"}}}


async def test_it_follows_the_budget_in_the_namespace_and_under_the_name_it_was_told(
    api: ApiClient, quotas: Quotas
):
    cluster = Cluster()
    kept = cluster.quota(api)
    await kept.keep()
    assert quotas.hard == {"cpu": "400", "memory": str(800 << 30)}
    cluster.budget = 20
    await kept.keep()
    assert quotas.hard == {"cpu": "80", "memory": str(160 << 30)}


async def test_nothing_is_written_while_nothing_changes(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    for _ in range(3):
        await kept.keep()
    assert quotas.writes == ["POST"]


async def test_on_exit_the_quota_is_as_it_was(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    kept = Cluster().quota(api)
    await kept.keep()
    assert quotas.hard["pods"] == "9", "what is not ours stays"
    await kept.restore()
    assert quotas.hard == theirs()["spec"]["hard"]
    assert quotas.objects[PATH]["metadata"]["annotations"] == {}
    assert quotas.writes == ["PATCH", "PATCH"]


async def test_a_quota_of_ours_is_gone_on_exit(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    await kept.keep()
    await kept.restore()
    assert quotas.objects == {}


async def test_after_a_crash_the_original_is_still_known(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    cluster = Cluster()
    cluster.budget = 1
    await cluster.quota(api).keep()
    after = cluster.quota(api)  # the first one died without restoring
    cluster.budget = 2
    await after.keep()
    await after.restore()
    assert quotas.hard == theirs()["spec"]["hard"]


async def test_without_a_signal_there_is_no_limit_and_no_frozen_one(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    cluster = Cluster()
    kept = cluster.quota(api)
    await kept.keep()
    cluster.budget = None
    await kept.keep()
    assert quotas.hard == theirs()["spec"]["hard"]
    cluster.budget = 5
    await kept.keep()
    assert quotas.hard["cpu"] == "20"


async def test_a_failed_write_is_made_the_next_time(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    quotas.fails = True
    with pytest.raises(ApiError):
        await kept.keep()
    quotas.fails = False
    await kept.keep()
    assert quotas.hard["cpu"] == "400"


async def test_an_unreadable_memory_of_the_original_takes_only_our_keys_out(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    quotas.objects[PATH]["metadata"]["annotations"] = {"carbon-scheduler/original-hard": "{"}
    await Cluster().quota(api).restore()
    assert json.dumps(quotas.hard) == '{"pods": "9"}'


@pytest.mark.parametrize("answer", ["<html>", "[]", "{}"])
async def test_an_answer_that_is_no_quota_is_a_problem_and_no_crash(
    api: ApiClient, quotas: Quotas, answer: str
):
    async def garbage(path: str) -> bytes:
        return answer.encode()

    kept = Cluster().quota(api)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(api, "get", garbage)
        with pytest.raises(ApiError, match="no ResourceQuota"):
            await kept.restore()


async def test_whatever_fails_it_goes_on(api: ApiClient, quotas: Quotas, caplog: pytest.LogCaptureFixture):
    looks = 0

    def wanted(used: Share) -> Share:
        nonlocal looks
        looks += 1
        if looks < 9:
            raise KeyError("a defect")
        return EXECUTOR

    written = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)
        if quotas.objects:
            written.set()

    kept = CapQuota(api, "batch", "mine", wanted, replica="one", clock=lambda: 0.0, sleep=sleep)
    running = asyncio.create_task(kept.run())
    await written.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert kept.last_problem == ""
    assert len(caplog.records) == 1


# -- edited by others ----------------------------------------------------------------------------


async def test_what_somebody_writes_into_it_is_written_over(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    await kept.keep()
    quotas.edit(cpu="1")
    await kept.keep()
    assert quotas.hard["cpu"] == "400"
    quotas.edit(memory=None)
    await kept.keep()
    assert quotas.hard["memory"] == str(800 << 30)


async def test_a_quota_that_somebody_deleted_is_made_again(api: ApiClient, quotas: Quotas):
    kept = Cluster().quota(api)
    await kept.keep()
    quotas.objects.clear()
    await kept.keep()
    assert quotas.hard["cpu"] == "400"
    await kept.restore()
    assert quotas.objects == {}


async def test_what_its_owner_changes_meanwhile_is_restored_on_exit(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    kept = Cluster().quota(api)
    await kept.keep()
    quotas.edit(cpu="300", pods="12")
    await kept.keep()
    assert quotas.hard == {"cpu": "400", "memory": str(800 << 30), "pods": "12"}
    await kept.restore()
    assert quotas.hard == {"cpu": "300", "pods": "12"}


async def test_a_write_that_comes_between_is_not_written_over_unseen(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    kept = Cluster().quota(api)
    quotas.before_write = lambda: quotas.edit(cpu="300")
    await kept.keep()
    assert quotas.hard["cpu"] == "400"
    await kept.restore()
    assert quotas.hard["cpu"] == "300"


# -- several replicas ----------------------------------------------------------------------------


async def test_in_a_rollover_the_old_replica_leaves_the_quota_to_the_new_one(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    old, new = cluster.quota(api, "old"), cluster.quota(api, "new")
    await old.keep()
    await new.keep()
    await old.keep()
    await old.restore()
    assert quotas.hard["cpu"] == "400"
    assert "new " in quotas.objects[PATH]["metadata"]["annotations"]["carbon-scheduler/quota-keeper"]
    await new.restore()
    assert quotas.objects == {}


async def test_of_two_replicas_one_writes(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    old, new = cluster.quota(api, "old"), cluster.quota(api, "new")
    await old.keep()
    await new.keep()
    quotas.writes.clear()
    for budget in range(20, 30):
        cluster.budget = budget
        await old.keep()
        assert not quotas.writes
        await new.keep()
        assert quotas.writes.pop() == "PATCH"


async def test_both_at_once_end_with_one_keeper(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    one, two = cluster.quota(api, "one"), cluster.quota(api, "two")
    await one.keep()
    await asyncio.gather(one.keep(), two.keep())
    quotas.writes.clear()
    for budget in range(20, 30):
        cluster.budget = budget
        await asyncio.gather(one.keep(), two.keep())
    assert len(quotas.writes) == 10


async def test_the_other_takes_over_when_the_keeper_dies(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    old, new = cluster.quota(api, "old"), cluster.quota(api, "new")
    await old.keep()
    await new.keep()
    cluster.budget = 50
    cluster.now += LAPSE_S - 1
    await old.keep()
    assert quotas.hard["cpu"] == "400", "it was first seen just now"
    cluster.now += LAPSE_S
    await old.keep()
    assert quotas.hard["cpu"] == "200"


async def test_a_keeper_with_nothing_to_change_says_that_it_is_there(api: ApiClient, quotas: Quotas):
    cluster = Cluster()
    old, new = cluster.quota(api, "old"), cluster.quota(api, "new")
    await old.keep()
    for _ in range(int(5 * LAPSE_S / INTERVAL_S)):
        await new.keep()
        await old.keep()
        cluster.now += INTERVAL_S
    assert quotas.writes.count("PATCH") <= 1 + 5 * LAPSE_S / RENEW_S
    assert "new " in quotas.objects[PATH]["metadata"]["annotations"]["carbon-scheduler/quota-keeper"]


async def test_a_replica_without_a_signal_leaves_the_quota_to_one_that_has_it(api: ApiClient, quotas: Quotas):
    knows, blind = Cluster(), Cluster()
    blind.budget = None
    keeper, other = knows.quota(api, "keeper"), blind.quota(api, "other")
    await keeper.keep()
    await other.keep()
    await other.restore()
    assert quotas.hard["cpu"] == "400"


async def test_without_a_signal_what_a_dead_replica_left_is_restored(api: ApiClient, quotas: Quotas):
    quotas.put(PATH, theirs())
    cluster = Cluster()
    await cluster.quota(api, "dead").keep()
    cluster.budget = None
    after = cluster.quota(api, "after")
    await after.keep()
    cluster.now += LAPSE_S
    await after.keep()
    assert quotas.hard == theirs()["spec"]["hard"]
