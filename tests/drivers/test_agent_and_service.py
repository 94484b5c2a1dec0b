"""The agent's own code talks to a running service: over HTTP, over TLS, through a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from extender.adapters.spark.agent import sitecustomize as agent
from extender.core.facts import GangKey
from extender.core.stages.stage import StageState
from tests.drivers.support import TokenCluster, listening
from tests.wire.serving import Authority

KEY = GangKey("ns", "a")


def info(number: int, *parents: int) -> dict[str, Any]:
    """A stage in Spark's JSON."""
    return {
        "Stage ID": number,
        "Stage Attempt ID": 0,
        "Stage Name": f"stage {number}",
        "Number of Tasks": 2,
        "Parent IDs": parents,
        "RDD Info": [{"RDD ID": 10 * number + 1}, {"RDD ID": 10 * number}],
        "Submission Time": 2_000,
    }


def job_start(*stages: dict[str, Any]) -> str:
    return json.dumps({"Job ID": 0, "Submission Time": 1_000, "Stage Infos": stages, "Properties": {}})


def task_end(number: int) -> str:
    times = {"Launch Time": 2_000, "Finish Time": 3_500}
    return json.dumps({"Stage ID": number, "Task Info": times, "Task End Reason": {"Reason": "Success"}})


class Wishes:
    """Steering that only remembers what was wished for."""

    pending = False

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def heard(self, kind: str, event: Any) -> None:
        pass

    def wish(self, reply: dict[str, Any]) -> None:
        self.last = reply


class Rig:
    """An agent with a clock set by hand; Spark's events arrive as JSON already."""

    def __init__(self, url: str, token: Path, **environ: str) -> None:
        self.now_s = 100.0
        self.wishes = Wishes()
        settings = agent.Settings(
            {
                "CARBON_SCHEDULER_URL": url,
                "CARBON_SCHEDULER_NAMESPACE": "ns",
                "CARBON_SCHEDULER_TOKEN_FILE": str(token),
                **environ,
            }
        )
        self.agent = agent.Agent(
            settings, "a", str, self.wishes, clock=lambda: self.now_s, jitter=lambda: 1.0
        )

    async def turn(self) -> None:
        """Report what is there, on a thread as in a driver."""
        self.now_s += 400.0
        await asyncio.to_thread(self.agent.step)


async def test_the_agent_is_understood_and_steered(
    cluster: TokenCluster, names: list[str], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    async with listening(cluster, names, "a", stages__order="true") as (service, _, (driver,)):
        token.write_text(driver.token + "\n")
        rig = Rig(driver.url.partition("/v1/")[0], token)
        rig.agent.put("JobStart", job_start(info(0), info(1, 0)))
        rig.agent.put("StageSubmitted", json.dumps({"Stage Info": info(0)}))
        for _ in range(2):
            rig.agent.put("TaskEnd", task_end(0))
        await rig.turn()
        assert rig.agent.healthy
        first, second = service.store.state.stages.stages(KEY)
        assert (first.state, first.finished, first.task_s) == (StageState.RUNNING, 2, 1.5)
        assert (second.parents, second.importance) == ((1,), 1.0)
        assert rig.wishes.last["priorities"] == {"1": 0}
        done = {**info(0), "Completion Time": 4_000}
        rig.agent.put("StageCompleted", json.dumps({"Stage Info": done}))
        rig.agent.put("JobEnd", json.dumps({"Job ID": 0, "Completion Time": 5_000, "Job Result": {}}))
        await rig.turn()
        assert {each.state for each in service.store.state.stages.stages(KEY)} == {
            StageState.COMPLETE,
            StageState.SKIPPED,
        }
        assert rig.agent.updates.dropped == 0


async def test_the_agent_keeps_what_it_has_to_say_until_it_is_let_in(
    cluster: TokenCluster, names: list[str], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    async with listening(cluster, names, "a") as (service, _, (driver,)):
        token.write_text("wrong")
        rig = Rig(driver.url.partition("/v1/")[0], token)
        rig.agent.put("JobStart", job_start(info(0)))
        await rig.turn()
        assert not rig.agent.healthy
        assert KEY not in service.store.state.stages
        token.write_text(driver.token)  # the kubelet renews it
        await rig.turn()
        assert rig.agent.healthy
        assert len(service.store.state.stages.stages(KEY)) == 1
        assert rig.agent.updates.dropped == 0


async def test_over_tls_drivers_need_no_certificate_of_their_own(
    cluster: TokenCluster, names: list[str], tmp_path: Path
) -> None:
    authority, token = Authority(tmp_path), tmp_path / "token"
    certificate, key = authority.issue("extender", "subjectAltName=IP:127.0.0.1")
    flags = {"http.tls.cert_file": str(certificate), "http.tls.key_file": str(key)}
    # kube-scheduler must show one.
    flags["http.tls.client_ca_file"] = str(authority.ca)
    async with listening(cluster, names, **flags) as (service, _, _):
        token.write_text(cluster.issue("a-driver"))
        url = f"https://127.0.0.1:{service.ports[-1]}"
        rig = Rig(url, token, CARBON_SCHEDULER_CA_FILE=str(authority.ca))
        rig.agent.put("JobStart", job_start(info(0)))
        await rig.turn()
        # Its token was looked at; it is refused only because its pod leads nothing here.
        assert [each["spec"]["token"] for each in cluster.reviewed] == [token.read_text()]
        assert not rig.agent.healthy
