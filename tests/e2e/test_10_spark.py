"""Real spark-submit, real Spark, stock kube-scheduler, our extender."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import RESERVATION
from tests.e2e.harness.observer import Observer
from tests.e2e.harness.spark import submit
from tests.e2e.harness.sparks import SPARK_3, SPARK_4, SparkHome
from tests.e2e.harness.waiting import holds_for, wait_for

both_versions = pytest.mark.parametrize("spark", [SPARK_3, SPARK_4], ids=lambda spark: spark.version)


@both_versions
def test_an_unannotated_word_count_runs_in_its_held_slots(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    spark: SparkHome,
    tmp_path: Path,
) -> None:
    """Scenario 1: schedulerName from pod template files, no annotation anywhere."""
    kubelet = real_nodes(3, cpu="2", memory="4Gi")
    watching = observer()
    extender = start_pair().extender
    result_file = tmp_path / "result.json"
    template = {"spec": {"schedulerName": "carbon-scheduler", "terminationGracePeriodSeconds": 5}}
    application = submit(
        installed,
        spark,
        f"words-{spark.version.replace('.', '-')}",
        namespace=namespace,
        args=[result_file, "500"],
        driver_template=template,
        executor_template=template,
    )
    driver = application.await_driver()
    assert "annotations" not in driver["metadata"]
    wait_for(lambda: len(application.executors()) == 2, "two executors", 120)
    names = [pod["metadata"]["name"] for pod in application.executors()]
    watching.await_bound(names, 60)
    bound = installed.admin.get("pods", driver["metadata"]["name"], namespace)
    reservation = json.loads(bound["metadata"]["annotations"][RESERVATION])
    slots = sorted(node for node, number in reservation["slots"] for _ in range(number))
    taken = sorted(str(pod["spec"]["nodeName"]) for name in names if (pod := watching.named(name)))
    assert taken == slots, "executors took the slots that were held for them"
    assert application.wait(180) == 0, kubelet.container_log(driver["metadata"]["name"])[-3000:]
    result = json.loads(result_file.read_text())
    assert result["counts"] == {"wind": 1100} | dict.fromkeys(("coal", "gas", "sun", "water"), 600)
    assert result["executors"] == 2
    application.await_phase("Succeeded", 30)
    wait_for(lambda: not extender.held(), "nothing held afterwards", 30, lambda: str(extender.held()))
    used = {node["name"]: node["used"].get("cpu", 0) for node in extender.get("/v1/nodes")}
    assert used == dict.fromkeys(used, 0)
    watching.assert_kept()


def test_two_gangs_that_do_not_fit_together_run_one_after_the_other(
    installed: ControlPlane,
    namespace: str,
    real_nodes,
    start_pair,
    observer: Callable[[], Observer],
    tmp_path: Path,
) -> None:
    """Scenario 2, with real processes: the second is refused as a whole and starts without any kick."""
    real_nodes(2, cpu="2", memory="4Gi")
    watching = observer()
    extender = start_pair().extender
    first = submit(
        installed,
        SPARK_4,
        "first",
        namespace=namespace,
        args=[tmp_path / "first.json", "500", "4", "2"],
        scheduler="carbon-scheduler",
    )
    one = first.await_driver()["metadata"]["name"]
    watching.await_bound([one])
    second = submit(
        installed,
        SPARK_3,
        "second",
        namespace=namespace,
        args=[tmp_path / "second.json", "500"],
        scheduler="carbon-scheduler",
    )
    two = second.await_driver()["metadata"]["name"]

    def refused() -> str:
        pod = installed.admin.get("pods", two, namespace)
        conditions = {each["type"]: each for each in pod["status"].get("conditions", [])}
        scheduled = conditions.get("PodScheduled", {})
        return scheduled.get("message", "") if scheduled.get("status") == "False" else ""

    wait_for(lambda: "no-room" in refused(), "second refused for want of room", 60, refused)
    queue = extender.get("/v1/queue")
    assert [entry["leader"] for entry in queue] == [two]
    holds_for(
        lambda: (
            not installed.admin.get("pods", two, namespace)["spec"].get("nodeName")
            or installed.admin.get("pods", one, namespace)["status"]["phase"] == "Succeeded"
        ),
        "second waits while the first runs",
        2,
    )
    assert first.wait(180) == 0
    assert second.wait(180) == 0
    for name in ("first", "second"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["executors"] == 2
    assert watching.bound_order.index(one) < watching.bound_order.index(two)
    assert len(watching.bound_order) == 6
    wait_for(lambda: not extender.held(), "nothing held afterwards", 30, lambda: str(extender.held()))
    watching.assert_kept()
