"""Replies as kube-scheduler reads them: Go's encoding/json into the extender types, and then stricter.

Stricter: keys must be spelled as Go spells them and come once, nothing may follow the value, and what
kube-scheduler silently misunderstands is an error here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NoReturn


class NotGo(AssertionError):
    """kube-scheduler would not understand this reply as it was meant."""


@dataclass(frozen=True)
class FilterResult:
    """ExtenderFilterResult. `names` are the survivors, whichever way they were given."""

    names: list[str] | None
    nodes: list[dict[str, Any]] | None
    unresolvable: dict[str, str]
    error: str

    @property
    def reason(self) -> str:
        """The one reason all refused nodes have."""
        (only,) = set(self.unresolvable.values())
        return only


def _no_float(text: str) -> NoReturn:
    raise NotGo(f"{text}: a float makes Go throw the whole reply away")


def _pairs(pairs: list[tuple[str, Any]], *, repeats: bool = False) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs) and not repeats:
        raise NotGo("a key comes twice")
    return made


def parse(body: bytes, *, repeats: bool = False) -> Any:
    """JSON without floats, NaN, and (unless `repeats`) repeated keys."""
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=_no_float,
            parse_constant=_no_float,
            object_pairs_hook=lambda pairs: _pairs(pairs, repeats=repeats),
        )
    except ValueError as problem:
        raise NotGo(f"not JSON: {problem}: {body[:200]!r}") from None


def _object(value: Any, keys: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        raise NotGo(f"expected an object with exactly {sorted(keys)}, not {value!r:.200}")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise NotGo(f"expected a string, not {value!r:.200}")
    return value


def _reasons(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise NotGo(f"expected reasons by node, not {value!r:.200}")
    return {name: _string(text) for name, text in value.items()}


def filter_result(body: bytes, offered: Collection[str], *, repeats: bool = False) -> FilterResult:
    """A reply to filter that was asked about `offered`: the rules of the scheduler's `Filter`."""
    keys = ("Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error")
    reply = _object(parse(body, repeats=repeats), keys)
    error = _string(reply["Error"])
    if "%" in error:
        raise NotGo("old versions format the error text: no percent sign")
    if reply["FailedNodes"]:
        raise NotGo("FailedNodes invite preemption")
    unresolvable = _reasons(reply["FailedAndUnresolvableNodes"])
    names, nodes = reply["NodeNames"], None
    if names is not None:
        names = [_string(name) for name in names]
    if reply["Nodes"] is not None:
        nodes = reply["Nodes"]["items"]
        names = [node["metadata"]["name"] for node in nodes]
    if error:
        if names or unresolvable:
            raise NotGo("what comes with an error is ignored")
        return FilterResult(None, None, {}, error)
    survivors = names or []
    if len(set(survivors)) != len(survivors):
        raise NotGo("a survivor comes twice")
    if not set(survivors) <= set(offered):
        raise NotGo("a survivor was not offered: the whole call fails")
    if not set(unresolvable) <= set(offered):
        raise NotGo("a reason for a node that was not offered")
    if not survivors and set(unresolvable) != set(offered):
        raise NotGo("a refused node without a reason")
    if set(survivors) & set(unresolvable):
        raise NotGo("a node both passed and refused")
    if any("%" in text or len(text) > 600 for text in unresolvable.values()):
        raise NotGo("reasons are short and without percent signs")
    return FilterResult(names, nodes, unresolvable, "")


def priorities(body: bytes) -> list[tuple[str, int]]:
    """A reply to prioritize."""
    reply = parse(body)
    if not isinstance(reply, list):
        raise NotGo("expected an array")
    out: list[tuple[str, int]] = []
    for entry in reply:
        score = _object(entry, ("Host", "Score"))["Score"]
        if type(score) is not int or not 0 <= score <= 10:
            raise NotGo(f"expected a whole score 0..10, not {score!r}")
        out.append((_string(entry["Host"]), score))
    return out


def bind_error(body: bytes) -> str:
    """The error in a reply to bind; empty for success."""
    error = _string(_object(parse(body), ("Error",))["Error"])
    if "%" in error:
        raise NotGo("no percent sign in errors")
    return error


def preempt_result(body: bytes) -> dict[str, list[str]]:
    """Victims (uids) by node in a reply to preempt."""
    nodes = _object(parse(body), ("NodeNameToMetaVictims",))["NodeNameToMetaVictims"]
    out: dict[str, list[str]] = {}
    for node, victims in nodes.items():
        _object(victims, ("Pods", "NumPDBViolations"))
        if type(victims["NumPDBViolations"]) is not int:
            raise NotGo("NumPDBViolations must be a whole number")
        out[node] = [_string(_object(pod, ("UID",))["UID"]) for pod in victims["Pods"]]
        if not out[node]:
            raise NotGo("a node without victims is an error")
    return out
