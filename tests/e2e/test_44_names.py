"""Nodes are named before kube-scheduler calls; a wrong name costs nothing but time."""

from __future__ import annotations

from tests.e2e.harness.client import JSON_PATCH, MERGE, Client, Object
from tests.e2e.harness.controlplane import ControlPlane
from tests.e2e.harness.waiting import wait_for

BURST = 60
GATE = "team.example/later"


def pod(name: str, cpu: str = "1", gate: str = "") -> Object:
    resources = {"requests": {"cpu": cpu, "memory": "64Mi"}}
    gates = {"schedulingGates": [{"name": gate}]} if gate else {}
    return {
        "metadata": {"name": name},
        "spec": {
            "schedulerName": "carbon-scheduler",
            "containers": [{"name": "main", "image": "none", "resources": resources}],
            **gates,
        },
    }


def bound(client: Client, namespace: str) -> dict[str, str]:
    pods = client.list("pods", namespace)
    return {each["metadata"]["name"]: each["spec"].get("nodeName", "") for each in pods}


def test_a_burst_is_bound_to_the_nodes_named_for_it(
    installed: ControlPlane, namespace: str, start_pair, fake_nodes
) -> None:
    """Pods that are released together: all but the first are named before kube-scheduler gets to them."""
    client = installed.admin
    fake_nodes(20, cpu="8", memory="32Gi")
    start_pair()
    for number in range(BURST):
        client.create("pods", pod(f"burst-{number}", gate="carbon-scheduler/hold"), namespace)
    client.create("pods", pod("first"), namespace)
    with client.watch("pods", namespace) as watch:
        wait_for(
            lambda: all(bound(client, namespace).values()),
            "all bound",
            60,
            lambda: str(bound(client, namespace)),
        )
        events = [event for _, _, event in watch.events]
    named: dict[str, str] = {}
    for event in events:
        name, node = event["metadata"]["name"], event["spec"].get("nodeName", "")
        hint = event["status"].get("nominatedNodeName", "")
        if hint and not node:
            named[name] = hint
    assert len(named) >= BURST // 2, named
    assert named.items() <= bound(client, namespace).items()


def test_a_wrong_name_costs_nothing_but_time(
    installed: ControlPlane, namespace: str, start_pair, fake_nodes
) -> None:
    """A user names a node that is full, and one that does not exist."""
    client = installed.admin
    full, free = fake_nodes(2, cpu="4", memory="32Gi")
    start_pair()
    filler = pod("filler", cpu="3500m")
    filler["spec"] |= {"nodeName": full}
    client.create("pods", filler, namespace)
    for name, wrong in (("misled", full), ("lost", "nowhere")):
        client.create("pods", pod(name, gate=GATE), namespace)
        hint = {"status": {"nominatedNodeName": wrong}}
        client.patch("pods", name, hint, namespace, "status", content_type=MERGE)
        open_gate = [{"op": "remove", "path": "/spec/schedulingGates"}]
        client.patch("pods", name, open_gate, namespace, content_type=JSON_PATCH)
    wait_for(
        lambda: all(bound(client, namespace).values()), "all bound", 60, lambda: str(bound(client, namespace))
    )
    assert bound(client, namespace) == {"filler": full, "misled": free, "lost": free}
