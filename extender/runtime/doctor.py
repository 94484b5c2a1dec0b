"""`carbon-scheduler doctor`: looks at what an installation needs, and says what to do where it lacks.

Run it with the settings and the credentials of the extender (in its pod: `kubectl exec`), for it asks the API
server what those may do.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import aiohttp
import msgspec

import extender
from extender.adapters.carbon.client import CarbonClient
from extender.adapters.kubernetes.client import ApiClient, ApiError
from extender.adapters.kubernetes.rights import RightsCheck
from extender.core.carbon.signal import Signal
from extender.core.facts import NodeFacts
from extender.objects.projection import ProjectionProblem, node_facts
from extender.objects.structs import DECODE_ERRORS, decode_node
from extender.runtime.needed_rights import needed_rights
from extender.settings.root import Settings
from extender.support.passwords import without_passwords

SUPPORTED: Final = (34, 37)
"""Minor versions of Kubernetes 1 that the end-to-end scenarios cover, the first and the last."""

_LEASE: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases/{}"
_NAMED: Final = 3
_PAGE: Final = 500


class Grade(StrEnum):
    """How serious a finding is. `fail` keeps the extender from working as configured."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it where it is not well."""

    subject: str
    grade: Grade
    text: str


async def examine(
    settings: Settings, client: ApiClient, *, namespace: str, lease: str, now: float
) -> list[Finding]:
    """All findings, in the order of an installation: settings, TLS, cluster, rights, carbon, scheduler."""
    found = [
        Finding("settings", Grade.OK, f"carbon-scheduler {extender.__version__} reads them"),
        *tls(settings),
    ]
    try:
        found.append(_version(msgspec.json.decode(await client.get("/version"))))
    except (ApiError, KeyError, *DECODE_ERRORS) as problem:
        if isinstance(problem, ApiError) and problem.status == 0:
            return [*found, Finding("cluster", Grade.FAIL, f"the API server does not answer: {problem}")]
        found.append(Finding("cluster", Grade.WARN, f"the API server does not tell its version: {problem}"))
    found += [each async for each in _rights(settings, client)]
    try:
        nodes = await _nodes(client)
    except (ApiError, *DECODE_ERRORS) as problem:
        return [*found, Finding("nodes", Grade.FAIL, f"nodes cannot be listed: {problem}")]
    found += _nodes_found(nodes)
    found += [each async for each in _carbon(settings, nodes)]
    found.append(await _scheduler(client, namespace, lease, now))
    return found


def tls(settings: Settings) -> Iterator[Finding]:
    """Whether certificate and key are there and belong together, and who may call the webhooks."""
    options = settings.http.tls
    if options.cert_file is None:
        where = settings.http.address
        yield Finding("tls", Grade.OK, f"off: the webhooks answer on {where} in clear")
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert_file, options.key_file)
        if options.client_ca_file is not None:
            context.load_verify_locations(options.client_ca_file)
    except (OSError, ssl.SSLError) as problem:
        files = ", ".join(
            str(each) for each in (options.cert_file, options.key_file, options.client_ca_file) if each
        )
        yield Finding(
            "tls", Grade.FAIL, f"{files}: {problem}; give a certificate, its own key, and the clients' CA"
        )
        return
    if options.client_ca_file is None:
        yield Finding("tls", Grade.WARN, "on, but clients need no certificate: set http.tls.client_ca_file")
    else:
        yield Finding(
            "tls", Grade.OK, f"mutual; clients: {', '.join(options.client_names) or 'any of that CA'}"
        )


def _version(answer: dict[str, Any]) -> Finding:
    minor = int("".join(each for each in str(answer["minor"]) if each.isdigit()) or 0)
    text = f"Kubernetes {answer.get('gitVersion', answer['minor'])}"
    low, high = SUPPORTED
    if low <= minor <= high:
        return Finding("cluster", Grade.OK, text)
    return Finding("cluster", Grade.WARN, f"{text}: tried with 1.{low} to 1.{high} only")


async def _rights(settings: Settings, client: ApiClient) -> AsyncIterator[Finding]:
    check = RightsCheck(client, needed_rights(settings))
    answered = await check.check()
    for right in check.missing:
        yield Finding("rights", Grade.FAIL, f"missing: {right} ({right.purpose}); apply manifests/rbac")
    if not answered:
        yield Finding("rights", Grade.WARN, "the API server did not say of all rights whether we have them")
    elif not check.missing:
        yield Finding("rights", Grade.OK, "all that these settings need")


async def _nodes(client: ApiClient) -> list[NodeFacts]:
    nodes: list[NodeFacts] = []
    more = ""
    while True:
        params = {"limit": _PAGE} | ({"continue": more} if more else {})
        page = msgspec.json.decode(await client.get("/api/v1/nodes", params))
        for item in page.get("items", ()):
            try:
                nodes.append(node_facts(decode_node(msgspec.json.encode(item))))
            except (ProjectionProblem, *DECODE_ERRORS):
                continue
        more = page.get("metadata", {}).get("continue", "")
        if not more:
            return nodes


def _nodes_found(nodes: Iterable[NodeFacts]) -> Iterator[Finding]:
    nodes = list(nodes)
    ready = sum(1 for node in nodes if node.ready and not node.unschedulable)
    grade = Grade.OK if ready else Grade.FAIL
    yield Finding("nodes", grade, f"{ready} of {len(nodes)} are ready and not cordoned")


def zone_problem(settings: Settings, nodes: Iterable[NodeFacts]) -> str:
    """Why the carbon signal reaches no node, or not all; empty where it does, or where none is configured."""
    if settings.carbon.url is None:
        return ""
    zone_of = settings.to_policy().carbon.zone_of
    nodes = list(nodes)
    without = [node.name for node in nodes if not zone_of(node.labels)]
    if not without:
        return ""
    label = settings.carbon.zone_label
    how = f"label them (kubectl label node NAME {label}=ZONE) or set carbon.zone_by_place"
    if len(without) == len(nodes):
        return f"carbon.url is set, but none of {len(nodes)} nodes has a carbon zone: {how}"
    named = ", ".join(without[:_NAMED]) + (", ..." if len(without) > _NAMED else "")
    return f"{len(without)} of {len(nodes)} nodes have no carbon zone ({named}): {how}"


def signal_reaches_no_node(settings: Settings, nodes: Iterable[NodeFacts]) -> str:
    """As `zone_problem`, only where no node has a zone.

    Nodes without a zone beside others may be meant so, and then nothing is wrong.
    """
    nodes = list(nodes)
    zone_of = settings.to_policy().carbon.zone_of
    return "" if any(zone_of(node.labels) for node in nodes) else zone_problem(settings, nodes)


async def _carbon(settings: Settings, nodes: list[NodeFacts]) -> AsyncIterator[Finding]:
    url = settings.carbon.url
    if url is None:
        yield Finding("carbon", Grade.OK, "no carbon.url: no carbon policy acts")
        return
    problem = zone_problem(settings, nodes)
    if problem:
        yield Finding("carbon zones", Grade.WARN, problem)
    zones = sorted({zone for node in nodes if (zone := settings.to_policy().carbon.zone_of(node.labels))})
    signals: list[Signal] = []
    client = CarbonClient(url, lambda: zones, signals.append, lambda: datetime.now(UTC).timestamp())
    async with aiohttp.ClientSession() as session:
        await client.poll(session, zones)
    for signal in signals:
        known = signal.g_per_kwh is not None
        text = f"{signal.zone}: {signal.g_per_kwh:.0f} g/kWh" if known else f"{signal.zone}: {signal.reason}"
        yield Finding("carbon", Grade.OK if known else Grade.WARN, text)
    if not zones and not await _answers(url):
        yield Finding("carbon", Grade.WARN, f"the carbon service at {without_passwords(url)} does not answer")


async def _answers(url: str) -> bool:
    try:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url):
            return True
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _scheduler(client: ApiClient, namespace: str, lease: str, now: float) -> Finding:
    """Whether the second kube-scheduler runs: it renews its lease every few seconds."""
    try:
        spec = msgspec.json.decode(await client.get(_LEASE.format(namespace, lease)))["spec"]
        renewed_s = datetime.fromisoformat(spec["renewTime"]).timestamp()
        held_s = float(spec.get("leaseDurationSeconds") or 15)
    except ApiError as problem:
        if problem.status == 403:
            return Finding(
                "kube-scheduler", Grade.WARN, f"not looked at, the lease may not be read: {problem}"
            )
        text = (
            f"nothing holds the lease {namespace}/{lease}: is the second kube-scheduler deployed? ({problem})"
        )
        return Finding("kube-scheduler", Grade.FAIL, text)
    except (KeyError, ValueError, *DECODE_ERRORS) as problem:
        return Finding(
            "kube-scheduler", Grade.WARN, f"the lease {namespace}/{lease} cannot be read: {problem!r}"
        )
    if now - renewed_s > 2 * held_s:
        text = f"its lease {namespace}/{lease} was last renewed {now - renewed_s:.0f} s ago: look at its log"
        return Finding("kube-scheduler", Grade.FAIL, text)
    return Finding("kube-scheduler", Grade.OK, f"{spec.get('holderIdentity', '')} leads")
