"""The Helm chart makes what kustomize makes of the same files, and real Helm installs and removes it."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.e2e.harness.client import Object
from tests.e2e.harness.controlplane import ADMIN_TOKEN, TOOLS, VERSION, ControlPlane
from tests.e2e.harness.extender import install
from tests.e2e.harness.manifests import HOME, MANIFESTS, PART_OF, Overlay, undeploy
from tests.e2e.setup_tools import KUBERNETES

CHART = MANIFESTS / "chart"
GENERATED = re.compile(r"(carbon-scheduler-(?:carbon-)?(?:settings|environment|config))-[a-z0-9]{10}\b")
NAMED_LISTS = ("env", "volumeMounts", "volumes")
SET: dict[str, Any] = {"createNamespace": True}
ALL = {
    "carbon": ({"carbon": {"enabled": True}}, "carbon"),
    "postgresql": ({"ledger": {"kind": "postgresql"}}, "ledger-postgresql"),
    "volume": ({"ledger": {"kind": "volume"}}, "ledger-volume"),
    "quota": ({"capQuota": {"enabled": True}}, "cap-quota"),
    "namespaces": ({"namespaces": ["spark"]}, "namespaced-rights"),
    "power": ({"powerFromPrometheus": {"enabled": True}}, "power-from-prometheus"),
    "agent": ({"driverAgent": {"enabled": True}}, "driver-agent"),
    "rest": ({"driverRest": {"enabled": True}}, "driver-rest"),
    "gate": ({"holdGate": {"enabled": True}}, "hold-gate"),
    "monitoring": ({"monitoring": {"enabled": True}}, "monitoring"),
    "certificates": ({"certManager": {"enabled": True}}, "cert-manager"),
}


def helm(cluster: ControlPlane, *arguments: str, values: Object | None = None) -> str:
    """Output of Helm; raises with its message when it fails."""
    command = [str(TOOLS / "helm"), *arguments, "--namespace", HOME]
    environment = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig(ADMIN_TOKEN, "helm")),
        "HOME": str(cluster.work),
    }
    if values is not None:
        command += ["--values", "-"]
    text = yaml.safe_dump(values) if values is not None else None
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False, env=environment)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def template(cluster: ControlPlane, values: Object) -> list[Object]:
    version = KUBERNETES[VERSION][0]
    text = helm(cluster, "template", "test", str(CHART), "--kube-version", version, values=values)
    return [each for each in yaml.safe_load_all(text) if each]


def comparable(objects: list[Object]) -> dict[tuple[str, str, str], Object]:
    """Without what may differ: hashes in names and Helm's own labels. Lists of named things have no order."""
    by_name: dict[tuple[str, str, str], Object] = {}
    for original in objects:
        made: Object = yaml.safe_load(GENERATED.sub(r"\1", yaml.safe_dump(original)))
        for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            made["metadata"].get("labels", {}).pop(label, None)
        if made["kind"] == "Deployment":
            template = made["spec"]["template"]
            template["metadata"].get("annotations", {}).pop("checksum/config", None)
            template["metadata"] = {key: value for key, value in template["metadata"].items() if value}
            pod = template["spec"] = {key: value for key, value in template["spec"].items() if value != []}
            for holder in (pod, *pod.get("initContainers", []), *pod["containers"]):
                for key in NAMED_LISTS:
                    if key in holder:
                        holder[key] = sorted(holder[key], key=lambda item: item["name"])
        by_name[made["kind"], made["metadata"].get("namespace", ""), made["metadata"]["name"]] = made
    assert len(by_name) == len(objects)
    return by_name


def merged(*parts: Object) -> Object:
    """Values of several parts."""
    return {key: value for part in parts for key, value in part.items()}


@pytest.mark.parametrize("base", ["base", "separate-extender"])
def test_the_default_is_what_kustomize_makes(cluster: ControlPlane, base: str) -> None:
    values = SET | {"separateExtender": base != "base"}
    expected = comparable(Overlay(cluster, base).rendered())
    assert comparable(template(cluster, values)) == expected
    del expected["Namespace", "", HOME]
    assert comparable(template(cluster, values | {"createNamespace": False})) == expected


@pytest.mark.parametrize("base", ["base", "separate-extender"])
@pytest.mark.parametrize("ledger", ["postgresql", "volume"])
def test_every_component_is_what_kustomize_makes_of_it(cluster: ControlPlane, base: str, ledger: str) -> None:
    """All at once; the two ledgers exclude each other."""
    chosen = [each for name, each in ALL.items() if name not in ("postgresql", "volume") or name == ledger]
    folders = {path.parent.name for path in (MANIFESTS / "components").glob("*/kustomization.yaml")}
    assert {component for _, component in ALL.values()} == folders - {"kubernetes-before-1.33"}
    values = merged(SET, {"separateExtender": base != "base"}, *(part for part, _ in chosen))
    overlay = Overlay(cluster, base, [component for _, component in chosen])
    assert comparable(template(cluster, values)) == comparable(overlay.rendered())


def test_values_reach_every_container_and_namespace(cluster: ControlPlane) -> None:
    values = {
        "image": {"repository": "registry.example/cs", "tag": "7"},
        "kubeScheduler": {"repository": "registry.example/ks", "tag": "v1.37.0"},
        "carbon": {"enabled": True, "settings": {"zones": {"GB": {"source": "uk-carbon-intensity"}}}},
        "namespaces": ["team-a", "team-b"],
        "capQuota": {"enabled": True, "namespace": "team-a"},
        "settings": {"pools": {"packer": "distribute-evenly"}},
    }
    objects = template(cluster, values)
    pods = [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]
    images = {
        container["image"]
        for pod in pods
        for container in [*pod.get("initContainers", []), *pod["containers"]]
    }
    assert images == {"registry.example/cs:7", "registry.example/ks:v1.37.0"}
    where = [each["metadata"].get("namespace") for each in objects if each["kind"] == "RoleBinding"]
    assert sorted(where) == [HOME, "kube-system", "team-a", "team-a", "team-b"]
    maps = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    environment = maps["carbon-scheduler-environment"]
    assert environment["CARBON_SCHEDULER_KUBERNETES__NAMESPACES"] == "team-a,team-b"
    assert environment["CARBON_SCHEDULER_CAP__QUOTA__NAMESPACE"] == "team-a"
    assert yaml.safe_load(maps["carbon-scheduler-settings"]["settings.yaml"]) == values["settings"]
    settings = yaml.safe_load(maps["carbon-scheduler-carbon-settings"]["settings.yaml"])
    assert settings == values["carbon"]["settings"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"settings": {"pools": {"paker": "x"}}}, "paker"),
        ({"settings": {"kubernetes": {"claim_ttl_s": -1}}}, "claim_ttl_s"),
        ({"carbon": {"settings": {"zones": {"GB": {"source": "nowhere"}}}}}, "GB"),
        ({"ledger": {"kind": "mysql"}}, "ledger"),
        ({"imgae": {}}, "imgae"),
    ],
)
def test_values_that_no_service_would_take_are_refused(
    cluster: ControlPlane, values: Object, words: str
) -> None:
    with pytest.raises(RuntimeError, match=words):
        template(cluster, values)


def test_helm_installs_upgrades_and_leaves_nothing(cluster: ControlPlane) -> None:
    cluster.create_namespace(HOME)
    undeploy(cluster)
    try:
        helm(cluster, "install", "test", str(CHART))
        helm(cluster, "upgrade", "test", str(CHART), values={"carbon": {"enabled": True}})
        deployments = {each["metadata"]["name"] for each in cluster.admin.list("deployments", HOME)}
        assert deployments == {"carbon-scheduler", "carbon-scheduler-carbon"}
        helm(cluster, "uninstall", "test", "--wait")
        for kind in ("deployments", "services", "networkpolicies", "serviceaccounts", "roles"):
            assert not cluster.admin.list(kind, HOME, labels=PART_OF)
        for kind in ("clusterroles", "clusterrolebindings", "validatingadmissionpolicies"):
            assert not cluster.admin.list(kind, labels=PART_OF)
    finally:
        undeploy(cluster)
        install(cluster)
