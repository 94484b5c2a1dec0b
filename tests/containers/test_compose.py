"""docker-compose.yml, run: the small profile with our image only, the full one with a real control plane."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.containers.compose import Project
from tests.containers.podman import ROOT, exists, podman
from tests.e2e.harness.waiting import wait_for

GRAFANA = "docker.io/grafana/grafana"
SERVICES = (
    *("credentials", "etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "kwok"),
    *("carbon-api", "extender", "kube-scheduler", "applications", "prometheus"),
)
STARTING_S = 300.0
DASHBOARDS = ROOT / "manifests" / "components" / "monitoring" / "dashboards"


def test_the_small_profile_needs_nothing_but_our_image(project: Project):
    project.up("small", profile="small")
    wait_for(
        lambda: "finished" in project.logs("small"),
        "a finished application",
        120,
        lambda: project.logs("small"),
    )
    project.compose("--profile", "small", "stop", "--timeout", "10", "small")
    assert project.state("small")["ExitCode"] == 0


def test_the_full_profile_schedules_gangs_on_a_real_control_plane(
    project: Project, components: dict[str, str]
):
    project.variables |= components
    project.up(*SERVICES)
    wait_for(
        lambda: project.logs("applications").count(" finished after ") >= 2,
        "two finished applications",
        STARTING_S,
        lambda: "\n".join(project.logs(each)[-1500:] for each in SERVICES),
    )
    # 1. What ended well has ended well, and the rest still runs.
    for once in ("credentials", "kubectl"):
        assert project.state(once)["ExitCode"] == 0
    for service in set(SERVICES) - {"credentials", "kubectl"}:
        assert project.state(service)["Running"], project.logs(service)[-1500:]
    # 2. Carbon is known, so that something can be held and booked.
    zones = json.loads(project.get("API_PORT", "/v1/carbon"))["zones"]
    assert {each["zone"] for each in zones} == {"synthetic-solar", "synthetic-wind", "synthetic-coal"}
    assert all(each["g_per_kwh"] > 0 for each in zones)
    # 3. The command line answers inside, and kubectl in a container of its own.
    queue = podman(
        *("exec", project.container("extender"), "carbon-scheduler", "explain", "--help"),
    )
    assert "explain" in queue
    # 4. Prometheus reads both services.
    wait_for(lambda: up(project) == {"carbon-scheduler": 1, "carbon-api": 1}, "both targets up", 60)


def up(project: Project) -> dict[str, int]:
    answer = project.get("PROMETHEUS_PORT", f"/api/v1/query?query={quote('up')}")
    found = json.loads(answer or b'{"data": {"result": []}}')["data"]["result"]
    return {each["metric"]["job"]: int(each["value"][1]) for each in found}


def test_grafana_shows_the_dashboards(project: Project):
    if not any(exists(name) for name in (GRAFANA, f"{GRAFANA}:12.1.0")):
        pytest.skip(f"no image {GRAFANA}: Grafana comes from a registry only, and none is pulled here")
    project.variables["GRAFANA_IMAGE"] = f"{GRAFANA}:12.1.0"
    project.up("grafana")
    wanted = {json.loads(path.read_text())["uid"] for path in DASHBOARDS.glob("*.json")}

    def found() -> set[str]:
        return {
            each["uid"]
            for each in json.loads(project.get("GRAFANA_PORT", "/api/search?type=dash-db") or b"[]")
        }

    wait_for(lambda: found() == wanted, f"dashboards {wanted}", 120, lambda: project.logs("grafana"))
