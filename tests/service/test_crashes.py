"""kill -9 at every point of admit, hold, bind, answer: no slot is lost and none is doubled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from extender.core.gangs.reservation import RESERVATION
from extender.core.invariants import violations
from extender.support import crash_points as faults
from tests.patience import PATIENCE_S
from tests.service.cluster import Client, Cluster, driver, driver_config_map, executor, ready


@asynccontextmanager
async def process(
    cluster: Cluster, directory: Path, crash_at: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Client]]:
    """`carbon-scheduler serve` as a process of its own, armed; its port is read from its log."""
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": cluster.url}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}],
                "current-context": "c",
            }
        )
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "extender.cli", "serve"),
        *("--kubernetes.kubeconfig", str(kubeconfig), "--http.port", "0"),
        env={**os.environ, faults.ENVIRONMENT: crash_at},
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stderr is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
            port = 0
            async for line in child.stderr:
                lines.append(line.decode())
                if "listening on" in lines[-1]:
                    port = int(lines[-1].rsplit(":", 1)[1])
                if ": ready: " in lines[-1]:
                    break
            assert port, "".join(lines)
            yield child, Client(session, f"http://127.0.0.1:{port}")
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


@pytest.mark.parametrize("point", faults.POINTS)
async def test_killed_at(point: str, cluster: Cluster, names: list[str], tmp_path: Path):
    cluster.put("configmaps", driver_config_map("a", executors=2))
    cluster.put("pods", driver("a"))
    async with process(cluster, tmp_path, point) as (child, client):
        try:
            (node,) = (await client.filter(driver("a"), names)).names or [""]
            if not point.startswith("filter"):
                await client.bind(driver("a"), node)
        except aiohttp.ClientError:
            pass  # the process died before it answered
        assert await asyncio.wait_for(child.wait(), PATIENCE_S) == -signal.SIGKILL
    bound = "nodeName" in cluster.pod("a-driver")["spec"]
    assert bound == (point in ("bind-written", "bind-recorded", "bind-answered"))
    async with ready(cluster) as (service, client):
        if not bound:
            assert not service.store.state.nodes.reserved.any()  # what was not bound is not held
        (node,) = (await client.filter(driver("a"), names)).names or [""]
        assert await client.bind(driver("a"), node) == ""
        assert cluster.pod("a-driver")["spec"]["nodeName"] == node
        reserved = json.loads(cluster.pod("a-driver")["metadata"]["annotations"][RESERVATION])
        assert sum(number for _, number in reserved["slots"]) == 2
        assert violations(service.store.state) == []
        for number in (1, 2):
            cluster.put("pods", executor("a", number))
            (node,) = (await client.filter(executor("a", number), names)).names or [""]
            assert await client.bind(executor("a", number), node) == ""
        assert not service.store.state.nodes.reserved.any()
        assert violations(service.store.state) == []
    assert cluster.count("bind") == 3


def test_an_unknown_crash_point_is_refused():
    with pytest.raises(ValueError, match="no such crash point; use one of filter-received"):
        faults.arm("nowhere")
