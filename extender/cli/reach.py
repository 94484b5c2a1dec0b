"""How the command line reaches a running extender: at an address, or through the Kubernetes API server.

Through the API server nothing has to be forwarded first: it passes a GET on to the API port of the pod that
leads (the holder of the lease), for users who may `get pods/proxy` in the extender's namespace.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import urlopen

from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.credentials import CredentialsError

DEFAULT_URL: Final = "http://127.0.0.1:8420"
DEFAULT_NAMESPACE: Final = "carbon-scheduler"
_PORT_NAME: Final = "api"
_LEASE: Final = "carbon-scheduler"
_TIMEOUT_S: Final = 15.0


class NotReached(Exception):
    """The extender did not answer, or refused; the text says what to do."""


class NotThere(NotReached):
    """The extender answered that it does not know the requested name."""


@dataclass(frozen=True, slots=True)
class ByUrl:
    """An extender whose API answers at this address (http or https)."""

    url: str

    def get(self, path: str, **query: str | int) -> Any:
        """A JSON document. Raises `NotReached`."""
        try:
            with urlopen(self.url.rstrip("/") + _with(path, query), timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as problem:
            with problem:
                text = _detail(problem.read()) or f"{self.url} answered {problem.code}"
            raise (NotThere if problem.code == 404 else NotReached)(text) from None
        except (URLError, OSError, ValueError) as problem:
            reason = getattr(problem, "reason", problem)
            raise NotReached(
                f"no extender answers at {self.url} ({reason}); start one with `carbon-scheduler serve`, "
                "give --url, or go through the Kubernetes API server with --in-cluster"
            ) from None


@dataclass(frozen=True, slots=True)
class InCluster:
    """An extender in the cluster of a kubeconfig, reached through the API server's proxy."""

    kubeconfig: Path | None
    context: str | None
    namespace: str = DEFAULT_NAMESPACE

    def get(self, path: str, **query: str | int) -> Any:
        """A JSON document. Raises `NotReached`."""
        try:
            return json.loads(asyncio.run(self._get(_with(path, query))))
        except (ApiError, CredentialsError, ValueError) as problem:
            raise NotReached(f"the extender cannot be reached through the API server: {problem}") from None

    async def _get(self, path: str) -> bytes:
        async with await ApiClient.from_kubeconfig(self.kubeconfig, self.context) as client:
            base = f"/api/v1/namespaces/{self.namespace}/pods"
            selector = {"labelSelector": "app.kubernetes.io/name=carbon-scheduler"}
            pods = json.loads(await client.get(base, selector, timeout_s=_TIMEOUT_S))["items"]
            pod, port = _endpoint(pods, await self._leader(client), self.namespace)
            try:
                return await client.get(f"{base}/http:{pod}:{port}/proxy{path}", timeout_s=_TIMEOUT_S)
            except ApiError as problem:
                detail = _detail(str(getattr(problem, "message", "")).encode())
                raise (NotThere if problem.status == 404 else NotReached)(detail or str(problem)) from None

    async def _leader(self, client: ApiClient) -> str:
        """Name of the pod that holds kube-scheduler's lease; empty if that is not known."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{_LEASE}"
        try:
            lease = json.loads(await client.get(path, timeout_s=_TIMEOUT_S))
        except ApiError:
            return ""
        return str(lease.get("spec", {}).get("holderIdentity", "")).rpartition("_")[0]


def _endpoint(pods: list[dict[str, Any]], leader: str, namespace: str) -> tuple[str, int]:
    """The pod to ask, the leader if it is there, and the number of its API port."""
    found: list[tuple[str, int]] = []
    for pod in pods:
        spec = pod.get("spec", {})
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            found += [
                (pod["metadata"]["name"], port["containerPort"])
                for port in container.get("ports", ())
                if port.get("name") == _PORT_NAME
            ]
    if not found:
        raise NotReached(
            f"no pod in namespace {namespace} has the label app.kubernetes.io/name=carbon-scheduler and a "
            f"port named {_PORT_NAME}; name the extender's namespace with --extender-namespace"
        )
    return next((each for each in found if each[0] == leader), found[0])


def _with(path: str, query: dict[str, str | int]) -> str:
    asked = {key: value for key, value in query.items() if value != ""}
    return path + ("?" + urlencode(asked, quote_via=quote) if asked else "")


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
