"""`carbon-scheduler doctor`, and carbon zones in the health: findings follow what is really there."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extender.cli import app
from extender.runtime.doctor import Grade, examine, tls
from extender.settings.loading import load
from tests.cluster.apiserver import node
from tests.service.cluster import Cluster, ready


async def findings(cluster: Cluster, **flags: str) -> dict[str, list[tuple[str, str]]]:
    async with await cluster.client() as client:
        found = await examine(
            load(None, flags), client, namespace="carbon-scheduler", lease="carbon-scheduler", now=time.time()
        )
    out: dict[str, list[tuple[str, str]]] = {}
    for each in found:
        out.setdefault(each.subject, []).append((each.grade, each.text))
    return out


async def test_a_carbon_url_without_zones_says_how_to_label(cluster: Cluster):
    found = await findings(cluster, **{"carbon.url": "http://127.0.0.1:9"})
    ((grade, text),) = found["carbon zones"]
    assert grade == Grade.WARN
    assert "none of 3 nodes has a carbon zone: label them" in text
    assert found["carbon"] == [(Grade.WARN, "the carbon service at http://127.0.0.1:9 does not answer")]


async def test_nodes_without_a_zone_are_named(cluster: Cluster):
    labelled = node("n0")
    labelled["metadata"]["labels"] = {"carbon-scheduler/carbon-zone": "DE"}
    cluster.put("nodes", labelled)
    found = await findings(cluster, **{"carbon.url": "http://127.0.0.1:9"})
    assert "2 of 3 nodes have no carbon zone (n1, n2)" in found["carbon zones"][0][1]
    assert found["carbon"][0][0] == Grade.WARN


async def test_without_a_second_kube_scheduler_it_fails(cluster: Cluster):
    found = await findings(cluster)
    assert found["kube-scheduler"][0][0] == Grade.FAIL
    assert found["nodes"] == [(Grade.OK, "3 of 3 are ready and not cordoned")]
    assert found["carbon"] == [(Grade.OK, "no carbon.url: no carbon policy acts")]


async def test_health_says_that_no_node_has_a_zone(cluster: Cluster):
    async with ready(cluster, **{"carbon.url": "http://127.0.0.1:9"}) as (_, client):
        health = (await client.get("/healthz"))[1]
        assert any("none of 3 nodes has a carbon zone" in each for each in health["problems"])


def test_a_certificate_without_its_key_fails(tmp_path: Path):
    for name in ("cert", "key"):
        (tmp_path / name).write_text("nonsense")
    flags = {"http.tls.cert_file": str(tmp_path / "cert"), "http.tls.key_file": str(tmp_path / "key")}
    ((finding),) = list(tls(load(None, flags)))
    assert finding.grade == Grade.FAIL
    assert str(tmp_path / "key") in finding.text


async def test_the_command_answers_json_and_a_code(cluster: Cluster, tmp_path: Path):
    config = tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    words = ["doctor", "--kubeconfig", str(config), "-o", "json"]
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert done.exit_code == 1
    assert {each["subject"] for each in json.loads(done.output)} >= {"settings", "tls", "cluster"}


@pytest.mark.parametrize("ago_s, grade", [(1, Grade.OK), (600, Grade.FAIL)])
async def test_the_lease_tells_whether_kube_scheduler_runs(cluster: Cluster, ago_s: float, grade: Grade):
    from extender.runtime.doctor import _scheduler

    renewed = datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat()

    class Client:
        async def get(self, path: str) -> bytes:
            assert path.endswith("/namespaces/x/leases/y")
            return json.dumps({"spec": {"renewTime": renewed, "holderIdentity": "a"}}).encode()

    assert (await _scheduler(Client(), "x", "y", time.time())).grade == grade  # type: ignore[arg-type]
