"""Pods, nodes and ConfigMaps under the API server's rules: versions, preconditions, Bindings, watches.

Objects are plain JSON dictionaries and are never changed once stored: every write stores a new one. So
whoever is handed an object may keep it, and must not write to it.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace (empty for nodes) and name."""

POD: Final = "pods"
NODE: Final = "nodes"
CONFIG_MAP: Final = "configmaps"
KINDS: Final[Mapping[str, str]] = {POD: "Pod", NODE: "Node", CONFIG_MAP: "ConfigMap"}
CLUSTER_SCOPED: Final = frozenset({NODE})
ENDED: Final = frozenset({"Succeeded", "Failed"})

_HISTORY: Final = 20_000

encode: Final = msgspec.json.Encoder().encode


class Refusal(Exception):
    """A request the API server refuses: HTTP status, machine-readable reason, text for people."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Change:
    """One write as watchers see it. `type` is ADDED, MODIFIED or DELETED; `before` is None for ADDED."""

    version: int
    kind: str
    type: str
    object: Object
    before: Object | None

    @cached_property
    def line(self) -> bytes:
        """The event of an unselective watch, encoded once for all watchers."""
        return event_line(self.type, self.kind, self.object)


Listener = Callable[[Change], None]


class Registry:
    """The objects of the API server, in memory.

    `clock` gives seconds since the epoch, `new_uid` a fresh uid. Every write has a version of its own.
    A listener that fails does not disturb the writer; its first failure is kept in `listener_failure`.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
        history: int = _HISTORY,
    ) -> None:
        self.version = 1
        self.listener_failure: Exception | None = None
        self._clock = clock
        self._new_uid = new_uid
        self._objects: dict[str, dict[Key, Object]] = {kind: {} for kind in KINDS}
        self._history: dict[str, deque[Change]] = {kind: deque(maxlen=history) for kind in KINDS}
        self._forgotten: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._listeners: list[Listener] = []

    # -- read ------------------------------------------------------------------------------------

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object, or None."""
        return self._objects[kind].get((namespace, name))

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """An object. Raises `Refusal` (404)."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise Refusal(404, "NotFound", f'{kind} "{name}" not found')
        return found

    def all(self, kind: str, namespace: str = "") -> list[Object]:
        """All objects of a kind, of one namespace or (empty) of all, in order of creation."""
        objects = self._objects[kind]
        return [each for (place, _), each in objects.items() if not namespace or place == namespace]

    @property
    def objects(self) -> Mapping[str, Mapping[Key, Object]]:
        """Everything, by kind and key."""
        return self._objects

    def history(self, kind: str) -> list[Change]:
        """Changes of a kind, as far back as they are known."""
        return list(self._history[kind])

    def since(self, kind: str, version: int) -> list[Change]:
        """Changes of a kind after a version. Raises `Refusal` (410) when they are no longer all known."""
        if version < self._forgotten[kind]:
            raise Refusal(410, "Expired", f"too old resource version: {version} ({self._forgotten[kind]})")
        return [change for change in self._history[kind] if change.version > version]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every coming change, within the write; returns how to end that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def compact(self) -> None:
        """Forget all history: watches from older versions are answered 410."""
        for kind, changes in self._history.items():
            changes.clear()
            self._forgotten[kind] = self.version

    # -- write -----------------------------------------------------------------------------------

    def create(self, kind: str, obj: Mapping[str, Any], namespace: str = "") -> Object:
        """Store a new object; uid, creation time and version are filled in.

        Raises:
            Refusal: 409 when there is one of this name, 422 when it has no name.
        """
        metadata = {**(obj.get("metadata") or {})}
        if kind not in CLUSTER_SCOPED:
            metadata["namespace"] = namespace or metadata.get("namespace") or "default"
        name = metadata.get("name") or ""
        if not name:
            raise Refusal(422, "Invalid", f"{KINDS[kind]}: metadata.name: Required value")
        key = (metadata.get("namespace", ""), name)
        if key in self._objects[kind]:
            raise Refusal(409, "AlreadyExists", f'{kind} "{name}" already exists')
        metadata.setdefault("uid", self._new_uid())
        metadata.setdefault("creationTimestamp", rfc3339(self._clock()))
        made = {**obj, "metadata": metadata}
        if kind == POD:
            made["spec"] = {"schedulerName": "default-scheduler", **(obj.get("spec") or {})}
            made["status"] = {"phase": "Pending", **(obj.get("status") or {})}
        return self._store(kind, "ADDED", made, None)

    def put(self, kind: str, obj: Mapping[str, Any]) -> Object:
        """Store an object as it is, new or in the place of the one of its name. Knows no rules."""
        before = self.find(kind, *key_of(obj))
        return self._store(kind, "ADDED" if before is None else "MODIFIED", copy.deepcopy(dict(obj)), before)

    def restore(self, version: int) -> None:
        """Be as empty as after a restored backup: versions go on from an older one, history is unknown."""
        self.version = version
        for kind in KINDS:
            self._objects[kind].clear()
            self._history[kind].clear()
            self._forgotten[kind] = 0

    def merge_patch(
        self, kind: str, namespace: str, name: str, patch: Mapping[str, Any], *, status: bool = False
    ) -> Object:
        """Apply a JSON merge patch; a pod's status changes only with `status`, and nothing else then.

        Raises:
            Refusal: 404; 409 when the uid or version in the patch is not the object's; 422 when it would
                move a bound pod.
        """
        before = self.get(kind, namespace, name)
        wanted = patch.get("metadata") or {}
        _check_uid(before, wanted.get("uid"))
        version = wanted.get("resourceVersion")
        if version and version != before["metadata"]["resourceVersion"]:
            raise Refusal(409, "Conflict", "the object has been modified; please apply your changes again")
        if kind == POD:
            patch = {key: value for key, value in patch.items() if (key == "status") == status}
        after = merged(before, patch)
        if kind == POD and node_of(before) != node_of(after):
            raise Refusal(422, "Invalid", "Pod: spec.nodeName: pods are bound by POST pods/NAME/binding")
        metadata = {**after["metadata"], "name": name}
        after = {**after, "metadata": metadata}
        return before if after == before else self._store(kind, "MODIFIED", after, before)

    def without_directives(
        self, kind: str, namespace: str, name: str, patch: Mapping[str, Any]
    ) -> dict[str, Any]:
        """A strategic merge patch as a merge patch, for the one list that the extender changes: gates.

        Raises:
            Refusal: 404; 422 for anything but `$patch: delete` in that list.
        """
        spec = dict(patch.get("spec") or {})
        wanted = spec.pop("schedulingGates", None)
        if wanted is None:
            return dict(patch)
        if any(each.get("$patch") != "delete" for each in wanted):
            raise Refusal(422, "Invalid", "Pod: spec.schedulingGates: gates can only be deleted")
        gone = {each.get("name") for each in wanted}
        gates = self.get(kind, namespace, name)["spec"].get("schedulingGates") or []
        kept = [each for each in gates if each["name"] not in gone]
        return {**patch, "spec": {**spec, "schedulingGates": kept}}

    def bind(self, namespace: str, name: str, binding: Mapping[str, Any]) -> Object:
        """Assign a pod to a node, in one write with the annotations of the Binding.

        Raises:
            Refusal: 404; 409 for another uid, a pod that is bound, ends, or is gated; 422 without a node.
        """
        before = self.get(POD, namespace, name)
        wanted = binding.get("metadata") or {}
        node = (binding.get("target") or {}).get("name")
        if not node:
            raise Refusal(422, "Invalid", "Binding: target.name: Required value")
        _check_uid(before, wanted.get("uid"))
        if before["metadata"].get("deletionTimestamp"):
            raise Refusal(409, "Conflict", f"pod {name} is being deleted, cannot be assigned to a host")
        if node_of(before):
            raise Refusal(409, "Conflict", f'pod {name} is already assigned to node "{node_of(before)}"')
        if before["spec"].get("schedulingGates"):
            raise Refusal(409, "Conflict", f"pod {name} has non-empty .spec.schedulingGates")
        annotations = {**(before["metadata"].get("annotations") or {}), **(wanted.get("annotations") or {})}
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(self._clock())}
        after = {
            **before,
            "metadata": {**before["metadata"], "annotations": annotations},
            "spec": {**before["spec"], "nodeName": node},
            "status": with_condition(before.get("status") or {}, scheduled),
        }
        return self._store(POD, "MODIFIED", after, before)

    def delete(self, kind: str, namespace: str, name: str, *, uid: str = "", now: bool = False) -> Object:
        """Delete an object. A pod on a node is only marked, for its kubelet to stop it, unless `now`.

        Raises:
            Refusal: 404; 409 for another uid.
        """
        before = self.get(kind, namespace, name)
        _check_uid(before, uid)
        if kind == POD and not now and node_of(before) and phase_of(before) not in ENDED:
            if before["metadata"].get("deletionTimestamp"):
                return before
            marked = {**before["metadata"], "deletionTimestamp": rfc3339(self._clock())}
            return self._store(kind, "MODIFIED", {**before, "metadata": marked}, before)
        return self._store(kind, "DELETED", before, before)

    def _store(self, kind: str, change: str, obj: Mapping[str, Any], before: Object | None) -> Object:
        self.version += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        # Metadata first, as the API server has it: readers of long lists rely on that.
        stored: Object = {"metadata": metadata, **{k: v for k, v in obj.items() if k not in _NOT_STORED}}
        if change == "DELETED":
            del self._objects[kind][key_of(stored)]
        else:
            self._objects[kind][key_of(stored)] = stored
        history = self._history[kind]
        if len(history) == history.maxlen:
            self._forgotten[kind] = history[0].version
        made = Change(self.version, kind, change, stored, before)
        history.append(made)
        for listener in list(self._listeners):
            try:
                listener(made)
            except Exception as failure:
                self.listener_failure = self.listener_failure or failure
        return stored


_NOT_STORED: Final = frozenset({"metadata", "kind", "apiVersion"})


def _check_uid(obj: Object, uid: str | None) -> None:
    if uid and uid != obj["metadata"]["uid"]:
        raise Refusal(
            409,
            "Conflict",
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {obj['metadata']['uid']}",
        )


# -- reading and making objects ------------------------------------------------------------------


def key_of(obj: Mapping[str, Any]) -> Key:
    """Namespace and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def uid_of(obj: Mapping[str, Any]) -> str:
    """The uid."""
    return obj["metadata"]["uid"]


def node_of(pod: Mapping[str, Any]) -> str:
    """The node a pod is bound to, or empty."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def phase_of(pod: Mapping[str, Any]) -> str:
    """A pod's phase."""
    return (pod.get("status") or {}).get("phase") or "Pending"


def occupies(pod: Mapping[str, Any]) -> bool:
    """Whether the pod takes room on a node: bound and not ended."""
    return bool(node_of(pod)) and phase_of(pod) not in ENDED


def with_condition(status: Mapping[str, Any], condition: Mapping[str, Any]) -> dict[str, Any]:
    """A status in which this condition replaces the one of its type."""
    others = [each for each in status.get("conditions") or () if each["type"] != condition["type"]]
    return {**status, "conditions": [*others, dict(condition)]}


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch (RFC 7386): null deletes, objects are merged, all else is replaced."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def typed(kind: str, obj: Mapping[str, Any]) -> Object:
    """An object with `kind` and `apiVersion`, as answers carry them outside of lists."""
    return {"kind": KINDS[kind], "apiVersion": "v1", **obj}


def event_line(change: str, kind: str, obj: Mapping[str, Any]) -> bytes:
    """One line of a watch."""
    return encode({"type": change, "object": typed(kind, obj)}) + b"\n"


def rfc3339(seconds: float) -> str:
    """A time as objects carry it: UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def matching(obj: Mapping[str, Any], labels: Iterable[tuple[str, str, str]]) -> bool:
    """Whether an object's labels meet requirements (key, operator, value), see `apiserver.selector`."""
    have: Mapping[str, str] = obj["metadata"].get("labels") or {}
    return all(_meets(have.get(key), operator, value) for key, operator, value in labels)


def _meets(have: str | None, operator: str, value: str) -> bool:
    match operator:
        case "=":
            return have == value
        case "!=":
            return have != value
        case "exists":
            return have is not None
        case _:
            return have is None
