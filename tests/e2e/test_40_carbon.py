"""Jobs follow the grid under a real kube-scheduler: a day of an invented grid, two seconds an hour."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import yaml

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.client import Client
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import ROOT, Extender
from tests.e2e.harness.grid import Grid
from tests.e2e.harness.waiting import wait_for

RELEASED_WITHIN_S = 3.0
CALLS_WHEN_IDLE = 2.0
POLICY, DELAY = "carbon-scheduler/carbon-policy", "carbon-scheduler/max-delay"
DEADLINE, ESTIMATE = "carbon-scheduler/deadline", "carbon-scheduler/runtime-estimate"
GATE = {"schedulingGates": [{"name": "carbon-scheduler/hold"}]}


@pytest.fixture
def grid(start_grid: Callable[..., Grid]) -> Grid:
    """In the evening: it gets dirtier for seven hours."""
    return start_grid(19)


def job(name: str, namespace: str, delay: str, *, gated: bool = False, policy: str = "threshold") -> SparkApp:
    annotations = {POLICY: policy, DELAY: delay}
    return SparkApp(name, namespace, annotations=annotations, driver_spec=GATE if gated else {})


@dataclass(frozen=True)
class Due:
    """A job with a deadline. It runs `run_s`, a little less than the `estimate_s` it is announced with."""

    app: SparkApp
    deadline_s: float
    estimate_s: int
    run_s: float

    @property
    def latest_start_s(self) -> float:
        return self.deadline_s - self.estimate_s

    @classmethod
    def of(cls, name: str, namespace: str, policy: str, within_s: int, estimate_s: int, run_s: float) -> Due:
        """Due `within_s` from now, to the second that annotations are written with."""
        deadline_s = math.ceil(time.time()) + within_s
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(deadline_s))
        annotations = {POLICY: policy, DEADLINE: stamp, ESTIMATE: f"{estimate_s}s"}
        return cls(SparkApp(name, namespace, annotations=annotations), deadline_s, estimate_s, run_s)


def bound(client: Client, namespace: str) -> set[str]:
    """Names of jobs whose driver has a node."""
    pods = client.list("pods", namespace, "spark-role=driver")
    return {pod["metadata"]["labels"]["spark-app-name"] for pod in pods if pod["spec"].get("nodeName")}


def held(extender: Extender) -> set[str]:
    """Application ids that are held."""
    return {each["app_id"] for each in extender.get("/v1/carbon")["held"]}


def test_jobs_wait_for_clean_hours_and_start_before_their_latest_start(
    installed: ControlPlane, namespace: str, extender_of, grid: Grid
) -> None:
    extender = extender_of(grid, 3)

    apps = [job(f"refused-{n}", namespace, "40s") for n in range(4)]
    apps += [job(f"gated-{n}", namespace, "40s", gated=True) for n in range(2)]
    hurried = job("hurried", namespace, "4s")
    at_once = job("at-once", namespace, "40s", policy="none")
    submitted_s: dict[str, float] = {}
    for app in [*apps, hurried, at_once]:
        submitted_s[app.name] = time.time()
        SimulatedDriver(installed.admin, app, 0.0).submit()
    ids = {app.app_id: app.name for app in [*apps, hurried, at_once]}
    wait_for(lambda: {app.app_id for app in apps} <= held(extender), "all flexible jobs held", 10)

    parked_s: float | None = None
    parked_calls, calls_a_minute = math.nan, math.nan
    released_s: dict[str, float] = {}
    started_s: dict[str, float] = {}
    clean: list[float] = []
    dirty: list[float] = []
    end_s = time.time() + 60
    while len(started_s) < len(ids) and time.time() < end_s:
        view = extender.get("/v1/carbon")
        now = time.time()
        waiting = {ids[each["app_id"]] for each in view["held"] if each["app_id"] in ids}
        for name in set(ids.values()) - waiting - set(released_s):
            released_s[name] = now
        for name in bound(installed.admin, namespace) - set(started_s):
            started_s[name] = now
            if name not in ("hurried", "at-once"):
                clean.append(view["zones"][0]["g_per_kwh"])
        if len(waiting) == len(apps):
            dirty.append(view["zones"][0]["g_per_kwh"])
        if parked_s is None and {"hurried", "at-once"} <= set(started_s):
            parked_s = now + 2  # what these two woke has settled by then
        if parked_s is not None and now >= parked_s and len(waiting) == len(apps):
            if math.isnan(parked_calls):
                parked_s, parked_calls = now, extender.filter_calls()
            elif now - parked_s >= 5:
                calls = extender.filter_calls() - parked_calls
                calls_a_minute = calls / 4 * 60 / (now - parked_s)
        time.sleep(0.05)

    assert set(started_s) == set(ids.values())
    assert not math.isnan(calls_a_minute), "nothing was parked long enough to be measured"
    assert calls_a_minute <= CALLS_WHEN_IDLE
    late = {name: started_s[name] - released_s[name] for name in started_s}
    assert max(late.values()) <= RELEASED_WITHIN_S, late
    assert started_s["at-once"] - submitted_s["at-once"] <= RELEASED_WITHIN_S
    assert started_s["hurried"] - submitted_s["hurried"] <= 4 + 1 + RELEASED_WITHIN_S
    for app in apps:
        assert started_s[app.name] - submitted_s[app.name] <= 40 + RELEASED_WITHIN_S
    assert max(clean) < 240, "started in clean hours"
    assert max(dirty) > 360, "held through dirty ones"
    drivers = {app.driver_name for app in apps}
    for reason in ("HeldForCarbon", "Released"):
        wait_for(
            lambda reason=reason: drivers <= told(installed.admin, namespace, reason), f"{reason} told", 15
        )


def told(client: Client, namespace: str, reason: str) -> set[str]:
    """Names of the pods that an Event of the extender with this reason is about."""
    events = client.list("events", namespace)
    ours = [each for each in events if each.get("reportingComponent") == "carbon-scheduler/extender"]
    return {each["involvedObject"]["name"] for each in ours if each["reason"] == reason}


def test_jobs_with_deadlines_start_in_clean_hours_and_end_in_time(
    installed: ControlPlane, namespace: str, extender_of, start_grid
) -> None:
    """A day from 22 o'clock on: dirtiest after 6 s, cleanest after 26 s. Deadlines lie on both sides."""
    extender = extender_of(start_grid(22, 1.6), 3)
    patient = [
        Due.of("threshold", namespace, "threshold", 32, 5, 3),
        Due.of("threshold-later", namespace, "threshold", 37, 7, 4),
        Due.of("resume", namespace, "suspend-resume", 32, 5, 3),
        Due.of("resume-later", namespace, "suspend-resume", 37, 7, 4),
    ]
    hurried = [
        Due.of("hurried-threshold", namespace, "threshold", 14, 9, 4),
        Due.of("hurried-resume", namespace, "suspend-resume", 14, 9, 4),
    ]
    jobs = {due.app.name: due for due in [*patient, *hurried]}
    drivers = {name: SimulatedDriver(installed.admin, due.app, 0.0).submit() for name, due in jobs.items()}
    started_s: dict[str, float] = {}
    ended_s: dict[str, float] = {}
    intensity_at: dict[str, float] = {}
    last_s = max(due.deadline_s for due in jobs.values())
    while len(ended_s) < len(jobs) and time.time() < last_s:
        value = extender.get("/v1/carbon")["zones"][0]["g_per_kwh"]
        for name in bound(installed.admin, namespace) - set(started_s):
            started_s[name], intensity_at[name] = time.time(), value
        for name in set(started_s) - set(ended_s):
            if time.time() >= started_s[name] + jobs[name].run_s:
                drivers[name].finish()
                ended_s[name] = time.time()
        time.sleep(0.05)

    assert set(ended_s) == set(jobs)
    assert {
        name: at - jobs[name].latest_start_s
        for name, at in started_s.items()
        if at > jobs[name].latest_start_s
    } == {}
    assert {
        name: at - jobs[name].deadline_s for name, at in ended_s.items() if at > jobs[name].deadline_s
    } == {}
    clean = {due.app.name: intensity_at[due.app.name] for due in patient}
    assert max(clean.values()) < 250, clean
    dirty = {due.app.name: intensity_at[due.app.name] for due in hurried}
    assert min(dirty.values()) > 280, dirty


def test_when_the_carbon_source_is_killed_nothing_blocks(
    installed: ControlPlane, namespace: str, extender_of, grid: Grid
) -> None:
    extender = extender_of(grid, 2, carbon__stale_after_s="4")
    apps = [job("refused", namespace, "1h"), job("gated", namespace, "1h", gated=True)]
    for app in apps:
        SimulatedDriver(installed.admin, app, 0.0).submit()
    wait_for(lambda: {app.app_id for app in apps} <= held(extender), "both held", 10)
    assert not bound(installed.admin, namespace)
    grid.kill()
    wait_for(lambda: bound(installed.admin, namespace) == {"refused", "gated"}, "both started", 15)
    assert extender.ready()
    assert extender.get("/healthz")["carbon"]["problems"]


def test_the_budget_is_kept_as_a_quota_and_gone_on_exit(
    installed: ControlPlane, extender_of, grid: Grid
) -> None:
    """Under the rights of the repository's component, and no others."""
    component = ROOT / "manifests" / "components" / "cap-quota" / "rights.yaml"
    (namespace,) = {each["metadata"]["namespace"] for each in yaml.safe_load_all(component.read_text())}
    installed.create_namespace(namespace)
    installed.kubectl("apply", "--filename", component)
    options = {
        "cap.enabled": "true",
        "cap.min_executors": "1",
        "cap.max_executors": "10",
        "cap.executor_cores": "1",
    }
    options |= {"cap.quota.namespace": namespace, "cap.quota.spare_drivers": "2"}
    extender = extender_of(grid, 2, **options)

    def cores() -> float:
        quota = installed.admin.find("resourcequotas", "carbon-scheduler-cap", namespace)
        text = quota["spec"]["hard"]["cpu"] if quota else "0"
        return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)

    wait_for(lambda: 3 <= cores() <= 12, "a quota of the budget and two drivers", 20, extender.log_text)
    assert extender.get("/v1/carbon")["budget"] is not None
    extender.stop()
    wait_for(lambda: not cores(), "the quota gone on exit", 10, extender.log_text)
    installed.admin.delete("namespaces", namespace)
