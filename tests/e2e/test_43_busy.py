"""What waiting gangs cost on a busy cluster, where every event of others wakes refused pods."""

from __future__ import annotations

import json
import time

import yaml

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp, driver_pod
from tests.e2e.harness.churn import Churn
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import CONFIG, ROOT
from tests.e2e.harness.waiting import wait_for

POLICY, DELAY = "carbon-scheduler/carbon-policy", "carbon-scheduler/max-delay"
GATE = [{"name": "carbon-scheduler/hold"}]
BACKOFF_S = yaml.safe_load(CONFIG.read_text())["podMaxBackoffSeconds"]
RETRY_S = BACKOFF_S + 1.0  # kube-scheduler looks once a second for pods whose backoff is over
BIND_S = 0.5
MEASURED_S = 12.0


def job(name: str, namespace: str, delay: str, gated: bool = False) -> SparkApp:
    spec = {"schedulingGates": GATE} if gated else {}
    return SparkApp(name, namespace, annotations={POLICY: "threshold", DELAY: delay}, driver_spec=spec)


def test_refused_jobs_are_asked_for_at_the_pace_of_their_backoff_and_gated_ones_never(
    installed: ControlPlane, namespace: str, extender_of, start_grid
) -> None:
    """Four seconds an hour from the dirtiest one on; short delays end while it still gets cleaner."""
    client = installed.admin
    extender = extender_of(start_grid(2, 4.0), 2)
    parked = [job(f"parked-{n}", namespace, "1h") for n in range(4)]
    short = [job(f"short-{n}", namespace, f"{24 + n}s") for n in range(3)]
    gated = [job(f"gated-{n}", namespace, "1h", gated=True) for n in range(2)]
    short_gated = [job(f"short-gated-{n}", namespace, f"{24 + n}s", gated=True) for n in range(3)]
    for app in [*parked, *short, *gated, *short_gated]:
        SimulatedDriver(client, app, 0.0).submit()
    everyone = {app.app_id for app in [*parked, *short, *gated, *short_gated]}

    def held() -> set[str]:
        return {each["app_id"] for each in extender.get("/v1/carbon")["held"]}

    wait_for(lambda: everyone <= held(), "all held", 10)
    with Churn(client, namespace) as churn:
        wait_for(lambda: churn.made >= 20, "a busy cluster", 10)
        calls, made, at_s = extender.filter_calls("held-for-carbon"), churn.made, time.time()
        wait_for(lambda: time.time() - at_s >= MEASURED_S, "measured", MEASURED_S + 1)
        calls, made = extender.filter_calls("held-for-carbon") - calls, churn.made - made
        minutes = (time.time() - at_s) / 60
        assert everyone <= held()
        assert made >= 0.8 * MEASURED_S / 0.1, "it was busy while calls were counted"
        refused = len(parked) + len(short)
        # one more each: the window may begin just before a call
        assert calls / refused <= minutes * 60 / RETRY_S + 1, f"{calls / refused / minutes:.1f} a minute"

        released_s: dict[str, float] = {}
        started_s: dict[str, float] = {}

        def started() -> bool:
            still = held()
            for app in [*short, *short_gated]:
                if app.app_id not in still:
                    released_s.setdefault(app.name, time.time())
                if client.get("pods", app.driver_name, namespace)["spec"].get("nodeName"):
                    started_s.setdefault(app.name, time.time())
            return len(started_s) == len(short) + len(short_gated)

        wait_for(started, "the short ones started", 30, lambda: f"{released_s} {started_s}")
        late = {name: started_s[name] - released_s[name] for name in started_s}
        print("started after their release, in s:", late)
        assert max(late.values()) <= RETRY_S + BIND_S, late
        assert max(late[app.name] for app in short_gated) <= 2 * BIND_S, late
    for app in gated:
        pod = client.get("pods", app.driver_name, namespace)
        assert pod["spec"]["schedulingGates"] == GATE
        assert not any("wake" in key for key in pod["metadata"]["annotations"])


def test_the_component_gates_drivers_that_may_be_held_and_no_others(
    installed: ControlPlane, namespace: str, extender_of, start_grid
) -> None:
    """Without a word in their templates; the gate is taken off as if they had asked for it."""
    client = installed.admin
    extender = extender_of(start_grid(2), 2)
    policies = ROOT / "manifests" / "components" / "hold-gate" / "policy.yaml"
    probe = job("probe", namespace, "1h")

    def gates(app: SparkApp) -> list[dict[str, str]]:
        """What the API server would make of a driver; the pod is not kept."""
        body = json.dumps(driver_pod(app) | {"apiVersion": "v1", "kind": "Pod"})
        arguments = ("--dry-run=server", "--namespace", namespace, "--output", "json", "--filename", "-")
        made = installed.kubectl("create", *arguments, stdin=body)
        return json.loads(made)["spec"].get("schedulingGates", [])

    def held() -> list[dict[str, bool]]:
        return extender.get("/v1/carbon")["held"]

    installed.kubectl("apply", "--filename", policies)
    try:
        wait_for(lambda: gates(probe) == GATE, "the policy in force", 30)
        assert gates(job("gated-already", namespace, "1h", gated=True)) == GATE
        assert gates(SparkApp("no-delay", namespace)) == []
        assert gates(SparkApp("opted-out", namespace, annotations={POLICY: "none", DELAY: "1h"})) == []
        assert gates(SparkApp("not-ours", namespace, annotations={DELAY: "1h"}, scheduler="other")) == []
        labelled = {"metadata": {"labels": {"carbon-scheduler/hold-gate": "all"}}}
        client.patch("namespaces", namespace, labelled)
        wait_for(lambda: gates(SparkApp("by-default", namespace)) == GATE, "the label seen", 10)
        app = job("held", namespace, "10s")
        driver = SimulatedDriver(client, app, 0.0).submit()
        assert driver.driver["spec"]["schedulingGates"] == GATE
        at_once = SimulatedDriver(client, SparkApp("at-once", namespace), 0.0).submit()
        assert at_once.driver["spec"]["schedulingGates"] == GATE
        at_once.await_driver_running(5)
        assert driver.phase() == "Pending"
        wait_for(lambda: [each["gated"] for each in held()] == [True], "held by its gate", 5)
        driver.await_driver_running(20)
    finally:
        installed.kubectl("delete", "--filename", policies)
