"""The port for drivers: what is reported is seen, steers, and belongs to the reporting driver alone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from extender.core.facts import GangKey, PodFacts
from extender.runtime.service import Service
from tests.drivers.support import (
    DIAMOND,
    Driver,
    TokenCluster,
    batch,
    job,
    listening,
    progress,
    stage,
    submitted,
)
from tests.patience import PATIENCE_S
from tests.service.cluster import delivered, driver_config_map, executor, spark_pod
from tests.service.cluster import driver as pod_of_driver

KEY = GangKey("ns", "a")


async def test_what_a_driver_reports_is_seen_by_people_and_by_the_driver(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, client, (driver,)):
        await driver.tell(1, job(0, *DIAMOND), submitted(DIAMOND[0]))
        await driver.tell(2, progress(0, 3, 6_000))
        code, people = await client.get("/v1/applications/ns/a")
        assert code == 200
        states = {each["stage_id"]: (each["state"], each["finished"]) for each in people["stages"]}
        assert states == {0: ("running", 3), 1: ("waiting", 0), 2: ("waiting", 0), 3: ("waiting", 0)}
        assert people["stages"][0]["task_s"] == 2.0
        assert people["stages"][3]["parents"] == [10, 20]
        assert people["importance"] == 1.0
        assert people["summary"]["state"] == "running"
        code, own = await driver.get()
        assert code == 200
        assert own["stages"] == people["stages"]
        code, table = await client.get("/v1/applications/ns/a/stages/priority")
        assert code == 200
        assert table == (await driver.get("/stages/priority"))[1]
        assert set(table["stages"]) == {"0", "1", "2", "3"}
        assert table["stages"]["1"] == 1.0 > table["stages"]["2"]
        assert table["ready"] == [{"stage_id": 0, "importance": 1.0, "open_tasks": 1}]
        # 2 s a task: one left of stage 0, 20 + 2 + 4 in the others
        assert table["remaining_s"] == 54.0
        assert table["critical_path_s"] == pytest.approx(people["critical_path_s"])


async def test_the_answer_orders_stages_once_that_is_allowed(cluster: TokenCluster, names: list[str]) -> None:
    flags = {"stages.order": "true", "drivers.report_interval_s": "2"}
    async with listening(cluster, names, "a", **flags) as (_, _, (driver,)):
        answer = await driver.tell(1, job(0, *DIAMOND))
        assert answer["interval_s"] == 2.0
        priorities = answer["priorities"]
        assert set(priorities) == {"0", "1", "2", "3"}
        assert priorities["0"] == priorities["1"] == priorities["3"] == 0 < priorities["2"]
        assert "target_executors" not in answer
        assert "off" not in answer
        ended = await driver.tell(2, {"type": "JobEnd", "job_id": 0, "time_ms": 9_000, "succeeded": True})
        assert "priorities" not in ended


async def test_by_default_the_answer_steers_nothing(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        assert set(await driver.tell(1, job(0, *DIAMOND))) <= {"interval_s"}


async def test_agents_can_be_told_to_fall_silent(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a", drivers__agent="false") as (service, _, (driver,)):
        assert (await driver.tell(1, job(0, *DIAMOND)))["off"] is True
        assert KEY not in service.store.state.stages


async def test_a_batch_sent_again_is_answered_and_changes_nothing(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (service, client, (driver,)):
        await driver.tell(1, job(0, *DIAMOND))
        for _ in range(2):
            await driver.tell(2, progress(0, 1, 1_000), dropped=5)
        await driver.tell(1, progress(0, 1, 1_000))
        (first, *_) = service.store.state.stages.stages(KEY)
        assert first.finished == 1
        again = (job(0, *DIAMOND), progress(0, 2, 1_000))
        await driver.tell(1, *again, process="p2", dropped=1)  # another context of the driver
        (first, *_) = service.store.state.stages.stages(KEY)
        assert first.finished == 2
        _, metrics = await client.get("/metrics")
        assert 'carbon_scheduler_agent_batches_total{result="taken"} 3.0' in metrics
        assert 'carbon_scheduler_agent_batches_total{result="repeated"} 2.0' in metrics
        assert 'carbon_scheduler_agent_updates_lost_total{by="agent"} 6.0' in metrics
        assert "carbon_scheduler_stage_graphs 1.0" in metrics
        assert "carbon_scheduler_stages_open 4.0" in metrics


async def test_nonsense_is_left_out_and_counted(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (service, client, (driver,)):
        await driver.tell(1, progress(0, -1, 0), job(0, *DIAMOND))
        assert len(service.store.state.stages.stages(KEY)) == 4
        _, metrics = await client.get("/metrics")
        assert 'carbon_scheduler_agent_updates_lost_total{by="nonsense"} 1.0' in metrics


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", 400, "not a batch"),
        (b"{", 400, "not a batch"),
        (b"\xff\xfe", 400, "not a batch"),
        (b"[" * 100_000, 400, "not a batch"),
        (b"{}", 400, "required field `agent`"),
        (batch(1, {"type": "Cake"}), 400, "Invalid value 'Cake'"),
        (batch(1, job(0, stage(0, tasks="many"))), 400, "tasks"),  # type: ignore[arg-type]
        (batch(-1), 400, "count from 0"),
        (batch(10**400), 400, "count from 0"),
        (batch(1, dropped=10**400), 400, "count from 0"),
        (b'{"agent": 1, "driver": "p", "batch": NaN, "events": []}', 400, "malformed"),
        (b'{"agent": 1, "driver": "p", "batch": 1e400, "events": []}', 400, "out of range"),
        (b'{"agent": 1, "driver": "p", "batch": 1, "events": ' + b"[" * 400_000, 400, "not a batch"),
        (b'{"x":' * 200_000, 400, "not a batch"),
        (batch(1, process=""), 400, "1 to 128"),
        (batch(1, process="p" * 129), 400, "1 to 128"),
        (b" " * 3_000, 413, "drivers.max_report_bytes = 2000"),
        (b" " * 50_000, 413, "drivers.max_report_bytes = 2000"),
    ],
    ids=range(18),
)
async def test_a_report_that_cannot_be_read_is_refused_with_the_reason(
    cluster: TokenCluster, names: list[str], body: bytes, code: int, words: str
) -> None:
    limit = "2000" if code == 413 else "1000000"
    async with listening(cluster, names, "a", drivers__max_report_bytes=limit) as (service, _, (driver,)):
        answered, reply, _ = await driver.post(body)
        assert answered == code
        assert words in reply["detail"]
        assert KEY not in service.store.state.stages
        await driver.tell(1, job(0, *DIAMOND))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/applications/ns/a", 200),
        ("/v1/applications/ns/%61", 200),
        ("/v1/applications/ns%2Fa", 200),
        ("/v1/applications/ns/a/", 404),
        ("/v1/applications/ns/a%2F", 404),
        ("/v1/applications/ns/..%2Fns%2Fb", 404),
        ("/v1/applications/ns/b", 403),
        ("/v1/applications/ns/b%2Fstages%2Fpriority", 403),
        ("/v1/applications/ns/b%2F..%2Fa/stages/priority", 404),
        ("/v1/applications/ns/a%00", 403),
        ("/v1/applications/ns/a%0d%0aX-Evil:%20y", 403),
        ("/v1/applications/ns/%ff", 403),
        ("/v1/applications/ns/" + "a" * 5_000, 403),
        ("/v1/applications/NS/a", 403),
        ("/v1/applications/%20ns/a", 403),
        ("//v1/applications/ns/a", 404),
    ],
    ids=range(16),
)
async def test_however_a_path_is_written_it_opens_the_own_application_only(
    cluster: TokenCluster, names: list[str], path: str, code: int
) -> None:
    async with listening(cluster, names, "a", "b") as (_, _, (driver, _)):
        url = URL(driver.url.partition("/v1/")[0] + path, encoded=True)
        headers = {"Authorization": f"Bearer {driver.token}"}
        async with driver.session.get(url, headers=headers, allow_redirects=False) as answer:
            assert answer.status == code
            assert "X-Evil" not in answer.headers
            if code == 200:
                assert (await answer.json())["summary"]["app_id"] == "a"


async def test_who_lies_about_lost_updates_does_not_spoil_the_sum(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, client, (driver,)):
        await driver.tell(1, dropped=10**15)
        _, metrics = await client.get("/metrics")
        assert 'carbon_scheduler_agent_updates_lost_total{by="agent"} 1e+06' in metrics


async def test_no_token_reaches_the_log(
    cluster: TokenCluster, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cluster.users["loose-secret"] = {"username": "system:serviceaccount:ns:spark", "extra": {}}
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        for token in (driver.token, "secret-guess", "loose-secret", "secret" * 5_000, "two secret words"):
            for body in (batch(1), b"{"):
                await driver.post(body, token=token)
            await driver.get(token=token)
        cluster.refuse = web.Response(status=500)
        assert (await driver.get(token="secret-unknown"))[0] == 503
        host, port = driver.url.removeprefix("http://").partition("/")[0].split(":")
        for words in (
            "Authorization: Bearer secret\r\nnonsense\r\n\r\n",
            "Authorization: Bearer \x00secret\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET / HTTP/1.1\r\n" + words.encode())
            assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 400")
            writer.close()
    assert "could not be checked" in caplog.text
    assert "secret" not in caplog.text
    assert driver.token not in caplog.text


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "text/plain"}, "send application/json"),
        ({"Content-Encoding": "gzip"}, "not with Content-Encoding gzip"),
    ],
)
async def test_only_plain_json_is_read(
    cluster: TokenCluster, names: list[str], headers: dict[str, str], words: str
) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        code, reply, _ = await driver.post(batch(1), **headers)
        assert code == 415
        assert words in reply["detail"]
        code, _, _ = await driver.post(batch(1), **{"Content-Type": "application/json; charset=utf-8"})
        assert code == 200


# -- who may --------------------------------------------------------------------------------------------


async def test_without_a_good_token_nothing_is_said(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        async with driver.session.post(f"{driver.url}/events", data=batch(1)) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for token in ("wrong", "", "two words"):
            code, reply, headers = await driver.post(batch(1), token=token)
            assert code == 401, token
            assert headers["WWW-Authenticate"] == "Bearer"
            assert "token" in reply["detail"]
        for below in ("", "/stages/priority"):
            assert (await driver.get(below, token="wrong"))[0] == 401


async def test_who_guesses_tokens_is_asked_to_wait(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        await driver.tell(1)
        codes = [(await driver.get(token=f"guess-{number}"))[0] for number in range(60)]
        assert codes[0] == 401
        code, reply, headers = await driver.post(batch(2), token="guess")
        assert code == codes[-1] == 429
        assert "see which pod" in reply["detail"]
        assert 1 <= int(headers["Retry-After"]) <= 10
        assert len(cluster.reviewed) <= 52
        await driver.tell(2)


async def test_a_token_for_another_audience_is_not_good(cluster: TokenCluster, names: list[str]) -> None:
    cluster.audiences = ["someone-else"]
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        code, reply, _ = await driver.post(batch(1))
        assert code == 401
        assert "for carbon-scheduler" in reply["detail"]


async def test_a_driver_reaches_its_own_application_only(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a", "b") as (service, _, (mine, other)):
        code, reply, _ = await mine.post(batch(1, job(0, *DIAMOND)), token=other.token)
        assert code == 403
        assert "pod ns/b-driver does not lead ns/a" in reply["detail"]
        for below in ("", "/stages/priority"):
            assert (await mine.get(below, token=other.token))[0] == 403
            assert (await mine.get(below))[0] == 200
        assert KEY not in service.store.state.stages


async def test_executors_and_strangers_are_kept_out(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, client, (driver,)):
        cluster.put("pods", executor("a", 1))
        await client.filter(executor("a", 1), names)
        tokens = [
            cluster.issue("a-exec-1"),
            cluster.issue("stranger"),
            cluster.issue("a-driver", namespace="elsewhere"),
        ]
        for token in tokens:
            assert (await driver.post(batch(1), token=token))[0] == 403, token


async def test_a_token_that_is_bound_to_no_pod_says_how_to_mount_one(
    cluster: TokenCluster, names: list[str]
) -> None:
    cluster.users["loose"] = {"username": "system:serviceaccount:ns:spark", "extra": {}}
    cluster.users["person"] = {**cluster.users["loose"], "username": "admin"}
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        for token in ("loose", "person"):
            code, reply, _ = await driver.post(batch(1), token=token)
            assert code == 403
            assert "serviceAccountToken" in reply["detail"]


async def test_a_driver_that_ended_is_not_heard(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (service, _, (driver,)):
        await driver.tell(1, job(0, *DIAMOND))
        seen = delivered(service, "a-driver")
        ended = cluster.pod("a-driver")
        ended["status"]["phase"] = "Succeeded"
        cluster.put("pods", ended)
        async with asyncio.timeout(PATIENCE_S):
            while "uid-a-driver" in service.store.state.pods:
                seen.clear()
                await seen.wait()
        assert (await driver.post(batch(2)))[0] == 403


async def seen(service: Service, cluster: TokenCluster, pod: Any) -> None:
    """Put a pod into the cluster and wait until the service has seen it so."""
    there, feed = asyncio.Event(), service.sinks.pods
    tell = feed.seen
    so = (pod["metadata"]["uid"], pod["status"]["phase"], "deletionTimestamp" in pod["metadata"])

    def look(item: PodFacts) -> None:
        tell(item)
        if (item.uid, item.phase, item.deleting) == so:
            there.set()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(feed, "seen", look)
        cluster.put("pods", pod)
        await asyncio.wait_for(there.wait(), 20)


async def test_a_driver_that_is_being_deleted_is_not_heard(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (service, _, (driver,)):
        await driver.tell(1, job(0, *DIAMOND))
        ending = cluster.pod("a-driver")
        ending["metadata"]["deletionTimestamp"] = "2026-03-01T01:00:00Z"
        await seen(service, cluster, ending)
        for code, reply in ((await driver.post(batch(2)))[:2], await driver.get()):
            assert code == 403
            assert "is being deleted" in reply["detail"]
        assert service.store.state.gangs[KEY].slots == []  # nothing is held for it any more


def bound(pod: Any, node: str = "n0") -> Any:
    return {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": {"phase": "Running"}}


async def test_the_labels_of_an_application_do_not_open_it(cluster: TokenCluster, names: list[str]) -> None:
    """Whoever may create a pod can copy a driver's labels, and be bound to a node by hand."""
    async with listening(cluster, names, "a") as (service, _, (mine,)):
        await mine.tell(1, job(0, *DIAMOND))
        before = service.store.state.stages.stages(KEY)
        await seen(service, cluster, bound(spark_pod("a", "driver", "copy")))
        copied = cluster.issue("copy")
        end = {"type": "JobEnd", "job_id": 0, "time_ms": 1, "succeeded": False}
        code, reply, _ = await mine.post(batch(1, end, process="p2"), token=copied)
        assert code == 403
        assert "another pod is its driver" in reply["detail"]
        for below in ("", "/stages/priority"):
            assert (await mine.get(below, token=copied))[0] == 403
        assert service.store.state.stages.stages(KEY) == before
        await mine.tell(2, progress(0, 1, 1_000))


async def test_a_driver_that_this_scheduler_did_not_admit_is_told_so(
    cluster: TokenCluster, names: list[str]
) -> None:
    """Bound by hand, and nothing says what it asks for: nobody leads the gang."""
    async with listening(cluster, names) as (service, client, _):
        await seen(service, cluster, bound(pod_of_driver("a")))
        assert service.store.state.gangs[KEY].owner_uid == ""
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{service.ports[-1]}"
            by_hand = Driver(session, url, "a", cluster.issue("a-driver"))
            for code, reply in ((await by_hand.post(batch(1)))[:2], await by_hand.get()):
                assert code == 403
                assert "was not admitted" in reply["detail"]
            cluster.put("configmaps", driver_config_map("a", 1))
            async with asyncio.timeout(PATIENCE_S):
                while (await by_hand.get())[0] != 200:
                    await client.get("/livez")


async def test_a_new_driver_pod_of_the_same_application_takes_over(
    cluster: TokenCluster, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(cluster, names, "a") as (service, client, (first,)):
        await first.tell(1, job(0, *DIAMOND))
        cluster.put("pods", executor("a", 1))  # keeps the gang
        gone = asyncio.Event()
        forget = service.sinks.pods.gone

        def forgotten(key: str) -> None:
            forget(key)
            gone.set()

        monkeypatch.setattr(service.sinks.pods, "gone", forgotten)
        cluster.delete("pods", "a-driver", "ns")
        await asyncio.wait_for(gone.wait(), 20)
        assert (await first.post(batch(2)))[0] == 403  # the token is still remembered, the pod is gone
        again = pod_of_driver("a")
        again["metadata"]["uid"] = "uid-again"
        await seen(service, cluster, again)
        (node,) = (await client.filter(again, names)).names or [""]
        assert await client.bind(again, node) == ""
        for below in ("", "/stages/priority"):
            assert (await first.get(below))[0] == 403
        token = cluster.issue("a-again", uid="uid-again")
        second = Driver(first.session, first.url.partition("/v1/")[0], "a", token)
        await second.tell(1, job(0, *DIAMOND), process="p2")
        assert (await first.get())[0] == 403


@asynccontextmanager
async def half_a_report(driver: Driver) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """A report of which the service has read half. What this yields sends the rest, and gives the status."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    body = batch(1, job(0, *DIAMOND))

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:20]
        begun.set()
        await go_on.wait()
        yield body[20:]

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {driver.token}"}
    async with aiohttp.ClientSession() as session:
        slow = asyncio.create_task(session.post(f"{driver.url}/events", data=slowly(), headers=headers))
        await begun.wait()
        async with asyncio.timeout(PATIENCE_S):
            while (answered := await driver.post(batch(1, process="p2")))[0] != 429:
                assert answered[0] == 200
        assert "one at a time" in answered[1]["detail"]

        async def rest() -> int:
            go_on.set()
            async with await slow as answer:
                return answer.status

        yield rest


async def test_a_report_of_a_driver_that_ends_meanwhile_is_not_taken(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (service, _, (driver,)):
        async with half_a_report(driver) as rest:
            ended = cluster.pod("a-driver")
            ended["status"]["phase"] = "Succeeded"
            await seen(service, cluster, ended)
            assert await rest() == 403
        assert KEY not in service.store.state.stages


async def test_without_the_api_server_drivers_are_asked_to_come_again(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, client, (driver,)):
        cluster.refuse = web.Response(status=500)
        code, reply, headers = await driver.post(batch(1))
        assert code == 503
        assert int(headers["Retry-After"]) >= 1
        assert "cannot be checked now" in reply["detail"]
        cluster.refuse = web.Response(status=403)
        code, reply, _ = await driver.post(batch(1))
        assert "create on tokenreviews" in reply["detail"]
        cluster.refuse = None
        await driver.tell(1, job(0, *DIAMOND))
        cluster.refuse = web.Response(status=500)
        await driver.tell(2)  # the token is remembered
        _, metrics = await client.get("/metrics")
        assert 'carbon_scheduler_token_reviews_total{result="failed"} 2.0' in metrics
        assert 'carbon_scheduler_token_reviews_total{result="accepted"} 1.0' in metrics


async def test_the_drivers_port_has_no_webhooks_and_the_webhooks_port_no_reports(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, client, (driver,)):
        root = driver.url.partition("/v1/")[0]
        for path in ("/filter", "/bind", "/metrics", "/v1/queue"):
            async with driver.session.post(root + path, data=b"{}") as answer:
                assert answer.status in (404, 405)
        async with driver.session.post(f"{client.url}/v1/applications/ns/a/events") as answer:
            assert answer.status in (404, 405)
        async with driver.session.get(f"{root}/openapi.json") as answer:
            document: dict[str, Any] = json.loads(await answer.text())
        assert {path.rsplit("/", 1)[1] for path in document["paths"]} == {"events", "{app_id}", "priority"}


async def test_one_report_of_an_application_is_read_at_a_time(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        async with half_a_report(driver) as rest:
            assert (await driver.post(batch(2)))[0] == 429
            assert await rest() == 200
        assert (await driver.post(batch(3)))[0] == 200


async def test_a_driver_of_another_scheduler_is_not_ours(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, _, (driver,)):
        foreign = spark_pod("f", "driver", "f-driver", schedulerName="default-scheduler", nodeName="n0")
        cluster.put("pods", foreign)
        url = driver.url.replace("/ns/a", "/ns/f")
        headers = {"Authorization": f"Bearer {cluster.issue('f-driver')}", "Content-Type": "application/json"}
        async with driver.session.post(f"{url}/events", data=batch(1), headers=headers) as answer:
            assert answer.status == 403
