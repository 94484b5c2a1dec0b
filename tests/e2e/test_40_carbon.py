"""Jobs follow the grid under a real kube-scheduler: a day of an invented grid, two seconds an hour."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.client import Client
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import ROOT, Extender
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.waiting import wait_for

HOUR_S = 2.0
SPEED = 3600 / HOUR_S
RELEASED_WITHIN_S = 3.0
CALLS_WHEN_IDLE = 2.0
WARM_DAYS = 60
POLICY, DELAY = "carbon-scheduler/carbon-policy", "carbon-scheduler/max-delay"
DEADLINE, ESTIMATE = "carbon-scheduler/deadline", "carbon-scheduler/runtime-estimate"
GATE = {"schedulingGates": [{"name": "carbon-scheduler/hold"}]}


def intensity(hour: int) -> float:
    """Cleanest at 14, dirtiest at 2 o'clock: 200..400 g/kWh, no two days alike."""
    return round(300 + 90 * math.cos(2 * math.pi * (hour - 2) / 24) + 10 * math.sin(hour / 37), 2)


class Grid:
    """`carbon-scheduler carbon-api` that replays the invented grid, from `hour` of a day on."""

    def __init__(self, work: Path, name: str, hour: int, speed: float = SPEED) -> None:
        directory = work / name
        directory.mkdir()
        rows = ["Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO₂eq/kWh (Life cycle)"]
        for step in range((WARM_DAYS + 20) * 24):
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_767_225_600 + step * 3600))
            rows.append(f"{moment},Nowhere,Nowhere,XX,{intensity(step)}")
        (directory / "day.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        settings = {
            "zones": {"XX": {"source": "replay", "files": ["day.csv"]}},
            "replay": {"start": f"2026-03-02T{hour:02d}:00:00Z", "speed": speed},
        }
        (directory / "settings.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [Path(sys.executable).with_name("carbon-scheduler"), "carbon-api", "serve"]
        command += ["--config", directory / "settings.yaml", "--listen-port", str(port)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(work)}
        self.process = Process(name, command, work / f"{name}.log", environment)


@pytest.fixture
def grid(work: Path, request: pytest.FixtureRequest) -> Iterator[Grid]:
    made = Grid(work, f"grid-{request.node.name.removeprefix('test_')[:20]}", 19)
    yield made
    made.process.kill()


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


def filter_calls(extender: Extender, wanted: str = "") -> float:
    """Calls of filter so far, of all outcomes or of one."""
    text = extender.get("/metrics")
    samples = re.findall(
        r'^carbon_scheduler_requests_total\{outcome="([^"]*)",verb="filter"\} (\S+)$', text, re.M
    )
    assert samples, "filter was called"
    return sum(float(count) for outcome, count in samples if wanted in ("", outcome))


def test_jobs_wait_for_clean_hours_and_start_before_their_latest_start(
    installed: ControlPlane, namespace: str, fake_nodes, start_pair, grid: Grid
) -> None:
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    fake_nodes(bodies=[node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(3)])
    extender = start_pair(carbon_url=grid.url, carbon_poll_s="0.5").extender
    wait_for(
        lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, grid.process.log_tail
    )

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
                parked_s, parked_calls = now, filter_calls(extender)
            elif now - parked_s >= 5:
                calls = filter_calls(extender) - parked_calls
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


def test_jobs_with_deadlines_start_in_clean_hours_and_end_in_time(
    installed: ControlPlane, namespace: str, fake_nodes, start_pair, grid: Grid
) -> None:
    """A day from 19 o'clock on: dirtiest after 14 s, cleanest after 38 s. Deadlines lie on both sides."""
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    fake_nodes(bodies=[node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(3)])
    extender = start_pair(carbon_url=grid.url, carbon_poll_s="0.5").extender
    wait_for(
        lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, grid.process.log_tail
    )
    patient = [
        Due.of("threshold", namespace, "threshold", 46, 6, 4),
        Due.of("threshold-later", namespace, "threshold", 52, 8, 5),
        Due.of("resume", namespace, "suspend-resume", 46, 6, 4),
        Due.of("resume-later", namespace, "suspend-resume", 52, 8, 5),
    ]
    hurried = [
        Due.of("hurried-threshold", namespace, "threshold", 14, 8, 4),
        Due.of("hurried-resume", namespace, "suspend-resume", 14, 8, 4),
    ]
    jobs = {due.app.name: due for due in [*patient, *hurried]}
    drivers = {
        name: SimulatedDriver(installed.admin, due.app, 0.0).submit() for name, due in jobs.items()
    }
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
    assert {name: at - jobs[name].latest_start_s for name, at in started_s.items() if at > jobs[name].latest_start_s} == {}
    assert {name: at - jobs[name].deadline_s for name, at in ended_s.items() if at > jobs[name].deadline_s} == {}
    clean = {due.app.name: intensity_at[due.app.name] for due in patient}
    assert max(clean.values()) < 240, clean
    dirty = {due.app.name: intensity_at[due.app.name] for due in hurried}
    assert min(dirty.values()) > 280, dirty


def test_when_the_carbon_source_is_killed_nothing_blocks(
    installed: ControlPlane, namespace: str, fake_nodes, start_pair, grid: Grid
) -> None:
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    fake_nodes(bodies=[node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(2)])
    options = {"carbon_url": grid.url, "carbon_poll_s": "0.5", "carbon_stale_after_s": "4"}
    extender = start_pair(**options).extender
    wait_for(
        lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, grid.process.log_tail
    )
    apps = [job("refused", namespace, "1h"), job("gated", namespace, "1h", gated=True)]
    for app in apps:
        SimulatedDriver(installed.admin, app, 0.0).submit()
    wait_for(lambda: {app.app_id for app in apps} <= held(extender), "both held", 10)
    assert not bound(installed.admin, namespace)
    grid.process.kill()
    wait_for(lambda: bound(installed.admin, namespace) == {"refused", "gated"}, "both started", 15)
    assert extender.ready()
    assert extender.get("/healthz")["carbon"]["problems"]


def test_the_budget_is_kept_as_a_quota_and_gone_on_exit(
    installed: ControlPlane, fake_nodes, start_pair, grid: Grid
) -> None:
    """Under the rights of the repository's component, and no others."""
    component = ROOT / "manifests" / "components" / "cap-quota" / "rights.yaml"
    (namespace,) = {each["metadata"]["namespace"] for each in yaml.safe_load_all(component.read_text())}
    installed.create_namespace(namespace)
    installed.kubectl("apply", "--filename", component)
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    fake_nodes(bodies=[node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(2)])
    options = {"cap": "true", "cap_min_executors": "1", "cap_max_executors": "10", "cap_executor_cores": "1"}
    options |= {"cap_quota_namespace": namespace, "cap_quota_spare_drivers": "2", "carbon_poll_s": "0.5"}
    extender = start_pair(carbon_url=grid.url, **options).extender

    def cores() -> float:
        quota = installed.admin.find("resourcequotas", "carbon-scheduler-cap", namespace)
        text = quota["spec"]["hard"]["cpu"] if quota else "0"
        return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)

    wait_for(lambda: 3 <= cores() <= 12, "a quota of the budget and two drivers", 20, extender.log_text)
    assert extender.get("/v1/carbon")["budget"] is not None
    extender.stop()
    wait_for(lambda: not cores(), "the quota gone on exit", 10, extender.log_text)
    installed.admin.delete("namespaces", namespace)


def test_gated_jobs_cost_no_calls_on_a_busy_cluster(
    installed: ControlPlane, namespace: str, fake_nodes, start_pair, grid: Grid
) -> None:
    """Pods come and go beside them; refused pods would be tried again with each of those events."""
    labels = {"carbon-scheduler/carbon-zone": "XX"}
    fake_nodes(bodies=[node_body(f"fake-{n}", cpu="16", memory="64Gi", labels=labels) for n in range(2)])
    extender = start_pair(carbon_url=grid.url, carbon_poll_s="0.5").extender
    wait_for(
        lambda: not extender.get("/v1/carbon")["zones"][0]["stale"], "a value", 30, grid.process.log_tail
    )
    apps = [job(f"parked-{n}", namespace, "1h", gated=True) for n in range(4)]
    for app in apps:
        SimulatedDriver(installed.admin, app, 0.0).submit()
    wait_for(lambda: {app.app_id for app in apps} <= held(extender), "all held", 10)
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "1", "memory": "64Mi"}}}
    spec = {"schedulerName": "carbon-scheduler", "containers": [container]}
    began_s, made = time.time(), 0
    while time.time() - began_s < 10:
        name = f"busy-{made}"
        installed.admin.create("pods", {"metadata": {"name": name}, "spec": spec}, namespace)
        made += 1
        if made > 10:
            installed.admin.delete("pods", f"busy-{made - 10}", namespace)
        time.sleep(0.1)
    assert filter_calls(extender, "single-placed") >= made / 2, "the cluster was busy"
    assert filter_calls(extender, "held-for-carbon") == 0
    assert {app.app_id for app in apps} <= held(extender)
