"""A small synchronous Kubernetes client. Nothing is hidden, so that tests see what the server says."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urlsplit

Object = dict[str, Any]

CORE = "api/v1"
GROUPS = {
    "leases": "apis/coordination.k8s.io/v1",
    "roles": "apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "apis/rbac.authorization.k8s.io/v1",
    "clusterroles": "apis/rbac.authorization.k8s.io/v1",
    "clusterrolebindings": "apis/rbac.authorization.k8s.io/v1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "jobs": "apis/batch/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "poddisruptionbudgets": "apis/policy/v1",
    "priorityclasses": "apis/scheduling.k8s.io/v1",
    "validatingadmissionpolicies": "apis/admissionregistration.k8s.io/v1",
    "validatingadmissionpolicybindings": "apis/admissionregistration.k8s.io/v1",
    "mutatingadmissionpolicies": "apis/admissionregistration.k8s.io/v1",
    "mutatingadmissionpolicybindings": "apis/admissionregistration.k8s.io/v1",
}
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """An answer that is not 2xx."""

    def __init__(self, status: int, body: str, request: str) -> None:
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = {}
        self.status = status
        self.reason: str = parsed.get("reason", "") if isinstance(parsed, dict) else ""
        self.message: str = parsed.get("message", body) if isinstance(parsed, dict) else body
        super().__init__(f"{request}: {status} {self.reason} {self.message}")


class WatchEnded(Exception):
    """The server ended a watch before the event came that was waited for."""


class Client:
    """Speaks as one user (a bearer token). Safe in threads: a connection serves one request at a time."""

    def __init__(self, url: str, token: str, ca_file: Path) -> None:
        self.url, self.token, self.ca_file = url, token, ca_file
        self._context = ssl.create_default_context(cafile=str(ca_file))
        self._closed = False
        self._idle: list[http.client.HTTPSConnection] = []  # list operations used here are atomic

    def connect(self, timeout_s: float | None = 60.0) -> http.client.HTTPSConnection:
        at = urlsplit(self.url)
        return http.client.HTTPSConnection(
            at.hostname or "", at.port, timeout=timeout_s, context=self._context
        )

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> str:
        """Body of a 2xx answer. A kept connection that the server closed meanwhile is replaced."""
        target = f"/{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        while True:
            try:
                connection, kept = self._idle.pop(), True
            except IndexError:
                connection, kept = self.connect(), False
            try:
                connection.request(method, target, data, headers)
                response = connection.getresponse()
                text = response.read().decode()
            except (http.client.HTTPException, OSError):
                connection.close()
                if kept:
                    continue
                raise
            self._idle.append(connection)
            if self._closed:  # a thread that was still waiting for its answer
                self.close()
            if response.status >= 300:
                raise ApiError(response.status, text, f"{method} {target}")
            return text

    def close(self) -> None:
        """Afterwards it still works, but keeps no connection."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def ready(self, path: str = "readyz") -> bool:
        """Whether the server answers and says yes."""
        try:
            self.request("GET", path)
        except (ApiError, OSError, http.client.HTTPException):
            return False
        return True

    @staticmethod
    def path(kind: str, name: str = "", namespace: str = "", sub: str = "") -> str:
        scope = f"/namespaces/{namespace}" if namespace else ""
        tail = "".join(f"/{part}" for part in (name, sub) if part)
        return f"{GROUPS.get(kind, CORE)}{scope}/{kind}{tail}"

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        return json.loads(self.request("GET", self.path(kind, name, namespace)))

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """Like get, but absence is an answer."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str = "", labels: str = "", fields: str = "") -> list[Object]:
        return self.list_with_version(kind, namespace, labels, fields)[0]

    def list_with_version(
        self, kind: str, namespace: str = "", labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Objects and the resource version from which a watch continues."""
        answer = json.loads(
            self.request("GET", self.path(kind, "", namespace), query=selectors(labels, fields))
        )
        return answer["items"] or [], answer["metadata"]["resourceVersion"]

    def create(self, kind: str, body: Object, namespace: str = "", name: str = "", sub: str = "") -> Object:
        """With name and sub it posts a subresource (token, binding, eviction)."""
        return json.loads(self.request("POST", self.path(kind, name, namespace, sub), body))

    def ensure(self, kind: str, body: Object, namespace: str = "") -> Object:
        """Creates, or leaves what is there."""
        try:
            return self.create(kind, body, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return self.get(kind, body["metadata"]["name"], namespace)

    def patch(
        self,
        kind: str,
        name: str,
        body: object,
        namespace: str = "",
        sub: str = "",
        content_type: str = STRATEGIC_MERGE,
    ) -> Object:
        return json.loads(
            self.request("PATCH", self.path(kind, name, namespace, sub), body, content_type=content_type)
        )

    def apply(self, kind: str, body: Object, namespace: str = "") -> Object:
        """Server-side apply: creates when absent."""
        path = self.path(kind, body["metadata"]["name"], namespace)
        query = {"fieldManager": "e2e", "force": "true"}
        return json.loads(self.request("PATCH", path, body, query, APPLY))

    def delete(
        self, kind: str, name: str, namespace: str = "", grace_s: int | None = None, uid: str = ""
    ) -> None:
        """Absence is fine. With uid, only that incarnation is deleted."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            self.request("DELETE", self.path(kind, name, namespace), options)
        except ApiError as error:
            if error.status != 404 and not (uid and error.status == 409):
                raise

    def delete_all(
        self, kind: str, namespace: str = "", labels: str = "", grace_s: int | None = None
    ) -> None:
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        self.request("DELETE", self.path(kind, "", namespace), options, selectors(labels, ""))

    def watch(
        self, kind: str, namespace: str = "", labels: str = "", fields: str = "", version: str = ""
    ) -> Watch:
        """Events from `version` on; without it from now, after synthetic ADDED events of what is there."""
        query = selectors(labels, fields) | {"watch": "true", "allowWatchBookmarks": "false"}
        if version:
            query["resourceVersion"] = version
        return Watch(self, f"/{self.path(kind, '', namespace)}?{urlencode(query)}")


def selectors(labels: str, fields: str) -> dict[str, str]:
    return ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})


class Watch:
    """A chunked watch read by a thread. Keeps every event with its arrival time, so tests can look back."""

    def __init__(self, client: Client, target: str) -> None:
        self.events: list[tuple[float, str, Object]] = []
        self.failure: Exception | None = None
        self._queue: queue.Queue[tuple[str, Object] | None] = queue.Queue()
        self._connection = client.connect(timeout_s=None)
        self._connection.request("GET", target, headers={"Authorization": f"Bearer {client.token}"})
        response = self._connection.getresponse()
        if response.status != 200:
            raise ApiError(response.status, response.read().decode(), f"GET {target}")
        self._socket = self._connection.sock  # the response lets go of it when it ends
        self._thread = threading.Thread(target=self._read, args=(response,), daemon=True)
        self._thread.start()

    def _read(self, response: http.client.HTTPResponse) -> None:
        try:
            for line in response:
                event = json.loads(line)
                self.events.append((time.monotonic(), event["type"], event["object"]))
                self._queue.put((event["type"], event["object"]))
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as failure:
            self.failure = failure  # also how stop() looks from here
        self._queue.put(None)

    def __iter__(self) -> Iterator[tuple[str, Object]]:
        """Ends when the server or stop() ends the watch."""
        while (event := self._queue.get()) is not None:
            yield event

    def next(self, timeout_s: float) -> tuple[str, Object] | None:
        """Next event; None when the watch ended; raises queue.Empty when time runs out."""
        return self._queue.get(timeout=timeout_s)

    def until(
        self, wanted: Callable[[str, Object], object], what: str, timeout_s: float = 120.0
    ) -> tuple[str, Object]:
        """First event that `wanted` accepts."""
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                event = self.next(left_s)
            except queue.Empty:
                break
            if event is None:
                raise WatchEnded(f"{what}: the watch ended ({self.failure or 'by the server'})")
            if wanted(*event):
                return event
        raise TimeoutError(f"{what}: no such event within {timeout_s:g} s")

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(2)
        self._thread.join(5)
        self._connection.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
