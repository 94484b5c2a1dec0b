"""Every base and component, applied as users apply them, runs under the identities that they give."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.harness.bodies import SimulatedDriver, SparkApp
from tests.e2e.harness.client import JSON_PATCH, MERGE, STRATEGIC_MERGE, ApiError, Client, Object
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.extender import AGENT_RIGHTS, RBAC, install
from tests.e2e.harness.kwok import node_body
from tests.e2e.harness.manifests import HOME, MANIFESTS, PART_OF, Overlay, RunningPods, ask, undeploy
from tests.e2e.harness.schedulers import default_scheduler
from tests.e2e.harness.waiting import wait_for

TEAM = "spark"  # the namespace that the components name
EXTENDER = "carbon-scheduler-extender"
ZONE = "synthetic-solar"
TOGETHER = (
    "cap-quota",
    "carbon",
    "driver-agent",
    "driver-rest",
    "hold-gate",
    "ledger-volume",
    "namespaced-rights",
)
APPS = {"apps": "fake"}
Deploy = Callable[[Overlay], RunningPods]


@pytest.fixture
def team(cluster: ControlPlane) -> Iterator[str]:
    """The namespace of the applications, which users create before they apply the components."""
    wait_for(lambda: not cluster.admin.find("namespaces", TEAM), "no leftover of another scenario", 60)
    cluster.create_namespace(TEAM)
    yield TEAM
    cluster.admin.delete_all("pods", TEAM, grace_s=0)
    cluster.admin.delete("namespaces", TEAM)


@pytest.fixture
def volume(cluster: ControlPlane) -> Iterator[None]:
    """What a storage class would make; its contents are a directory of the process kubelet."""
    body: Object = {
        "metadata": {"name": "ledger"},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nowhere"},
        },
    }
    cluster.admin.ensure("persistentvolumes", body)
    yield
    cluster.admin.delete("persistentvolumes", "ledger")


@pytest.fixture
def deploy(cluster: ControlPlane, real_nodes, start_scheduler) -> Iterator[Deploy]:
    """`deploy(overlay)`: applied, and its pods run; everything is taken away after the test."""
    start_scheduler(default_scheduler(cluster))
    bodies = [node_body(f"home-{number}", cpu="4", memory="8Gi") for number in range(2)]
    pods = RunningPods(cluster, real_nodes(bodies=bodies, prefix="home"))
    # Other scenarios have the rights of this component beside those of the plain roles.
    cluster.kubectl("delete", "--ignore-not-found", "--filename", AGENT_RIGHTS)

    def start(overlay: Overlay) -> RunningPods:
        overlay.apply()
        return pods

    yield start
    undeploy(cluster)
    install(cluster)


def certificates(cluster: ControlPlane) -> None:
    """The bundled one-shot, as its header says."""
    script = MANIFESTS / "separate-extender" / "make-certificates.sh"
    secrets = subprocess.run([str(script)], check=True, text=True, capture_output=True).stdout
    cluster.kubectl("apply", "--kustomize", RBAC)
    cluster.kubectl("apply", "--filename", "-", stdin=secrets)


def run_gang(cluster: ControlPlane, namespace: str, name: str) -> SimulatedDriver:
    """A gang that runs on the fake nodes."""
    conf = {f"spark.kubernetes.node.selector.{key}": value for key, value in APPS.items()}
    selected = {"nodeSelector": dict(APPS)}
    app = SparkApp(name, namespace, 2, conf=conf, driver_spec=selected, executor_spec=selected)
    driver = SimulatedDriver(cluster.admin, app).submit()
    driver.await_bound(2)
    return driver


def health(pods: RunningPods) -> list[dict[str, Any]]:
    return [ask(pod, "/healthz") for pod in pods.of("extender")]


# -- bases and components ------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["base", "separate-extender"])
def test_a_gang_runs_on_what_users_install(
    cluster: ControlPlane, team: str, deploy: Deploy, fake_nodes, base: str
) -> None:
    if base == "separate-extender":
        certificates(cluster)
    pods = deploy(Overlay(cluster, base))
    pods.await_ready()
    assert all(each["status"] == "ok" for each in health(pods)), health(pods)
    fake_nodes(bodies=[node_body("fake-0", cpu="16", memory="64Gi", labels=APPS)])
    run_gang(cluster, team, "plain")


@pytest.mark.parametrize("base", ["base", "separate-extender"])
def test_components_work_on_both_bases(
    cluster: ControlPlane, team: str, deploy: Deploy, fake_nodes, volume: None, base: str
) -> None:
    certificates(cluster)
    pods = deploy(Overlay(cluster, base, TOGETHER))
    pods.await_ready()
    labels = {**APPS, "carbon-scheduler/carbon-zone": ZONE}
    fake_nodes(bodies=[node_body("fake-0", cpu="16", memory="64Gi", labels=labels)])
    run_gang(cluster, team, "all")
    (pod,) = pods.of("extender")

    def signal() -> bool:
        zones = {each["zone"]: each for each in ask(pod, "/v1/carbon")["zones"]}
        return ZONE in zones and not zones[ZONE]["stale"]

    wait_for(signal, "a value of the synthetic grid", 60, pods.explain)
    (state,) = health(pods)
    assert state["accounting"] == {**state["accounting"], "writes": True, "problem": ""}
    wait_for(
        lambda: cluster.admin.find("resourcequotas", "carbon-scheduler-cap", team),
        "the quota of the budget",
        30,
        pods.explain,
    )
    wait_for(lambda: health(pods)[0]["status"] == "ok", "no problem", 30, lambda: str(health(pods)))
    assert state["on"] == {"pcaps": False, "stage_order": True, "executor_target": True}
    assert status_without_token(cluster, pod) == 401


def status_without_token(cluster: ControlPlane, pod: Object) -> int:
    """Of the port for drivers, as an agent reaches it: by the Service's name, checked by the authority."""
    secret = cluster.admin.get("secrets", "carbon-scheduler-extender-tls", HOME)
    authority = base64.b64decode(secret["data"]["ca.crt"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection((pod["status"]["podIP"], 8422), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=f"carbon-scheduler-drivers.{HOME}.svc") as channel,
    ):
        channel.sendall(b"GET /v1/applications/a/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return int(channel.recv(100).split()[1])


def test_a_missing_right_is_a_problem_that_operators_see(
    cluster: ControlPlane, team: str, deploy: Deploy
) -> None:
    pods = deploy(Overlay(cluster, "base", ["cap-quota"]))
    cluster.admin.delete("rolebindings", "carbon-scheduler-cap-quota", team)
    cluster.admin.delete_all("pods", HOME, grace_s=0)
    pods.await_ready()
    wanted = f"missing right: create resourcequotas in namespace {team}"
    wait_for(
        lambda: all(any(wanted in each for each in state["problems"]) for state in health(pods)),
        "the problem in /healthz",
        60,
        lambda: str(health(pods)),
    )


def test_postgresql_and_both_replicas_of_the_base(cluster: ControlPlane, deploy: Deploy) -> None:
    """The URL comes from the Secret; without a server at its end the extenders say so, and schedule."""
    overlay = Overlay(cluster, "base", ["ledger-postgresql"])
    url = "postgresql://user:hidden@127.0.0.1:1/ledger"
    cluster.kubectl("apply", "--kustomize", RBAC)
    secret = {"metadata": {"name": "carbon-scheduler-ledger"}, "stringData": {"url": url}}
    cluster.admin.ensure("secrets", secret, HOME)
    pods = deploy(overlay)
    pods.await_ready()
    for state in health(pods):
        assert "127.0.0.1" in state["accounting"]["problem"], state
        assert "hidden" not in json.dumps(state)


def test_nothing_stays_behind_between_the_bases(cluster: ControlPlane, deploy: Deploy) -> None:
    """Whoever moves from the base to the separate extender and back has the rights of where they are."""
    certificates(cluster)
    separate, base = Overlay(cluster, "separate-extender"), Overlay(cluster, "base")
    for overlay in (base, separate):
        deploy(overlay)
        there = {subjects(each) for each in bindings(cluster)}
        assert there == {
            subjects(each)
            for each in overlay.rendered()
            if each["kind"].endswith("Binding") and "subjects" in each
        }


def bindings(cluster: ControlPlane) -> list[Object]:
    kinds = ("rolebindings", "clusterrolebindings")
    return [each for kind in kinds for each in cluster.admin.list(kind, labels=PART_OF)]


def subjects(binding: Object) -> tuple[str, frozenset[str]]:
    names = frozenset(each["name"] for each in binding.get("subjects") or [])
    return binding["metadata"]["name"], names


def test_the_namespace_takes_restricted_pods_only(installed: ControlPlane) -> None:
    container = {"name": "main", "image": "none"}  # may run as root, may gain privileges
    with pytest.raises(ApiError, match="PodSecurity"):
        installed.admin.create("pods", {"metadata": {"name": "x"}, "spec": {"containers": [container]}}, HOME)


# -- rights --------------------------------------------------------------------------------------------

GATE, OTHER_GATE = "carbon-scheduler/hold", "team.example/budget"


@pytest.fixture
def pod(installed: ControlPlane, namespace: str) -> Object:
    """A user's pod with two gates, a label and an annotation of its own."""
    metadata = {"name": "victim", "labels": {"team": "a"}, "annotations": {"team.example/owner": "a"}}
    spec = {
        "schedulerName": "carbon-scheduler",
        "schedulingGates": [{"name": GATE}, {"name": OTHER_GATE}],
        "containers": [{"name": "main", "image": "good:1"}],
    }
    return installed.admin.create("pods", {"metadata": metadata, "spec": spec}, namespace)


@pytest.fixture
def extender(installed: ControlPlane, pod: Object) -> Client:
    """The API server as the extender's token sees it."""
    client = installed.client(installed.service_account_token(HOME, EXTENDER))
    # The API server puts a new policy into force a moment after it has stored it. Each probe writes another
    # value: a patch that changes nothing is allowed.
    values = itertools.count()
    wait_for(
        lambda: refuses(client, pod, {"metadata": {"labels": {"probe": str(next(values))}}}),
        "the policy in force",
        60,
    )
    return client


def refuses(client: Client, pod: Object, patch: object) -> bool:
    try:
        patched(client, pod, patch)
    except ApiError:
        return True
    return False


def patched(client: Client, pod: Object, patch: object, content_type: str = STRATEGIC_MERGE) -> Object:
    meta = pod["metadata"]
    content_type = JSON_PATCH if isinstance(patch, list) else content_type
    return client.patch("pods", meta["name"], patch, meta["namespace"], content_type=content_type)


def test_the_extender_may_write_its_annotations_and_take_its_gate_away(extender: Client, pod: Object) -> None:
    annotations = {"carbon-scheduler/reservation": "[]", "carbon-scheduler/wake": "1"}
    after = patched(extender, pod, {"metadata": {"annotations": annotations}}, MERGE)
    assert annotations.items() <= after["metadata"]["annotations"].items()
    ungate = {"spec": {"schedulingGates": [{"$patch": "delete", "name": GATE}]}}
    after = patched(extender, pod, ungate)
    assert after["spec"]["schedulingGates"] == [{"name": OTHER_GATE}]
    after = patched(extender, pod, {"metadata": {"annotations": {"carbon-scheduler/wake": None}}}, MERGE)
    assert "carbon-scheduler/wake" not in after["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"spec": {"containers": [{"name": "main", "image": "evil:1"}]}}, "nothing in a pod's spec"),
        ({"spec": {"activeDeadlineSeconds": 1}}, "nothing in a pod's spec"),
        (
            [{"op": "add", "path": "/spec/tolerations/-", "value": {"operator": "Exists"}}],
            "nothing in a pod's spec",
        ),
        ({"spec": {"nodeSelector": {"disk": "ssd"}}}, "nothing in a pod's spec"),
        ({"spec": {"schedulingGates": [{"$patch": "delete", "name": OTHER_GATE}]}}, "no scheduling gate"),
        ({"spec": {"schedulingGates": [{"$patch": "replace"}]}}, "no scheduling gate"),
        ({"metadata": {"annotations": {"team.example/owner": "b"}}}, "no annotations"),
        ({"metadata": {"annotations": {"team.example/owner": None}}}, "no annotations"),
        ({"metadata": {"annotations": {"carbon-scheduler.example/x": "b"}}}, "no annotations"),
        ({"metadata": {"labels": {"team": "b"}}}, "nothing in a pod's metadata"),
        ({"metadata": {"labels": None}}, "nothing in a pod's metadata"),
        ({"metadata": {"finalizers": ["team.example/never"]}}, "nothing in a pod's metadata"),
    ],
)
def test_the_extender_may_change_nothing_else_of_a_pod(
    installed: ControlPlane, extender: Client, pod: Object, patch: Object, reason: str
) -> None:
    with pytest.raises(ApiError, match=reason) as refused:
        patched(extender, pod, patch)
    assert refused.value.status == 422
    patched(installed.admin, pod, patch)  # the policy is about the extender, not about the patch


def test_the_extender_may_name_a_node_and_change_nothing_else_of_a_status(
    installed: ControlPlane, extender: Client, pod: Object
) -> None:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]

    def patch(client: Client, body: Object) -> Object:
        return client.patch("pods", name, body, namespace, "status", content_type=MERGE)

    uid = pod["metadata"]["uid"]
    named = patch(extender, {"metadata": {"uid": uid}, "status": {"nominatedNodeName": "n1"}})
    assert named["status"]["nominatedNodeName"] == "n1"
    for body, reason in (
        ({"status": {"phase": "Succeeded"}}, "nothing in a pod's status"),
        ({"status": {"podIP": "10.0.0.1"}}, "nothing in a pod's status"),
        ({"metadata": {"labels": {"team": "b"}}}, "nothing in a pod's metadata"),
        ({"metadata": {"annotations": {"carbon-scheduler/wake": "1"}}}, "nothing in a pod's metadata"),
    ):
        with pytest.raises(ApiError, match=reason):
            patch(extender, body)
        patch(installed.admin, body)


def test_the_api_server_understands_every_word_of_the_policies(installed: ControlPlane) -> None:
    """What it cannot type-check it reports in the status, not to whoever applies the policy."""

    def checked() -> list[Object]:
        policies = installed.admin.list("validatingadmissionpolicies", labels=PART_OF)
        return [each["status"].get("typeChecking", {}) for each in policies if "status" in each]

    wait_for(lambda: len(checked()) == 3, "all policies checked", 30)
    assert checked() == [{}, {}, {}]


def test_a_binding_of_the_extender_carries_its_own_annotations_only(
    installed: ControlPlane, extender: Client, namespace: str, fake_nodes
) -> None:
    (node,) = fake_nodes(1)
    spec = {"schedulerName": "carbon-scheduler", "containers": [{"name": "main", "image": "good:1"}]}
    installed.admin.create("pods", {"metadata": {"name": "bound"}, "spec": spec}, namespace)

    def binding(annotations: dict[str, str]) -> Object:
        target = {"kind": "Node", "name": node}
        return {"metadata": {"name": "bound", "annotations": annotations}, "target": target}

    with pytest.raises(ApiError, match="no annotations"):
        extender.create("pods", binding({"team.example/owner": "b"}), namespace, "bound", "binding")
    good = {"carbon-scheduler/reservation": "[]"}
    extender.create("pods", binding(good), namespace, "bound", "binding")
    bound = installed.admin.get("pods", "bound", namespace)
    assert bound["spec"]["nodeName"] == node
    assert good.items() <= bound["metadata"]["annotations"].items()
