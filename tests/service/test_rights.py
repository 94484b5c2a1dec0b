"""The rights of the service: each that is missing is named, with what it is for, where operators look."""

from __future__ import annotations

import asyncio
from typing import Any

from extender.adapters.kubernetes.rights import Right, RightsCheck
from extender.runtime.needed_rights import needed_rights
from extender.settings.loading import load
from tests.cluster.apiserver import ApiServer, answer, pod
from tests.options import dotted
from tests.patience import PATIENCE_S
from tests.service.cluster import Cluster, driver_config_map, ready, spark_pod

PATCH, BIND = Right("patch", "pods", "wakes"), Right("create", "pods/binding", "binds", namespace="spark")


async def test_a_missing_right_is_a_problem_in_health(cluster: Cluster):
    cluster.forbidden.add("create pods/binding")
    async with ready(cluster) as (service, client):
        await asyncio.wait_for(service.rights.looked.wait(), PATIENCE_S)
        health = (await client.get("/healthz"))[1]
        assert health["problems"] == ["missing right: create pods/binding (pods are bound by the extender)"]
        assert health["status"] == "degraded"


async def test_a_right_that_is_granted_later_is_no_problem_any_more():
    async with ApiServer() as server, await server.client() as client:
        server.forbidden |= {"patch pods", "create pods/binding spark"}
        check = RightsCheck(client, [PATCH, BIND])
        assert await check.check()
        assert check.missing == (PATCH, BIND)
        server.forbidden.clear()
        await check.check()
        assert check.missing == ()


async def test_what_the_api_server_does_not_say_is_as_it_was_before():
    async with ApiServer() as server, await server.client() as client:
        server.forbidden.add("patch pods")
        check = RightsCheck(client, [PATCH, BIND])
        server.faults["review"].extend([answer(500), answer(403)])
        assert not await check.check()
        assert check.missing == ()
        await check.check()
        server.faults["review"].extend([answer(500), answer(403)])
        await check.check()
        assert check.missing == (PATCH,)


def needed(**flags: Any) -> set[str]:
    return {str(right) for right in needed_rights(load(None, dotted(flags)))}


def test_options_need_rights_of_their_own():
    assert not any("tokenreviews" in right or "resourcequotas" in right for right in needed())
    assert "create tokenreviews.authentication.k8s.io" in needed(drivers__port="8422")
    quota = {
        right
        for right in needed(cap__enabled="true", cap__quota__namespace="team")
        if "resourcequotas" in right
    }
    assert quota == {
        "create resourcequotas in namespace team",
        *(
            f"{verb} resourcequotas carbon-scheduler-cap in namespace team"
            for verb in ("get", "patch", "delete")
        ),
    }


def test_named_namespaces_need_rights_in_them_only():
    rights = needed(kubernetes__namespaces="a,b", stages__switches="home/switches")
    assert {right for right in rights if "namespace" not in right} == {
        f"{verb} {kind}" for verb in ("list", "watch") for kind in ("pods", "nodes")
    }
    assert {f"patch pods in namespace {name}" for name in ("a", "b")} <= rights
    assert "list configmaps in namespace home" in rights
    assert "patch pods in namespace home" not in rights


async def test_with_named_namespaces_only_their_config_maps_are_read(cluster: Cluster, names: list[str]):
    cluster.put("pods", spark_pod("a", "driver", "a-driver"))
    cluster.put("configmaps", driver_config_map("a", executors=2))
    async with ready(cluster, kubernetes__namespaces="ns,empty") as (service, client):
        assert {each.name for each in service.reflectors} == {
            *("nodes", "pods"),
            *("config maps of ns", "config maps of empty"),
        }
        assert not [path for _, path, _ in cluster.requests if path == "/api/v1/configmaps"]
        stranger = pod("stranger", namespace="elsewhere", schedulerName="carbon-scheduler")
        result = await client.filter(stranger, names)
        assert result.reason.startswith("carbon-scheduler: other-namespace")
        inside = pod("inside", schedulerName="carbon-scheduler")
        assert len((await client.filter(inside, names)).names or ()) == 1
