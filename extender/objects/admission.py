"""Additions of admission to a pod, as far as the pod shows them: a second pod will get the same.

RuntimeClass adds an overhead to the pod. A LimitRange adds requests to containers that state none, and its
admission plugin notes on the pod which ones it added.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from extender.core.facts import Admitted
from extender.objects.requests import amounts, asked
from extender.objects.structs import Pod, PodSpec

LIMIT_RANGER: Final = "kubernetes.io/limit-ranger"
"""Annotation such as `LimitRanger plugin set: cpu, memory request for container a; cpu limit for ...`."""

_ADDED = re.compile(
    r"(?P<names>[^\s,:;]+(?:, [^\s,:;]+)*) (?P<what>request|limit) "
    r"for (?:init )?container (?P<container>[\w.-]+)"
)


def admitted(pod: Pod) -> Admitted:
    """Class, overhead, and defaults of containers that admission gave to a pod.

    Raises:
        QuantityError: an amount cannot be read.
    """
    spec = pod.spec or PodSpec()
    return Admitted(spec.runtime_class_name or "", amounts(spec.overhead), _defaults(pod, spec))


def _defaults(pod: Pod, spec: PodSpec) -> dict[str, int]:
    annotations = (pod.metadata.annotations if pod.metadata is not None else None) or {}
    text = annotations.get(LIMIT_RANGER, "")
    if not text:
        return {}
    out: dict[str, int] = {}
    containers = {each.name: each for each in (*(spec.containers or ()), *(spec.init_containers or ()))}
    for name, container in _added(text):
        found = containers.get(container)
        size = asked(found.resources) if found is not None else {}
        if name in size:
            out[name] = size[name]
    return out


def _added(text: str) -> Iterator[tuple[str, str]]:
    for match in _ADDED.finditer(text):
        for name in match["names"].split(", ") if match["what"] == "request" else ():
            yield name, match["container"]
