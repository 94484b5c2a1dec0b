"""The rights that the service needs at the API server, by its settings. The manifests grant exactly these."""

from __future__ import annotations

from collections.abc import Iterator

from extender.adapters.kubernetes.rights import Right
from extender.runtime.cap_quota import QUOTA_NAME
from extender.settings.root import Settings


def needed_rights(settings: Settings) -> list[Right]:
    """Everything that the processes of the service ask the API server for."""
    return [*_cluster(), *_in_namespaces(settings), *_options(settings)]


def _cluster() -> Iterator[Right]:
    for verb in ("list", "watch"):
        yield Right(verb, "nodes", "nodes are where pods are placed")
        yield Right(verb, "pods", "every pod counts on its node, whoever placed it")


def _in_namespaces(settings: Settings) -> Iterator[Right]:
    for namespace in settings.config_map_namespaces():
        for verb in ("list", "watch"):
            yield Right(verb, "configmaps", "Spark writes what an application asks for there", "", namespace)
    for namespace in settings.kubernetes.namespaces or ("",):
        yield Right("get", "pods", "a pod is read again before and after its Binding", "", namespace)
        yield Right("patch", "pods", "reservations and wake-ups are annotations", "", namespace)
        yield Right("create", "pods/binding", "pods are bound by the extender", "", namespace)
        if settings.kubernetes.name_nodes:
            purpose = "`kubernetes.name_nodes` writes the chosen node into a pod's status"
            yield Right("patch", "pods/status", purpose, "", namespace)
        yield Right("create", "events", "drivers that wait get Events", "events.k8s.io", namespace)


def _options(settings: Settings) -> Iterator[Right]:
    if settings.drivers.port is not None:
        group = "authentication.k8s.io"
        yield Right("create", "tokenreviews", "`drivers.port` checks whose pod a token was issued to", group)
    namespace = settings.cap.quota.namespace
    if settings.cap.enabled and namespace is not None:
        purpose = "`cap.quota.namespace` keeps the budget as a ResourceQuota"
        yield Right("create", "resourcequotas", purpose, "", namespace)
        for verb in ("get", "patch", "delete"):
            yield Right(verb, "resourcequotas", purpose, "", namespace, QUOTA_NAME)
