"""An API server for tests: real HTTP, the real rules of list, watch, Binding and patch, faults on demand."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from typing import Any

from extender.adapters.kubernetes.client import ApiClient
from extender.lab.apiserver import ApiServer as LabApiServer
from extender.lab.apiserver import Stream
from extender.lab.faults import Fault, Proceed, answer, cut, first_do, lose, never, status, text
from extender.lab.registry import Key, Registry

__all__ = [
    "PATHS",
    "ApiServer",
    "Fault",
    "Object",
    "Proceed",
    "Stream",
    "answer",
    "cut",
    "first_do",
    "lose",
    "never",
    "node",
    "pod",
    "status",
    "text",
]

Object = dict[str, Any]
PATHS = {"pods": "/api/v1/pods", "nodes": "/api/v1/nodes"}


def pod(name: str, uid: str = "", *, namespace: str = "ns", node: str = "", **spec: Any) -> Object:
    """A pod of one container that asks for one core, unless `containers` says otherwise."""
    containers = [{"name": "main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]
    made: Object = {
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"},
        "spec": {"containers": containers, **spec},
        "status": {"phase": "Pending"},
    }
    if node:
        made["spec"]["nodeName"] = node
    return made


def node(name: str, uid: str = "", **allocatable: str) -> Object:
    """A ready node."""
    return {
        "metadata": {"name": name, "uid": uid or f"uid-{name}"},
        "spec": {},
        "status": {
            "allocatable": allocatable or {"cpu": "4", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


class ApiServer(LabApiServer):
    """The lab's API server with a registry of its own, and what tests do to it behind its back."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(Registry(), bookmark_s=math.inf, tls=tls)
        self.version = 1000

    async def client(self, **options: Any) -> ApiClient:
        from extender.adapters.kubernetes.credentials import anonymous

        return ApiClient(await anonymous(self.url), **options)

    @property
    def objects(self) -> Mapping[str, Mapping[Key, Object]]:
        """Everything, by kind, namespace and name."""
        return self.registry.objects

    @property
    def version(self) -> int:
        """Version of the last write."""
        return self.registry.version

    @version.setter
    def version(self, version: int) -> None:
        self.registry.version = version

    def put(self, kind: str, obj: Object) -> Object:
        """Create or replace an object; watchers are told."""
        return self.registry.put(kind, obj)

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        """Delete an object; watchers are told."""
        self.registry.delete(kind, namespace, name, now=True)

    def compact(self) -> None:
        """Forget history: every older version is answered 410 from now on."""
        self.registry.compact()
        self.forget_pages()

    def bookmark(self) -> None:
        """Send a bookmark of the present version to every watch."""
        for stream in self.streams:
            stream.event("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    def count(self, operation: str) -> int:
        """How many requests of an operation came in."""
        return sum(1 for each, _, _ in self.requests if each == operation)
