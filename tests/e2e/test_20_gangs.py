"""Many gangs, and pods of the default scheduler beside them, on nodes that only pretend to run pods."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.harness.bodies import SPARK_3_VERSION, SPARK_4_VERSION, SimulatedDriver, SparkApp
from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.schedulers import default_scheduler
from tests.e2e.harness.waiting import holds_for, wait_for

GANGS, FIT, EXECUTORS = 50, 20, 4


def place(driver: SimulatedDriver) -> tuple[str, str]:
    """Place in the queue: the stamp has seconds only, so the uid breaks ties."""
    metadata = driver.driver["metadata"]
    return metadata["creationTimestamp"], metadata["uid"]


DAEMON: Object = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "daemon"},
    "spec": {
        "selector": {"matchLabels": {"app": "daemon"}},
        "template": {
            "metadata": {"labels": {"app": "daemon"}},
            "spec": {
                "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}]
            },
        },
    },
}
"""What every real node runs: a pod that is there for good."""


def plain_pod(name: str, cpu: str) -> Object:
    """A pod of somebody else."""
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container]}}


def test_fifty_gangs_at_once_into_room_for_twenty(
    installed: ControlPlane,
    namespace: str,
    fake_nodes,
    start_pair,
    observer: Callable[[], Observer],
) -> None:
    """Scenario 3: never a driver without room for its executors, and first come, first served."""
    fake_nodes(10, cpu=str(FIT * (1 + EXECUTORS) // 10), memory="64Gi")
    watching = observer()
    extender = start_pair().extender
    versions = (SPARK_3_VERSION, SPARK_4_VERSION)
    apps = [
        SparkApp(f"gang-{number:02d}", namespace, executors=EXECUTORS, version=versions[number % 2])
        for number in range(GANGS)
    ]
    with ThreadPoolExecutor(GANGS) as at_once:
        drivers = list(at_once.map(lambda app: SimulatedDriver(installed.admin, app).submit(), apps))
    by_name = {driver.app.driver_name: driver for driver in drivers}

    def running() -> list[SimulatedDriver]:
        return [by_name[name] for name in watching.bound_order if name in by_name]

    wait_for(lambda: len(running()) == FIT, "twenty gangs", 300, watching.describe)
    all_bound = FIT * (1 + EXECUTORS)
    wait_for(lambda: len(watching.bound_order) == all_bound, "all their executors", 300, watching.describe)
    holds_for(lambda: len(running()) == FIT, "no more than fit", 1)
    queue = extender.get("/v1/queue")
    assert len(queue) == GANGS - FIT
    assert {entry["outcome"] for entry in queue} <= {"no-room", "earlier-gang-waits", ""}

    # All are known now, so from here on the order is exactly that of the queue.
    expected = sorted((driver for driver in drivers if driver not in running()), key=place)
    assert max(stamp for stamp, _ in map(place, running())) <= place(expected[0])[0], "the oldest twenty run"
    # First one by one, where the order is exact, then five at a time. kube-scheduler looks every few seconds
    # for refused pods whose backoff is over, so of five that may start any may be the first.
    ended = 0
    for step in [1] * 5 + [5] * 9:
        for gang in running()[ended : ended + step]:
            gang.finish()
        ended += step
        started = min(FIT + ended, GANGS)
        wait_for(lambda: len(running()) >= started, f"{started} gangs started", 180)  # noqa: B023
        assert set(running()[FIT:]) == set(expected[: started - FIT])
    wait_for(lambda: len(watching.bound_order) == GANGS * (1 + EXECUTORS), "every executor ran", 400)
    wait_for(lambda: not extender.held(), "nothing held afterwards", 120, lambda: str(extender.held()))
    assert not extender.get("/v1/queue")
    assert [driver.failure for driver in drivers if driver.failure] == []
    watching.assert_kept()


def test_pods_of_the_default_scheduler_beside_gangs(
    installed: ControlPlane,
    namespace: str,
    fake_nodes,
    start_pair,
    start_scheduler,
    observer: Callable[[], Observer],
) -> None:
    """Scenario 4: it sees bound pods but not held room; slots whose room it takes move elsewhere."""
    nodes = fake_nodes(4, cpu="6", memory="64Gi")
    watching = observer()
    extender = start_pair(pools__packer="tightly-pack").extender
    start_scheduler(default_scheduler(installed))
    installed.kubectl("apply", "--namespace", namespace, "--filename", "-", stdin=json.dumps(DAEMON))
    wait_for(lambda: len(installed.admin.list("pods", namespace, "app=daemon")) == len(nodes), "daemons")
    watching.await_bound(pod["metadata"]["name"] for pod in installed.admin.list("pods", namespace))
    huge = SparkApp("huge", namespace, executors=2, executor_cores=6)
    SimulatedDriver(installed.admin, huge).submit()  # fits no node beside the daemon, and blocks nobody

    neighbours = [f"neighbour-{number}" for number in range(8)]
    for name in neighbours:
        installed.admin.create("pods", plain_pod(name, "500m"), namespace)
    watching.await_bound(neighbours)

    gang = SimulatedDriver(installed.admin, SparkApp("gang", namespace, executors=8)).submit()
    gang.await_bound(8)
    assert {pod["spec"]["nodeName"] for pod in gang.executors()} <= set(nodes)

    late = SimulatedDriver(installed.admin, SparkApp("late", namespace, executors=2), by_hand=True).submit()
    late.await_driver_running()
    held = {name: amounts["cpu"] for name, amounts in extender.held().items()}
    assert sum(held.values()) == 2000
    robbed = next(iter(held))
    amounts = next(node for node in extender.get("/v1/nodes") if node["name"] == robbed)
    thief = plain_pod("thief", f"{amounts['free']['cpu'] + amounts['reserved']['cpu']}m")
    thief["spec"]["nodeSelector"] = {"kubernetes.io/hostname": robbed}
    watching.check_gangs = False  # held room is taken now; that nodes are never over is still judged
    installed.admin.create("pods", thief, namespace)
    watching.await_bound(["thief"])
    wait_for(lambda: robbed not in extender.held(), "the slots moved off the full node", 15)
    assert sum(amounts["cpu"] for amounts in extender.held().values()) == 2000
    late.post_executors(2)
    late.await_bound(2)
    assert robbed not in {pod["spec"]["nodeName"] for pod in late.executors()}
    wait_for(lambda: not extender.held(), "nothing held afterwards", 120, lambda: str(extender.held()))
    assert {(each["leader"], each["outcome"]) for each in extender.get("/v1/queue")} == {
        (huge.driver_name, "exceeds-cluster")
    }
    watching.assert_kept()
