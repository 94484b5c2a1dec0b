"""A store behind its webhooks, in process: nodes, a clock that is set, Bindings that do as they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from extender.adapters.spark.identify import identify
from extender.adapters.spark.reader import SpecReader
from extender.adapters.webhooks.asgi import Application, Message, Receive, Scope, Send, WebhookApplication
from extender.adapters.webhooks.calls import Calls
from extender.adapters.webhooks.ports import BindFailure, PodUnread
from extender.core.events import Instruction, NodeSeen, PodGone, PodSeen, Synced
from extender.core.facts import NodeFacts, PodFacts
from extender.core.policy import Policy
from extender.engine import Engine
from extender.objects.projection import PodProjector
from extender.objects.structs import decode_pod
from tests.wire import go

Object = dict[str, Any]
GIB = 1 << 30


def pod(
    name: str,
    *,
    app: str = "",
    role: str = "",
    scheduler: str = "carbon-scheduler",
    cpu: str = "1",
    memory: str = "1Gi",
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A pod as kube-scheduler sends it: from an informer, so with managed fields and without kind."""
    labels = {"spark-role": role, "spark-app-selector": app} if app else {}
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "creationTimestamp": None,
            "labels": labels,
            "annotations": dict(annotations or {}),
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:containers": {}}}}],
        },
        "spec": {
            "schedulerName": scheduler,
            "containers": [
                {"name": "main", "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": None}}
            ],
            "initContainers": None,
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    }


def driver(app: str, executors: int = 2, **more: Any) -> Object:
    """A Spark driver whose executors ask for one core and 1 GiB each."""
    annotations = {
        "carbon-scheduler/executor-count": str(executors),
        "carbon-scheduler/executor-cpu": "1",
        "carbon-scheduler/executor-memory": "1Gi",
        **more.pop("annotations", {}),
    }
    return pod(f"{app}-driver", app=app, role="driver", annotations=annotations, **more)


def executor(app: str, number: int = 1, **more: Any) -> Object:
    """A Spark executor."""
    return pod(f"{app}-exec-{number}", app=app, role="executor", **more)


@dataclass
class Writer:
    """Bindings: each waits for `gate`, then fails as `failures` say, then succeeds."""

    written: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    failures: list[BindFailure | Exception] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def bind(
        self, namespace: str, name: str, uid: str, node: str, annotations: Mapping[str, str]
    ) -> BindFailure | None:
        self.started.set()
        await self.gate.wait()
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        self.written.append((uid, node, dict(annotations)))
        return None


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind the webhooks."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"behind"})


class World:
    """Nodes n0, n1, ... of 4 cores and 16 GiB; synced unless told otherwise."""

    def __init__(
        self,
        nodes: int = 3,
        *,
        cpu: int = 4,
        synced: bool = True,
        behind: Application = not_found,
        max_body_bytes: int = 64 * 1024 * 1024,
        **policy: Any,
    ) -> None:
        self.now = 1000.0
        self.engine = Engine(Policy(**policy), SpecReader())
        self.store = self.engine.store
        self.projector = PodProjector(identify)
        self.writer = Writer()
        self.writer.gate.set()
        self.asked: list[Instruction] = []
        self.seen: list[tuple[str, str]] = []
        self.api: dict[str, Object | None] = {}
        self.unread = ""
        self.calls = Calls(
            self.engine,
            self.projector,
            self.writer,
            self,
            self.perform,
            lambda: self.now,
            max_body_bytes=max_body_bytes,
        )
        self.application = WebhookApplication(self.calls, behind, self.observe)
        self.names = [f"n{number}" for number in range(nodes)]
        for name in self.names:
            self.add_node(name, cpu)
        if synced:
            self.store.apply(Synced(), self.now)

    def add_node(self, name: str, cpu: int = 4) -> None:
        allocatable = {"cpu": cpu * 1000, "memory": 16 * GIB, "pods": 110}
        self.store.apply(NodeSeen(NodeFacts(name, allocatable)), self.now)

    async def read(self, namespace: str, name: str, uid: str) -> PodFacts | None:
        """The API server's pod of this uid: as `api` says, else as kube-scheduler told."""
        if self.unread:
            raise PodUnread(self.unread)
        if uid not in self.api:
            return self.store.state.pods.get(uid)
        made = self.api[uid]
        return None if made is None else self.facts(made)

    def perform(self, instructions: Iterable[Instruction]) -> None:
        self.asked += instructions

    def observe(self, verb: str, outcome: str, duration_s: float) -> None:
        assert duration_s >= 0
        self.seen.append((verb, outcome))

    # -- the cluster -----------------------------------------------------------------------------

    def facts(self, made: Object) -> PodFacts:
        return self.projector.facts(decode_pod(json.dumps(made).encode()))

    def see(self, made: Object, node: str = "", phase: str = "Pending") -> None:
        """The watch shows a pod in this state."""
        changed = {**made, "spec": {**made["spec"], "nodeName": node}, "status": {"phase": phase}}
        self.store.apply(PodSeen(self.facts(changed)), self.now)

    def lose(self, made: Object) -> None:
        """The watch shows that a pod is gone."""
        self.store.apply(PodGone(made["metadata"]["uid"]), self.now)

    def held(self) -> dict[str, int]:
        """Held millicores by node, where there are any."""
        table = self.store.state.nodes
        return {
            name: int(table.reserved[0, row]) for name, row in table.row_of.items() if table.reserved[0, row]
        }

    # -- calls -----------------------------------------------------------------------------------

    async def post(self, path: str, body: bytes, chunk: int = 0) -> bytes:
        """The body of the reply; status, headers and number of messages are checked here."""
        status, headers, reply = await self.request("POST", path, body, chunk)
        assert status == 200
        assert headers[b"content-length"] == str(len(reply)).encode()
        assert headers[b"content-type"] == b"application/json"
        return reply

    async def request(
        self, method: str, path: str, body: bytes = b"", chunk: int = 0
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        step = chunk or max(len(body), 1)
        pieces = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        inbox = [
            {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
            for number, piece in enumerate(pieces, 1)
        ]
        outbox: list[Message] = []

        async def receive() -> Message:
            return inbox.pop(0) if inbox else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            outbox.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": []}
        await self.application(scope, receive, send)
        start, end = outbox
        return start["status"], dict(start["headers"]), end["body"]

    async def filter(self, made: Object, names: list[str] | None = None) -> go.FilterResult:
        names = self.names if names is None else names
        return go.filter_result(await self.post("/filter", args(made, names)), names)

    async def bind(self, made: Object, node: str) -> str:
        return go.bind_error(await self.post("/bind", bind_args(made, node)))

    async def admit(self, made: Object) -> str:
        """filter, then bind, then what the watch shows; returns the node."""
        result = await self.filter(made)
        assert result.names, result
        assert await self.bind(made, result.names[0]) == ""
        self.see(made, result.names[0], "Running")
        return result.names[0]


def args(made: Object | None, names: list[str] | None, nodes: list[Object] | None = None) -> bytes:
    """ExtenderArgs as Go writes them: nothing omitted."""
    items = None if nodes is None else {"metadata": {}, "items": nodes}
    return json.dumps({"Pod": made, "Nodes": items, "NodeNames": names}, separators=(",", ":")).encode()


def bind_args(made: Object, node: str) -> bytes:
    """ExtenderBindingArgs."""
    metadata = made["metadata"]
    return json.dumps(
        {
            "PodName": metadata["name"],
            "PodNamespace": metadata["namespace"],
            "PodUID": metadata["uid"],
            "Node": node,
        }
    ).encode()
