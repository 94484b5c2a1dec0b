"""Lookups of people: stages of any application, what is withheld, and the OpenAPI document of both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extender.adapters.api.app import explained
from extender.adapters.api.models import Application
from extender.adapters.api.stages import StagePriorities
from extender.adapters.spark.agent.wire import decode_batch
from extender.adapters.spark.stage_events import stage_events
from extender.core.carbon.width.elastic import FOR_CARBON
from extender.core.events import StagesReported
from extender.core.facts import GangKey
from extender.core.outcomes import EXPLANATIONS
from extender.core.stages.graph import Limits
from extender.core.stages.store import NO_PRIORITIES, StageStore
from tests.drivers.reporting import KEY, NOW, running
from tests.drivers.support import DIAMOND, TokenCluster, batch, job, listening, progress
from tests.service.cluster import executor


async def test_of_an_unknown_application_nothing_is_said(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names) as (_, client, _):
        for below in ("", "/stages/priority"):
            code, answer = await client.get(f"/v1/applications/ns/nobody{below}")
            assert code == 404
            assert answer == {"detail": "no gang ns/nobody is known; see /v1/applications"}


async def test_an_application_without_a_report_counts_as_important(
    cluster: TokenCluster, names: list[str]
) -> None:
    async with listening(cluster, names, "a") as (_, client, _):
        _, table = await client.get("/v1/applications/ns/a/stages/priority")
        assert table == {
            "importance": NO_PRIORITIES.importance,
            "remaining_s": 0.0,
            "critical_path_s": 0.0,
            "stages": {},
            "ready": [],
        }
        _, found = await client.get("/v1/applications/ns/a")
        assert found["stages"] == found["withheld"] == []
        assert found["left_out"] == 0
        nothing = (
            "importance",
            "remaining_s",
            "critical_path_s",
            "heard_age_s",
            "target",
            "deferral",
            "hold",
        )
        assert [found[each] for each in nothing] == [None] * len(nothing)


@pytest.mark.parametrize("outcome", sorted(FOR_CARBON))
async def test_executors_that_wait_for_cleaner_power_are_named_with_the_reason(
    cluster: TokenCluster, names: list[str], outcome: Any
) -> None:
    async with listening(cluster, names, "a") as (service, client, _):
        cluster.put("pods", executor("a", 1))
        await client.filter(executor("a", 2), names)
        service.store.handlers.wakes.refused["uid-a-exec-2"] = outcome
        _, found = await client.get("/v1/applications/ns/a")
        assert found["withheld"] == [{"pod": "a-exec-2", "outcome": outcome, "reason": EXPLANATIONS[outcome]}]


async def test_plain_routes_are_in_the_openapi_document(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (_, client, _):
        _, document = await client.get("/openapi.json")
        path = document["paths"]["/v1/applications/{namespace}/{app_id}/stages/priority"]["get"]
        schema = document["components"]["schemas"]["StagePriorities"]
        _, table = await client.get("/v1/applications/ns/a/stages/priority")
        assert set(table) == set(schema["required"]) == set(schema["properties"])
        assert {each["name"] for each in path["parameters"]} == {"namespace", "app_id"}
        assert set(path["responses"]) == {"200", "404"}
        application = document["components"]["schemas"]["Application"]["properties"]
        assert {"stages", "importance", "target", "withheld", "deferral", "hold", "left_out"} <= set(
            application
        )


async def test_what_limits_leave_out_is_shown(cluster: TokenCluster, names: list[str]) -> None:
    async with listening(cluster, names, "a") as (service, client, _):
        service.store.state.stages = StageStore(limits=Limits(stages=3))
        several = [{**each, "parent_ids": []} for each in DIAMOND]
        events, _ = stage_events(decode_batch(batch(1, job(0, *several[:1]), job(1, *several))).events)
        service.store.apply(StagesReported(KEY, tuple(events)), NOW)
        _, found = await client.get("/v1/applications/ns/a")
        assert len(found["stages"]) == 1
        assert found["left_out"] == len(DIAMOND)
        _, metrics = await client.get("/metrics")
        assert f"carbon_scheduler_stages_left_out {len(DIAMOND)}.0" in metrics


def test_an_application_is_written_as_the_document_says() -> None:
    store = running("a")
    told = batch(1, job(0, *DIAMOND), progress(0, 1, 5_000))
    events, _ = stage_events(decode_batch(told).events)
    store.apply(StagesReported(KEY, tuple(events)), NOW)
    body = explained(store, KEY, NOW)
    assert len(json.loads(body)["stages"]) == len(DIAMOND)
    read = Application.model_validate_json(body, strict=True, extra="forbid")
    assert read.model_dump(mode="json") == json.loads(body)


def test_answers_for_gangs_that_are_gone_are_not_kept() -> None:
    store = running("a", "b")
    lookup = StagePriorities(store)

    def kept() -> set[GangKey]:
        return set(lookup._written)  # pyright: ignore[reportPrivateUsage]

    other = GangKey("ns", "b")
    assert lookup.answer(KEY)
    assert lookup.answer(other)
    store.state.gangs.pop(KEY)
    assert lookup.answer(KEY) is None
    assert kept() == {other}
    store.state.gangs[GangKey("ns", "c")] = store.state.gangs.pop(other)
    assert lookup.answer(GangKey("ns", "c"))
    assert kept() == {GangKey("ns", "c")}, "although nobody asked for the one that is gone"


def test_a_table_is_written_once_for_each_change() -> None:
    store = running("a", "b")
    lookup = StagePriorities(store)

    def report(body: bytes) -> None:
        events, _ = stage_events(decode_batch(body).events)
        store.apply(StagesReported(KEY, tuple(events)), NOW)

    report(batch(1, job(0, *DIAMOND)))
    first = lookup.answer(KEY)
    assert lookup.answer(KEY) is first
    other = lookup.answer(GangKey("ns", "b"))
    report(batch(2, progress(0, 1, 5_000)))
    assert lookup.answer(KEY) != first
    assert lookup.answer(GangKey("ns", "b")) is other
    assert lookup.answer(GangKey("ns", "c")) is None
