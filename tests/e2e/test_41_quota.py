"""The ResourceQuota of CAP on the real API server: promises are kept, replicas and editors change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.client import ApiError
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import ROOT, Extender
from tests.e2e.harness.grid import Grid
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.waiting import holds_for, wait_for

QUOTA = "carbon-scheduler-cap"
BUDGET, GANG = 2, 6
KEEPER = "carbon-scheduler/quota-keeper"


@pytest.fixture
def dirty(work: Path, request: pytest.FixtureRequest) -> Iterator[Grid]:
    """The invented grid in its dirtiest hour, which does not pass: the budget is at its minimum."""
    made = Grid(work, f"grid-{request.node.name.removeprefix('test_')[:20]}", 2, hour_s=3600.0)
    yield made
    made.kill()


@pytest.fixture
def team(installed: ControlPlane) -> Iterator[str]:
    """The namespace for which the repository's component gives the extender its rights."""
    component = ROOT / "manifests" / "components" / "cap-quota" / "rights.yaml"
    (name,) = {each["metadata"]["namespace"] for each in yaml.safe_load_all(component.read_text())}
    wait_for(lambda: not installed.admin.find("namespaces", name), "no leftover of another scenario", 60)
    installed.create_namespace(name)
    installed.kubectl("apply", "--filename", component)
    yield name
    installed.admin.delete_all("pods", name, grace_s=0)
    installed.admin.delete("namespaces", name)


def options(grid: Grid, namespace: str) -> dict[str, str]:
    """CAP with a budget of `BUDGET` executors in dirty hours, kept as a quota."""
    return {
        "carbon.url": grid.url,
        "carbon.poll_s": "0.5",
        "cap.enabled": "true",
        "cap.min_executors": str(BUDGET),
        "cap.max_executors": "12",
        "cap.executor_cores": "1",
        "cap.quota.executor_memory_gib": "1.4",
        "cap.quota.namespace": namespace,
        "cap.quota.spare_drivers": "1",
    }


class Quota:
    """What the API server says of it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self._plane, self._namespace = plane, namespace

    def cores(self) -> float:
        """Its limit; 0 without one."""
        quota = self._plane.admin.find("resourcequotas", QUOTA, self._namespace)
        text = quota["spec"]["hard"].get("cpu", "0") if quota else "0"
        return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)

    def keeper(self) -> str:
        """The replica that keeps it."""
        quota = self._plane.admin.find("resourcequotas", QUOTA, self._namespace)
        return quota["metadata"]["annotations"].get(KEEPER, "").partition(" ")[0] if quota else ""

    def edit(self, cpu: str) -> None:
        """As a user does it."""
        patch = {"spec": {"hard": {"cpu": cpu}}}
        self._plane.admin.patch("resourcequotas", QUOTA, patch, self._namespace)


def submitted(
    plane: ControlPlane, name: str, namespace: str, executors: int, most: int = 0
) -> SimulatedDriver:
    """An application whose driver runs; its executors are created by the test, as a retrying Spark would."""
    conf = {}
    if most:
        conf = {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.minExecutors": str(executors),
            "spark.dynamicAllocation.maxExecutors": str(most),
        }
    app = SparkApp(name, namespace, executors, conf=conf)
    driver = SimulatedDriver(plane.admin, app, 0.0, by_hand=True).submit()
    driver.await_driver_running()
    return driver


def created(driver: SimulatedDriver, count: int) -> int:
    """Creates executors until `count` were made or the quota refuses one; tells how many were made."""
    while len(driver.posted) < count:
        try:
            driver.post_executors(1)
        except ApiError as refusal:
            if "exceeded quota" in str(refusal):
                break
            raise
    return len(driver.posted)


def await_created(driver: SimulatedDriver, count: int, extender: Extender) -> None:
    """All of them within a few looks of the extender."""
    wait_for(lambda: created(driver, count) == count, f"{count} executors created", 15, extender.log_text)


def ready(start_pair: Callable, grid: Grid, namespace: str, name: str = "", **more: Any) -> Extender:
    """A running pair that knows the intensity."""
    extender = start_pair(name, **options(grid, namespace), **more).extender
    wait_for(
        lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, grid.process.log_tail
    )
    return extender


def bodies() -> list:
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    return [node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(2)]


def test_a_gang_above_the_budget_runs_fully_under_the_quota(
    installed: ControlPlane, team: str, fake_nodes, start_pair, dirty: Grid
) -> None:
    fake_nodes(bodies=bodies())
    extender = ready(start_pair, dirty, team)
    quota = Quota(installed, team)
    wait_for(lambda: quota.cores() == BUDGET + 1, "the budget and one driver", 20, extender.log_text)
    assert extender.get("/v1/carbon")["budget"] == BUDGET

    greedy = submitted(installed, "greedy", team, BUDGET, most=20)
    await_created(greedy, BUDGET, extender)
    greedy.await_bound(BUDGET)
    wait_for(lambda: quota.cores() == 1 + BUDGET + 1, "room for another driver", 10, extender.log_text)
    large = submitted(installed, "large", team, GANG)
    # Before the large one's executors come, the greedy one tries for more than the budget allows it.
    wait_for(lambda: created(greedy, 20) > BUDGET, "executors that wait for the budget", 15)
    await_created(large, GANG, extender)
    large.await_bound(GANG)
    assert len(greedy.bound_executors()) == BUDGET

    (lost, *_) = large.bound_executors()
    installed.admin.delete("pods", lost["metadata"]["name"], team)
    await_created(large, GANG + 1, extender)
    large.await_bound(GANG)


def test_the_quota_survives_an_editor_and_a_rollover(
    installed: ControlPlane, team: str, fake_nodes, start_pair, dirty: Grid
) -> None:
    fake_nodes(bodies=bodies())
    old = ready(start_pair, dirty, team, "old", leader_elect=True)
    quota = Quota(installed, team)
    limited = BUDGET + 1
    wait_for(lambda: quota.cores() == limited, "the budget and one driver", 20, old.log_text)
    first = quota.keeper()
    quota.edit("500")
    wait_for(lambda: quota.cores() == limited, "the limit again after an edit", 10, old.log_text)
    installed.admin.delete("resourcequotas", QUOTA, team)
    wait_for(lambda: quota.cores() == limited, "the limit again after a deletion", 10, old.log_text)

    new = ready(start_pair, dirty, team, "new", leader_elect=True)
    wait_for(lambda: quota.keeper() not in ("", first), "the new replica keeps it", 15, new.log_text)
    old.stop()
    holds_for(lambda: quota.cores() == limited, "the limit while the old one is gone", 5)
    new.stop()
    wait_for(lambda: not quota.cores(), "the quota gone with the last replica", 10, new.log_text)
