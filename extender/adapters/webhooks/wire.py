"""Bodies of kube-scheduler's extender calls: Go field names, nothing omitted, null for unset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from extender.adapters.webhooks.offered import BadRequest, Offered, OfferedNames, OfferedNodes, Parts, encode
from extender.core.outcomes import Outcome, reason
from extender.objects.structs import DECODE_ERRORS, KeyedObject, Pod

_NULL: Final = b"null"
_ABSENT: Final = msgspec.Raw(_NULL)
_NO_TEXT: Final = b'""'


class Call(msgspec.Struct, rename="pascal", gc=False):
    """Body of filter and prioritize. The pod stays raw: a pod we know is not decoded again."""

    pod: msgspec.Raw = _ABSENT
    nodes: msgspec.Raw = _ABSENT
    node_names: msgspec.Raw = _ABSENT


class BindCall(msgspec.Struct, rename="pascal", gc=False):
    """Body of bind."""

    pod_name: str | None = None
    pod_namespace: str | None = None
    pod_uid: str | None = msgspec.field(default=None, name="PodUID")
    node: str | None = None


class MetaPod(msgspec.Struct, gc=False):
    """A victim by uid."""

    uid: str | None = msgspec.field(default=None, name="UID")


class MetaVictims(msgspec.Struct, rename="pascal"):
    """Victims on one node, by uid."""

    pods: list[MetaPod] | None = None
    pdb_violations: int | None = msgspec.field(default=None, name="NumPDBViolations")


class Victims(msgspec.Struct, rename="pascal"):
    """Victims on one node, as objects."""

    pods: list[KeyedObject] | None = None
    pdb_violations: int | None = msgspec.field(default=None, name="NumPDBViolations")


class PreemptCall(msgspec.Struct, rename="pascal"):
    """Body of preempt: one of the two maps is set."""

    pod: msgspec.Raw = _ABSENT
    node_name_to_victims: dict[str, Victims] | None = None
    node_name_to_meta_victims: dict[str, MetaVictims] | None = None


class _HostPriority(msgspec.Struct, rename="pascal", gc=False):
    host: str
    score: int


_decode_call: Final = msgspec.json.Decoder(Call).decode
_decode_bind: Final = msgspec.json.Decoder(BindCall).decode
_decode_preempt: Final = msgspec.json.Decoder(PreemptCall).decode
_decode_pod: Final = msgspec.json.Decoder(Pod).decode
_decode_pod_key: Final = msgspec.json.Decoder(KeyedObject).decode


def decode_call(body: bytes) -> Call:
    """Body of filter or prioritize. Raises `BadRequest`."""
    try:
        return _decode_call(body)
    except DECODE_ERRORS as problem:
        raise _unreadable(body, problem) from None


def decode_bind(body: bytes) -> BindCall:
    """Body of bind; all four values are there and not empty. Raises `BadRequest`."""
    try:
        call = _decode_bind(body)
    except DECODE_ERRORS as problem:
        raise _unreadable(body, problem) from None
    keys = {
        "PodName": call.pod_name,
        "PodNamespace": call.pod_namespace,
        "PodUID": call.pod_uid,
        "Node": call.node,
    }
    missing = [key for key, value in keys.items() if not value]
    if missing:
        raise BadRequest(f"{', '.join(missing)} must be given")
    return call


def decode_preempt(body: bytes) -> PreemptCall:
    """Body of preempt. Raises `BadRequest`."""
    try:
        return _decode_preempt(body)
    except DECODE_ERRORS as problem:
        raise _unreadable(body, problem) from None


def pod_uid(raw: msgspec.Raw) -> str:
    """The uid of a raw pod, empty if it has none. Raises `BadRequest`."""
    try:
        pod = _decode_pod_key(raw)
    except DECODE_ERRORS as problem:
        raise BadRequest(f"Pod must be a pod: {problem}") from None
    return (pod.metadata and pod.metadata.uid) or ""


def decode_pod(raw: msgspec.Raw) -> Pod:
    """The whole projection of a raw pod. Raises `BadRequest`."""
    try:
        return _decode_pod(raw)
    except DECODE_ERRORS as problem:
        raise BadRequest(f"Pod must be a pod: {problem}") from None


def offered_nodes(call: Call) -> Offered:
    """The nodes of a call: by name if names are given, else as objects. Raises `BadRequest`."""
    names = bytes(call.node_names)
    if names != _NULL:
        return OfferedNames(names)
    nodes = bytes(call.nodes)
    if nodes != _NULL:
        return OfferedNodes(nodes)
    raise BadRequest("NodeNames or Nodes must be given")


def victims_of(call: PreemptCall) -> dict[str, tuple[list[str], int]]:
    """Victims (uids) and the number of violated disruption budgets, by node. Raises `BadRequest`."""
    out: dict[str, tuple[list[str], int]] = {}
    for node, meta in (call.node_name_to_meta_victims or {}).items():
        out[node] = ([pod.uid or "" for pod in meta.pods or ()], meta.pdb_violations or 0)
    if call.node_name_to_meta_victims is None:
        for node, full in (call.node_name_to_victims or {}).items():
            uids = [(pod.metadata and pod.metadata.uid) or "" for pod in full.pods or ()]
            out[node] = (uids, full.pdb_violations or 0)
    if not all(uid for uids, _ in out.values() for uid in uids):
        raise BadRequest("every victim needs a uid")
    return out


# -- replies -------------------------------------------------------------------------------------


def placed(offered: Offered, node: str) -> bytes:
    """Reply to filter: this one node passed.

    The others are not named: a pod that has a node needs no diagnosis, and kube-scheduler would have
    to decode thousands of reasons for nothing.
    """
    nodes, names = offered.survivor(node)
    return _filter_reply(nodes, names, (b"{}",), _NO_TEXT)


def refused(offered: Offered, text: str) -> bytes:
    """Reply to filter: no offered node passed, and evicting pods would not change that."""
    return _filter_reply(b"null", b"[]", offered.refusals(text), _NO_TEXT)


def failed(text: str) -> bytes:
    """Reply to filter: the request could not be judged; kube-scheduler retries by itself."""
    return _filter_reply(b"null", b"null", (b"{}",), encode(text))


def _filter_reply(nodes: bytes, names: bytes, unresolvable: Parts, error: bytes) -> bytes:
    survivors = b'{"Nodes":%b,"NodeNames":%b,"FailedNodes":{},"FailedAndUnresolvableNodes":' % (nodes, names)
    return b"".join((survivors, *unresolvable, b',"Error":', error, b"}"))


def priorities(names: Iterable[str], scores: Iterable[int]) -> bytes:
    """Reply to prioritize: whole numbers 0..10, one an offered node. It has no room for an error."""
    return encode(list(map(_HostPriority, names, scores)))


def bound(text: str = "") -> bytes:
    """Reply to bind: an error, or that the pod is bound."""
    return encode({"Error": text})


def useful_victims(victims: Mapping[str, tuple[Sequence[str], int]]) -> bytes:
    """Reply to preempt, by uid whatever the request looked like."""
    return encode(
        {
            "NodeNameToMetaVictims": {
                node: {"Pods": [{"UID": uid} for uid in uids], "NumPDBViolations": violations}
                for node, (uids, violations) in victims.items()
            }
        }
    )


def bad_request(problem: object) -> str:
    """Text for a request that could not be read."""
    return reason(Outcome.BAD_REQUEST, str(problem))


def _unreadable(body: bytes, problem: Exception) -> BadRequest:
    if not body.strip():
        return BadRequest("the body is empty; a JSON object is expected")
    if isinstance(problem, RecursionError):
        return BadRequest("the body is nested too deeply")
    return BadRequest(f"the body is not the expected JSON object: {problem}")
