"""How large a request can be that kube-scheduler sends of a cluster of the known size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from extender.adapters.webhooks.offered import BadRequest

DEFAULT_MAX_BODY_BYTES: Final = 64 * 1024 * 1024
POD_BYTES: Final = 3 * 1024 * 1024
"""The API server takes no larger request, so no pod is larger."""
NAME_BYTES: Final = 256
"""A name of 253 characters (RFC 1123), two quotes and a comma."""
_NODE_BYTES: Final = 64 * 1024
"""A node as an object: 50 images and all conditions are 30 KiB."""
_NEW_NODES: Final = 1000
_REST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one request: nodes and bytes.

    kube-scheduler may know nodes that our watch has not shown yet: a thousand, and as many again as are
    known. Before the caches are filled no size is known, and only `most_bytes` of the settings bounds it.
    """

    nodes: int
    body_bytes: int

    @classmethod
    def of(cls, known_nodes: int | None, most_bytes: int) -> Bounds:
        """Bounds where so many nodes are known; None: not known yet."""
        if known_nodes is None:
            return cls(most_bytes, most_bytes)
        nodes = 2 * known_nodes + _NEW_NODES
        whole = (known_nodes + _NEW_NODES // 10) * _NODE_BYTES
        return cls(nodes, min(most_bytes, POD_BYTES + _REST_BYTES + max(nodes * NAME_BYTES, whole)))

    def check(self, pod: bytes | memoryview, nodes: int) -> None:
        """Raises `BadRequest` for a pod or a number of nodes beyond the bounds."""
        if len(pod) > POD_BYTES:
            raise BadRequest(f"Pod: longer than {POD_BYTES} bytes, which the API server takes of no pod")
        if nodes > self.nodes:
            raise BadRequest(
                f"{nodes} nodes are offered, and no more than {self.nodes} are believed of this cluster"
            )
