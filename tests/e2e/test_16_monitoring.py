"""Alert rules by promtool, dashboards on a real Prometheus, custom resources by their own definitions."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.controlplane import E2E, TOOLS, ControlPlane
from tests.e2e.harness.extender import RBAC, Extender
from tests.e2e.harness.grid import ZONE_LABELS, Grid
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.manifests import MANIFESTS, Overlay
from tests.e2e.harness.processes import Process, free_port
from tests.e2e.harness.waiting import wait_for

MONITORING = MANIFESTS / "components" / "monitoring"
RULES = yaml.safe_load((MONITORING / "rules.yaml").read_text())["spec"]
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
METRIC = re.compile(r"\b(?:carbon_scheduler|grid_intensity)_[a-z0-9_]+")
SAMPLES = re.compile(r"_(?:total|bucket)$")
PATH = f"{TOOLS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def tool(name: str) -> str:
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is not there: run tests/e2e/setup_tools.py (make e2e does)"
    return found


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[tuple[str, str]]:
    """Title and query of every panel."""
    return [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


def test_every_alert_is_tested_by_promtool_and_has_a_runbook(tmp_path: Path) -> None:
    tests = yaml.safe_load((E2E / "alerts.yaml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in alerts()}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
    shutil.copy(E2E / "alerts.yaml", tmp_path)
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "alerts.yaml"],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runbooks = (MANIFESTS.parent / "docs" / "runbooks.md").read_text()
    headings = re.findall(r"^### (\w+)$", runbooks, re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{rule['alert'].lower()}"


class Prometheus:
    """A real Prometheus that scrapes these addresses every second."""

    def __init__(self, work: Path, targets: list[str]) -> None:
        home = work / f"prometheus-{time.monotonic_ns()}"
        home.mkdir()
        scrape = {"job_name": "all", "static_configs": [{"targets": targets}]}
        document = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (home / "prometheus.yml").write_text(yaml.safe_dump(document))
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [tool("prometheus"), f"--config.file={home}/prometheus.yml"]
        command += [f"--storage.tsdb.path={home}/data", f"--web.listen-address=127.0.0.1:{port}"]
        self.process = Process("prometheus", command, work / "logs" / "prometheus.log")

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def query(self, expression: str) -> list[Any]:
        return self.ask(f"/api/v1/query?query={quote(expression)}")["result"]

    def known(self) -> bool:
        """Whether both targets were scraped often enough for rates."""
        try:
            return len(self.query("count_over_time(up[1m]) > 3 and up == 1")) == 2
        except OSError:
            return False


@pytest.fixture
def scraped(
    cluster: ControlPlane, work: Path, namespace: str, start_grid, fake_nodes, start_pair
) -> Iterator[tuple[Prometheus, Extender, Grid]]:
    """Prometheus beside an extender in the dirty hour: one gang runs, one waits for room, one is held."""
    grid: Grid = start_grid(2, hour_s=3600.0)
    fake_nodes(bodies=[node_body("fake-0", cpu="8", memory="32Gi", labels=ZONE_LABELS)])
    options = {"cap.enabled": "true", "cap.min_executors": "4", "cap.max_executors": "12"}
    extender = start_pair(carbon__url=grid.url, carbon__poll_s="0.5", **options).extender
    grid.await_known(extender)
    SimulatedDriver(cluster.admin, SparkApp("runs", namespace, 2)).submit().await_bound(2)
    held = {"carbon-scheduler/carbon-policy": "threshold", "carbon-scheduler/max-delay": "20h"}
    SimulatedDriver(cluster.admin, SparkApp("held", namespace, 1, annotations=held), by_hand=True).submit()
    SimulatedDriver(cluster.admin, SparkApp("large", namespace, 7), by_hand=True).submit()
    prometheus = Prometheus(work, [f"127.0.0.1:{extender.port}", grid.url.removeprefix("http://")])
    try:
        wait_for(prometheus.known, "targets scraped", 60, prometheus.process.log_tail)
        yield prometheus, extender, grid
    finally:
        prometheus.process.kill()


def test_every_query_of_dashboards_and_alerts_finds_what_it_asks_for(
    scraped: tuple[Prometheus, Extender, Grid],
) -> None:
    prometheus, extender, grid = scraped
    exposed = {name for page in (extender.get("/metrics"), grid_metrics(grid)) for name in families(page)}
    for rule in alerts():
        prometheus.query(rule["expr"])
    for title, expression in [*panels(), *((rule["alert"], rule["expr"]) for rule in alerts())]:
        named = {SAMPLES.sub("", name) for name in METRIC.findall(expression)}
        assert named, title
        assert named <= exposed, f"{title}: {named - exposed}"
    silent = {title for title, expression in panels() if not prometheus.query(expression)}
    assert silent == set(), "panels without a line"


def grid_metrics(grid: Grid) -> str:
    with urllib.request.urlopen(f"{grid.url}/metrics", timeout=10) as answer:
        return answer.read().decode()


def families(page: str) -> set[str]:
    """Names of metrics, with and without samples."""
    return {SAMPLES.sub("", name) for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)}


def test_custom_resources_fit_their_definitions(cluster: ControlPlane) -> None:
    definitions = sorted((TOOLS / "definitions").glob("*.yaml"))
    wanted = (
        "_servicemonitors",
        "_prometheusrules",
        "cert-manager.io_certificates",
        "cert-manager.io_issuers",
    )
    chosen = [path for path in definitions if any(part in path.name for part in wanted)]
    assert len(chosen) == len(wanted)
    for path in chosen:
        # server-side: kubectl's own annotation would be too long
        cluster.kubectl("apply", "--server-side", "--filename", path)
    cluster.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all")
    cluster.kubectl("apply", "--kustomize", RBAC)
    overlay = Overlay(cluster, "separate-extender", ["carbon", "monitoring", "cert-manager"])
    cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "--kustomize", overlay.folder())
