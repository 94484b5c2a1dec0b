"""Scenario 6: kill -9 at every step, and a change of leader, below the real kube-scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from extender.support.crash_points import POINTS
from tests.e2e.harness.bodies import SPARK_3_VERSION, SimulatedDriver, SparkApp
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import RESERVATION, Pair
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.waiting import holds_for, wait_for

KILLED = 128 + 9


def await_crash(pair: Pair) -> None:
    """The extender reaches its crash point."""
    process = pair.extender.process
    assert process is not None
    assert process.wait(60) == KILLED, process.log_tail()


def slots(cluster: ControlPlane, driver: SimulatedDriver) -> list[str]:
    """Nodes of the slots written on the driver pod, one a slot."""
    pod = cluster.admin.get("pods", driver.app.driver_name, driver.app.namespace)
    reservation = json.loads(pod["metadata"]["annotations"][RESERVATION])
    return sorted(node for node, number in reservation["slots"] for _ in range(number))


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_every_step(
    installed: ControlPlane,
    namespace: str,
    fake_nodes,
    start_pair,
    observer: Callable[[], Observer],
    point: str,
) -> None:
    """Twice: with the driver at that step, then with an executor. No slot is lost and none doubled."""
    fake_nodes(3, cpu="3", memory="16Gi")
    watching = observer()
    pair = start_pair(point, crash_at=point)
    gang = SimulatedDriver(installed.admin, SparkApp("gang", namespace, executors=3), by_hand=True).submit()
    rival = SimulatedDriver(installed.admin, SparkApp("rival", namespace, executors=5), by_hand=True)
    await_crash(pair)
    pair.extender.start()
    gang.await_driver_running()
    reserved = slots(installed, gang)
    assert len(reserved) == 3
    pair.extender.kill()
    pair.extender.start(crash_at=point)
    gang.post_executors(3)
    await_crash(pair)
    rival.submit()  # does not fit beside the gang, whoever remembers it
    pair.extender.start()
    gang.await_bound(3)
    assert sorted(pod["spec"]["nodeName"] for pod in gang.executors()) == slots(installed, gang)
    holds_for(lambda: rival.phase() == "Pending", "the rival waits", 0.5)
    gang.finish()
    rival.await_driver_running()
    rival.post_executors(5)
    rival.await_bound(5)
    wait_for(lambda: not pair.extender.held(), "nothing held", 30, lambda: str(pair.extender.held()))
    watching.assert_kept()


def test_leader_change(
    installed: ControlPlane,
    namespace: str,
    fake_nodes,
    start_pair,
    observer: Callable[[], Observer],
) -> None:
    """The leading kube-scheduler dies; the other pair goes on with what the first one reserved."""
    fake_nodes(3, cpu="3", memory="16Gi")
    watching = observer()
    first = start_pair("first", leader_elect=True)
    app = SparkApp("gang", namespace, executors=4, version=SPARK_3_VERSION)
    gang = SimulatedDriver(installed.admin, app, by_hand=True).submit()
    gang.await_driver_running()
    second = start_pair("second", leader_elect=True)
    gang.post_executors(1)
    gang.await_bound(1)
    waiting = SimulatedDriver(installed.admin, SparkApp("waiting", namespace, executors=5), by_hand=True)
    waiting.submit()
    wait_for(lambda: second.extender.held() == first.extender.held(), "both know the same", 10)

    first.scheduler.kill()
    gang.post_executors(3)
    gang.await_bound(4, 60)  # the lease of the dead leader runs out first
    assert sorted(pod["spec"]["nodeName"] for pod in gang.executors()) == slots(installed, gang)
    wait_for(lambda: not second.extender.held(), "nothing held", 10, lambda: str(second.extender.held()))
    assert first.extender.held() == second.extender.held()
    holds_for(lambda: waiting.phase() == "Pending", "the other gang waits", 0.5)
    gang.finish()
    waiting.await_driver_running()
    waiting.post_executors(5)
    waiting.await_bound(5)
    watching.assert_kept()
