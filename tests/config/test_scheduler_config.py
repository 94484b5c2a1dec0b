"""KubeSchedulerConfiguration files: what must be in them so that a gang is never admitted by accident."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from extender.core.leadership import LEADS_FOR_S
from extender.core.policy import Policy
from extender.settings.root import Settings
from tests.config.files import MANIFESTS, NAME, SCHEDULER_CONFIG, Object, containers, documents, of_kind

PLAIN = SCHEDULER_CONFIG / "carbon-scheduler.yaml"
MTLS = SCHEDULER_CONFIG / "carbon-scheduler-mtls.yaml"
WITHOUT_GATE = MANIFESTS / "components" / "kubernetes-before-1.33" / "without-gate.json"
IN_TREE_POINTS = 1200
SCORE_FACTOR = 10  # 100 (a plugin's largest score) / 10 (an extender's)

both = pytest.mark.parametrize("path", [PLAIN, MTLS], ids=lambda path: path.stem)


def read(path: Path) -> Object:
    (document,) = documents(path)
    return document


def extender(path: Path) -> Object:
    (entry,) = read(path)["extenders"]
    return entry


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)(ms|s|m)", text)
    assert match, f"not a plain duration: {text}"
    return int(match[1]) * {"ms": 0.001, "s": 1, "m": 60}[match[2]]


def test_every_configuration_is_looked_at_here():
    configurations = {
        path for path in SCHEDULER_CONFIG.glob("*.yaml") if read(path)["kind"] == "KubeSchedulerConfiguration"
    }
    assert configurations == {PLAIN, MTLS}


@both
def test_api_version_is_v1(path: Path):
    assert read(path)["apiVersion"] == "kubescheduler.config.k8s.io/v1"


@both
def test_the_lease_is_our_own(path: Path):
    election = read(path)["leaderElection"]
    assert election["leaderElect"] is True
    assert (election["resourceNamespace"], election["resourceName"]) == (NAME, NAME)


@both
def test_an_extender_counts_as_inactive_when_its_schedulers_lease_would_be_over(path: Path):
    election = read(path)["leaderElection"]
    assert seconds(election["leaseDuration"]) == LEADS_FOR_S
    assert seconds(election["renewDeadline"]) < seconds(election["leaseDuration"])


@both
def test_the_role_allows_exactly_that_lease(path: Path):
    election = read(path)["leaderElection"]
    (role,) = of_kind(MANIFESTS / "rbac", "Role")
    named = [rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule]
    assert role["metadata"]["namespace"] == election["resourceNamespace"]
    assert named == [[election["resourceName"]]]


@both
def test_profiles_are_those_the_extender_serves(path: Path):
    profiles = {profile["schedulerName"] for profile in read(path)["profiles"]}
    assert profiles == set(Settings().kubernetes.scheduler_names)
    assert profiles == Policy().scheduler_names


@both
def test_all_nodes_are_offered(path: Path):
    assert read(path)["percentageOfNodesToScore"] == 100


@both
def test_a_woken_pod_is_tried_soon(path: Path):
    config = read(path)
    assert 0 < config["podInitialBackoffSeconds"] <= config["podMaxBackoffSeconds"] <= 2


def test_a_refused_pod_waits_out_its_backoff():
    """From 1.33 on only with this gate off. Old versions do not know it: a component takes it away."""
    flag = "--feature-gates=SchedulerPopFromBackoffQ=false"
    (base,) = [each for each in of_kind(MANIFESTS / "base", "Deployment") if each["metadata"]["name"] == NAME]
    (separate,) = documents(MANIFESTS / "separate-extender" / "without-side-car.yaml")
    check, removal = json.loads(WITHOUT_GATE.read_text())
    for deployment in (base, separate):
        first = deployment["spec"]["template"]["spec"]["containers"][0]
        index = first["args"].index(flag)
        assert check["path"] == removal["path"] == f"/spec/template/spec/containers/0/args/{index}"
    assert (check["op"], check["value"], removal["op"]) == ("test", flag, "remove")


@both
def test_all_four_verbs_go_to_the_extender(path: Path):
    entry = extender(path)
    verbs = [entry[f"{verb}Verb"] for verb in ("filter", "prioritize", "bind", "preempt")]
    assert verbs == ["filter", "prioritize", "bind", "preempt"]


@both
def test_a_missing_extender_never_lets_pods_pass(path: Path):
    assert extender(path)["ignorable"] is False


@both
def test_names_are_sent_and_every_pod_is_asked_for(path: Path):
    assert extender(path)["nodeCacheCapable"] is True
    assert "managedResources" not in extender(path)


@both
def test_our_scores_can_outvote_all_others(path: Path):
    assert extender(path)["weight"] * SCORE_FACTOR * 10 > IN_TREE_POINTS


@both
def test_a_call_is_given_up_long_before_its_hold_expires(path: Path):
    timeout_s = seconds(extender(path)["httpTimeout"])
    assert 1 <= timeout_s <= 10
    assert timeout_s < Policy().hold_ttl_s / 2


@both
def test_https_comes_with_a_ca(path: Path):
    entry = extender(path)
    https = urlsplit(entry["urlPrefix"]).scheme == "https"
    assert bool(entry.get("enableHTTPS")) is https
    assert ("tlsConfig" in entry) is https
    if https:
        tls = entry["tlsConfig"]
        assert not tls.get("insecure")
        assert all(tls[name] for name in ("caFile", "certFile", "keyFile", "serverName"))


def test_plain_http_stays_on_loopback_where_the_extender_listens_by_default():
    url = urlsplit(extender(PLAIN)["urlPrefix"])
    defaults = Settings().http
    assert (url.hostname, url.port) == (defaults.address, defaults.port)
    assert url.hostname == "127.0.0.1"


def test_the_two_files_differ_only_in_how_the_extender_is_reached():
    plain, mtls = read(PLAIN), read(MTLS)
    for config in (plain, mtls):
        for key in ("urlPrefix", "enableHTTPS", "tlsConfig"):
            config["extenders"][0].pop(key, None)
    assert plain == mtls


def test_mutual_tls_names_the_service_and_the_mounted_files():
    url, tls = urlsplit(extender(MTLS)["urlPrefix"]), extender(MTLS)["tlsConfig"]
    (service,) = of_kind(MANIFESTS / "separate-extender", "Service")
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert url.hostname == tls["serverName"] == f"{name}.{namespace}.svc"
    assert url.port in {port["port"] for port in service["spec"]["ports"]}
    (patch,) = documents(MANIFESTS / "separate-extender" / "without-side-car.yaml")
    (mount,) = containers(patch)["kube-scheduler"]["volumeMounts"]
    assert {str(Path(tls[file]).parent) for file in ("caFile", "certFile", "keyFile")} == {mount["mountPath"]}
