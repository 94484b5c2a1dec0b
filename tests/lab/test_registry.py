"""The API server's rules for writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from extender.lab.registry import CONFIG_MAP, NODE, POD, Change, Refusal, Registry, merged, rfc3339
from tests.lab.support import small_nodes


@pytest.fixture
def registry() -> Registry:
    made = Registry(clock=lambda: 1000.0)
    made.create(NODE, small_nodes(1)[0])
    return made


def new_pod(registry: Registry, name: str = "p", **spec: Any) -> str:
    return registry.create(POD, {"metadata": {"name": name, "namespace": "ns"}, "spec": spec})["metadata"][
        "uid"
    ]


def binding(uid: str = "", node: str = "n1", **annotations: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "annotations": annotations}, "target": {"name": node}}


@contextmanager
def refused(status: int) -> Iterator[None]:
    """Expect that the API server refuses with this status."""
    with pytest.raises(Refusal) as caught:
        yield
    assert caught.value.status == status


def test_create_fills_in_what_the_server_fills_in(registry: Registry) -> None:
    uid = new_pod(registry)
    pod = registry.get(POD, "ns", "p")
    assert uid
    assert pod["metadata"]["creationTimestamp"] == rfc3339(1000.0) == "1970-01-01T00:16:40Z"
    assert pod["metadata"]["resourceVersion"] == str(registry.version)
    assert pod["spec"]["schedulerName"] == "default-scheduler"
    assert pod["status"]["phase"] == "Pending"
    assert next(iter(pod)) == "metadata"


def test_create_refuses_a_taken_name_and_no_name(registry: Registry) -> None:
    new_pod(registry)
    with refused(409):
        new_pod(registry)
    with refused(422):
        registry.create(CONFIG_MAP, {"metadata": {}})


def test_a_binding_sets_node_and_annotations_in_one_write(registry: Registry) -> None:
    uid = new_pod(registry)
    seen: list[Change] = []
    registry.subscribe(seen.append)
    registry.bind("ns", "p", binding(uid, held="x"))
    (change,) = seen
    assert change.object["spec"]["nodeName"] == "n1"
    assert change.object["metadata"]["annotations"] == {"held": "x"}
    assert change.object["status"]["conditions"][0]["status"] == "True"


def test_a_binding_is_refused_like_the_api_server_does(registry: Registry) -> None:
    uid = new_pod(registry)
    new_pod(registry, "gated", schedulingGates=[{"name": "g"}])
    with refused(404):
        registry.bind("ns", "absent", binding())
    with refused(422):
        registry.bind("ns", "p", binding(uid, node=""))
    with refused(409):
        registry.bind("ns", "p", binding("another"))
    with refused(409):
        registry.bind("ns", "gated", binding())
    registry.bind("ns", "p", binding(uid))
    with refused(409):
        registry.bind("ns", "p", binding(uid))


def test_a_pod_that_is_being_deleted_is_not_bound(registry: Registry) -> None:
    new_pod(registry)
    pod = registry.get(POD, "ns", "p")
    registry.put(POD, {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}})
    with refused(409):
        registry.bind("ns", "p", binding())


def test_a_pod_on_a_node_is_marked_first_and_then_removed(registry: Registry) -> None:
    new_pod(registry)
    registry.bind("ns", "p", binding())
    registry.delete(POD, "ns", "p")
    assert registry.get(POD, "ns", "p")["metadata"]["deletionTimestamp"]
    version = registry.version
    registry.delete(POD, "ns", "p")
    assert registry.version == version
    registry.delete(POD, "ns", "p", now=True)
    assert registry.find(POD, "ns", "p") is None


def test_a_waiting_or_ended_pod_is_removed_at_once(registry: Registry) -> None:
    new_pod(registry)
    with refused(409):
        registry.delete(POD, "ns", "p", uid="another")
    registry.delete(POD, "ns", "p")
    new_pod(registry, "ended")
    registry.bind("ns", "ended", binding())
    registry.merge_patch(POD, "ns", "ended", {"status": {"phase": "Failed"}}, status=True)
    registry.delete(POD, "ns", "ended")
    assert registry.all(POD) == []


def test_patches_respect_preconditions_and_the_status_subresource(registry: Registry) -> None:
    uid = new_pod(registry)
    with refused(409):
        registry.merge_patch(POD, "ns", "p", {"metadata": {"uid": "another"}})
    with refused(409):
        registry.merge_patch(POD, "ns", "p", {"metadata": {"resourceVersion": "1"}})
    with refused(422):
        registry.merge_patch(POD, "ns", "p", {"spec": {"nodeName": "n1"}})
    patch = {"metadata": {"uid": uid, "annotations": {"a": "1"}}, "status": {"phase": "Running"}}
    pod = registry.merge_patch(POD, "ns", "p", patch)
    assert (pod["metadata"]["annotations"], pod["status"]["phase"]) == ({"a": "1"}, "Pending")
    pod = registry.merge_patch(POD, "ns", "p", {**patch, "metadata": {"labels": {"l": "1"}}}, status=True)
    assert pod["status"]["phase"] == "Running"
    assert "labels" not in pod["metadata"]


def test_a_patch_that_changes_nothing_is_no_change(registry: Registry) -> None:
    new_pod(registry)
    registry.merge_patch(POD, "ns", "p", {"metadata": {"labels": {"a": "1"}}})
    version = registry.version
    registry.merge_patch(POD, "ns", "p", {"metadata": {"labels": {"a": "1"}}})
    assert registry.version == version


def test_history_that_is_forgotten_is_gone(registry: Registry) -> None:
    short = Registry(history=2)
    for name in "abc":
        short.create(NODE, {"metadata": {"name": name}})
    assert [change.object["metadata"]["name"] for change in short.since(NODE, 2)] == ["b", "c"]
    with refused(410):
        short.since(NODE, 1)
    registry.compact()
    assert registry.since(NODE, registry.version) == []
    with refused(410):
        registry.since(NODE, registry.version - 1)


def test_a_failing_listener_disturbs_nobody_and_is_not_forgotten(registry: Registry) -> None:
    def fail(_: Change) -> None:
        raise ValueError("wrong")

    seen: list[Change] = []
    unsubscribe = registry.subscribe(fail)
    registry.subscribe(seen.append)
    new_pod(registry)
    unsubscribe()
    assert len(seen) == 1
    assert str(registry.listener_failure) == "wrong"


def test_stored_objects_are_never_changed(registry: Registry) -> None:
    new_pod(registry)
    before = registry.get(POD, "ns", "p")
    text = str(before)
    registry.bind("ns", "p", binding(a="1"))
    assert str(before) == text


def test_merge_patch_of_the_rfc() -> None:
    assert merged({"a": "b", "c": {"d": "e", "f": "g"}}, {"a": "z", "c": {"f": None}}) == {
        "a": "z",
        "c": {"d": "e"},
    }
    assert merged({"a": [1]}, {"a": {"b": None, "c": 1}}) == {"a": {"c": 1}}


def test_a_strategic_patch_takes_single_gates_off(registry: Registry) -> None:
    new_pod(registry, schedulingGates=[{"name": "ours"}, {"name": "theirs"}])
    patch = {"spec": {"schedulingGates": [{"$patch": "delete", "name": "ours"}]}}
    plain = registry.without_directives(POD, "ns", "p", patch)
    assert registry.merge_patch(POD, "ns", "p", plain)["spec"]["schedulingGates"] == [{"name": "theirs"}]
    with pytest.raises(Refusal, match="can only be deleted"):
        registry.without_directives(POD, "ns", "p", {"spec": {"schedulingGates": [{"name": "new"}]}})


def test_a_restored_registry_is_empty_and_goes_on_from_an_older_version(registry: Registry) -> None:
    new_pod(registry)
    registry.restore(10)
    assert registry.all(POD) == registry.all(NODE) == registry.history(POD) == []
    made = registry.put(POD, {"metadata": {"name": "q", "namespace": "ns", "uid": "u"}, "spec": {}})
    assert made == {
        "metadata": {"name": "q", "namespace": "ns", "uid": "u", "resourceVersion": "11"},
        "spec": {},
    }
