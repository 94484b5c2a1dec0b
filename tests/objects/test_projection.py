"""From the API's JSON to facts: what is read, what is shared, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extender.core.facts import GangKey, Identity, PodFacts, Role
from extender.core.nodes.terms import ANYWHERE, NodeTerm, Requirement, Taint, Toleration
from extender.objects.projection import PodProjector, ProjectionProblem, node_facts
from extender.objects.structs import DECODE_ERRORS, decode_config_map, decode_node, decode_pod


def identify(labels: Mapping[str, str]) -> Identity | None:
    return Identity(Role(labels["role"]), labels["app"]) if "role" in labels else None


def pod_json(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {},
        "status": {},
    }
    for place, values in fields.items():
        made[place] = {**made[place], **values}
    return made


def facts(projector: PodProjector | None = None, **fields: Any) -> PodFacts:
    return (projector or PodProjector(identify)).facts(decode_pod(json.dumps(pod_json(**fields)).encode()))


def test_the_fields_the_core_reads() -> None:
    found = facts(
        metadata={
            "creationTimestamp": "2026-11-22T00:46:28Z",
            "deletionTimestamp": "2026-11-22T00:47:00Z",
            "labels": {"role": "leader", "app": "a1"},
            "annotations": {"k": "v"},
        },
        spec={
            "nodeName": "n1",
            "schedulerName": "carbon-scheduler",
            "priority": 7,
            "schedulingGates": [{"name": "hold"}],
            "volumes": [
                {"name": "spark-conf-volume-driver", "configMap": {"name": "conf"}},
                {"name": "pod-template-volume", "configMap": {"name": "template"}},
                {"name": "scratch", "emptyDir": {}},
            ],
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
        },
        status={"phase": "Running"},
    )
    assert found == PodFacts(
        uid="u",
        namespace="ns",
        name="p",
        scheduler_name="carbon-scheduler",
        node="n1",
        phase="Running",
        requests={"cpu": 1000},
        priority=7,
        created_s=1795308388.0,
        deleting=True,
        gated=True,
        role=Role.LEADER,
        gang=GangKey("ns", "a1"),
        annotations={"k": "v"},
        config_map="conf",
        template_config_map="template",
    )


@pytest.mark.parametrize(
    ("phase", "finished_at", "ended_s"),
    [
        ("Succeeded", ["2023-11-14T22:13:20Z", "2023-11-14T22:13:30Z"], 1_700_000_010.0),
        ("Failed", ["2023-11-14T22:13:20Z"], 1_700_000_000.0),
        ("Running", ["2023-11-14T22:13:20Z"], None),
        ("Succeeded", ["2023-11-14T22:13:20Z", None], None),
        ("Succeeded", ["yesterday"], None),
        ("Succeeded", ["2023-11-14T22:13:20"], None),
        ("Failed", [], None),
    ],
)
def test_a_finished_pod_ended_with_its_last_container(
    phase: str, finished_at: list[str | None], ended_s: float | None
) -> None:
    states = [{"terminated": {"finishedAt": each}} if each is not None else {} for each in finished_at]
    statuses = [{"name": "c", "state": each} for each in states]
    assert facts(status={"phase": phase, "containerStatuses": statuses}).ended_s == ended_s


def test_an_empty_pod_has_the_defaults_of_the_api() -> None:
    found = facts()
    assert (found.phase, found.scheduler_name, found.terms) == ("Pending", "default-scheduler", ANYWHERE)
    assert (found.role, found.gang, found.created_s) == (Role.SINGLE, None, 0.0)


def test_only_leaders_keep_their_annotations_and_config_maps() -> None:
    volumes = [{"name": "spark-conf-volume-driver", "configMap": {"name": "conf"}}]
    metadata = {"labels": {"role": "worker", "app": "a"}, "annotations": {"k": "v"}}
    found = facts(metadata=metadata, spec={"volumes": volumes})
    assert (found.role, dict(found.annotations), found.config_map) == (Role.WORKER, {}, "")


def test_terms_are_read_and_sorted_out() -> None:
    found = facts(
        spec={
            "nodeSelector": {"b": "2", "a": "1"},
            "tolerations": [
                {"key": "spot", "operator": "Exists"},
                {"key": "a", "value": "x", "effect": "NoSchedule"},
            ],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "zone", "operator": "In", "values": ["z1", "z2"]}
                                ],
                                "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}],
                            },
                            {},
                        ]
                    }
                }
            },
        }
    ).terms
    assert found.node_selector == (("a", "1"), ("b", "2"))
    assert found.tolerations == (Toleration("a", "Equal", "x", "NoSchedule"), Toleration("spot", "Exists"))
    assert found.affinity == (
        NodeTerm((Requirement("zone", "In", ("z1", "z2")),), (Requirement("metadata.name", "In", ("n",)),)),
        NodeTerm(),
    )


@pytest.mark.parametrize("terms", [None, []])
def test_required_affinity_without_terms_accepts_no_node(terms: Any) -> None:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    found = facts(spec={"affinity": {"nodeAffinity": required}}).terms
    assert not found.accept_labels({"zone": "z1"}, "n1")


def test_equal_terms_and_requests_are_one_object() -> None:
    projector = PodProjector(identify)
    one = {"nodeSelector": {"a": "1", "b": "2"}, "containers": [{"resources": {"requests": {"cpu": "1"}}}]}
    two = {"nodeSelector": {"b": "2", "a": "1"}, "containers": [{"resources": {"limits": {"cpu": "1000m"}}}]}
    first, second = facts(projector, spec=one), facts(projector, spec=two)
    assert first.terms is second.terms
    assert first.requests is second.requests


def test_an_unreadable_quantity_names_the_pod() -> None:
    with pytest.raises(ProjectionProblem, match=r"ns/p: .*cpu.*many") as caught:
        facts(spec={"containers": [{"resources": {"requests": {"cpu": "many"}}}]})
    assert (caught.value.uid, caught.value.name, caught.value.namespace) == ("u", "p", "ns")


@pytest.mark.parametrize("missing", ["uid", "name"])
def test_a_pod_without_identity_is_a_problem(missing: str) -> None:
    with pytest.raises(ProjectionProblem, match=r"metadata\.name and metadata\.uid"):
        facts(metadata={missing: None})


def node_json(**fields: Any) -> bytes:
    return json.dumps({"metadata": {"name": "n1"}, **fields}).encode()


def test_the_fields_of_a_node() -> None:
    found = node_facts(
        decode_node(
            node_json(
                metadata={"name": "n1", "labels": {"zone": "z"}},
                spec={"unschedulable": True, "taints": [{"key": "k", "effect": "NoExecute"}]},
                status={
                    "allocatable": {"cpu": "3920m", "memory": "1Ki", "pods": "110", "nvidia.com/gpu": "2"},
                    "conditions": [
                        {"type": "MemoryPressure", "status": "False"},
                        {"type": "Ready", "status": "True"},
                    ],
                },
            )
        )
    )
    assert found.allocatable == {"cpu": 3920, "memory": 1024, "pods": 110, "nvidia.com/gpu": 2}
    assert (found.name, dict(found.labels)) == ("n1", {"zone": "z"})
    assert (found.unschedulable, found.ready, found.taints) == (True, True, (Taint("k", "", "NoExecute"),))


@pytest.mark.parametrize("conditions", [None, [], [{"type": "Ready", "status": "Unknown"}]])
def test_a_node_is_ready_only_when_it_says_so(conditions: Any) -> None:
    assert not node_facts(decode_node(node_json(status={"conditions": conditions}))).ready


def test_a_node_without_allocatable_offers_its_capacity() -> None:
    found = node_facts(decode_node(node_json(status={"capacity": {"pods": 5}})))
    assert found.allocatable == {"pods": 5}


@pytest.mark.parametrize("amount", ["much", "-1"])
def test_an_unreadable_node_is_named(amount: str) -> None:
    with pytest.raises(ProjectionProblem, match=r"^n1: allocatable: memory"):
        node_facts(decode_node(node_json(status={"allocatable": {"memory": amount}})))


EXPRESSION = {"key": "k", "operator": "In", "values": []}
FULL = pod_json(
    metadata={"labels": {"role": "leader", "app": "a"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
    spec={
        "nodeSelector": {},
        "containers": [{"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}}],
        "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "1"}}, "restartPolicy": "Always"}],
        "tolerations": [{"key": "k", "operator": "Exists", "value": "", "effect": ""}],
        "volumes": [{"name": "spark-conf-volume-driver", "configMap": {"name": "c"}}],
        "overhead": {"cpu": "1"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "k", "operator": "In", "values": []}]}
                    ]
                }
            }
        },
        "schedulingGates": [{"name": "g"}],
        "priority": 1,
    },
    status={
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "main", "allocatedResources": {"cpu": "1"}, "resources": {}}],
    },
)


def with_null(value: Any) -> Iterator[Any]:
    """All ways to put null for one field of a tree of JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("role", "app"):
                yield {**value, key: None}
            yield from ({**value, key: each} for each in with_null(inner))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from ([*value[:place], each, *value[place + 1 :]] for each in with_null(inner))


def test_null_means_absent_everywhere() -> None:
    variants = list(with_null(FULL))
    assert len(variants) > 40
    for variant in variants:
        metadata = variant["metadata"]
        if metadata and metadata["name"] and metadata["uid"]:
            PodProjector(identify).facts(decode_pod(json.dumps(variant).encode()))
        else:
            with pytest.raises(ProjectionProblem):
                PodProjector(identify).facts(decode_pod(json.dumps(variant).encode()))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
QUANTITIES = st.dictionaries(
    st.sampled_from(["cpu", "memory", "x"]), JSON | st.sampled_from(["1", "2Gi"]), max_size=2
)
RESOURCES = JSON | st.fixed_dictionaries(
    {}, optional={"requests": QUANTITIES | JSON, "limits": QUANTITIES | JSON}
)
CONTAINERS = JSON | st.lists(
    st.fixed_dictionaries({}, optional={"name": JSON, "resources": RESOURCES}), max_size=2
)
SPEC = st.fixed_dictionaries(
    {},
    optional={
        "containers": CONTAINERS,
        "initContainers": CONTAINERS,
        "overhead": QUANTITIES | JSON,
        "resources": RESOURCES,
        **dict.fromkeys(("affinity", "tolerations", "nodeSelector", "priority", "volumes", "nodeName"), JSON),
    },
)
METADATA = st.fixed_dictionaries(
    {"name": st.just("p") | JSON, "uid": st.just("u") | JSON},
    optional=dict.fromkeys(
        ("namespace", "labels", "annotations", "creationTimestamp", "deletionTimestamp"), JSON
    ),
)
OBJECT = st.fixed_dictionaries({"metadata": METADATA | JSON, "spec": SPEC | JSON, "status": JSON})


@given(OBJECT | JSON)
def test_any_json_is_facts_or_a_typed_error(value: Any) -> None:
    body = json.dumps(value).encode()
    with suppress(ProjectionProblem, *DECODE_ERRORS):
        PodProjector(identify).facts(decode_pod(body))
    with suppress(ProjectionProblem, *DECODE_ERRORS):
        node_facts(decode_node(body))
    with suppress(*DECODE_ERRORS):
        decode_config_map(body)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_typed_error(body: bytes) -> None:
    with pytest.raises(DECODE_ERRORS):
        decode_pod(b"\xff" + body)


def test_captured_spark_pods_are_read(case_path: Callable[[str], Path]) -> None:
    body = json.loads(case_path("spark-captures/spark-4.3.0-podtemplate.json").read_text())[0]["body"]
    body["metadata"] |= {"namespace": "spark-jobs", "uid": "u"}
    found = PodProjector(lambda labels: Identity(Role.LEADER, labels["spark-app-selector"])).facts(
        decode_pod(json.dumps(body).encode())
    )
    assert found.requests == {"cpu": 1000, "memory": 1408 << 20, "ephemeral-storage": 1 << 30}
    assert found.config_map.startswith("spark-drv-")
    assert found.template_config_map.endswith("-driver-podspec-conf-map")
    assert found.gated
