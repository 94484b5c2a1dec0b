"""`carbon-scheduler doctor`: the findings as lines, and an exit code."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from extender.cli.asking import Format, Output, fail
from extender.cli.text import labelled
from extender.settings.loading import SettingsError, load

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file of the extender (YAML).")
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Kubeconfig, instead of that of the settings.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Its context.")] = None,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Where the extender runs.")
    ] = "carbon-scheduler",
    lease: Annotated[
        str, typer.Option(help="Name of the second kube-scheduler's lease.")
    ] = "carbon-scheduler",
    output: Format = Output.TABLE,
) -> None:
    """Check settings, TLS, cluster, rights, carbon zones and kube-scheduler; 1 if something fails."""
    flags: dict[str, Any] = {}
    if kubeconfig is not None:
        flags["kubernetes.kubeconfig"] = str(kubeconfig)
    if context is not None:
        flags["kubernetes.context"] = context
    try:
        settings = load(config, flags)
    except SettingsError as problem:
        fail(str(problem), 2)
    findings = asyncio.run(_examine(settings, namespace, lease))
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(each) for each in findings], indent=2))
    else:
        for each in findings:
            typer.echo(labelled(f"{_MARKS[each.grade]} {each.subject}", each.text, 1_000))
    raise typer.Exit(1 if any(each.grade == "fail" for each in findings) else 0)


async def _examine(settings: Any, namespace: str, lease: str) -> Any:
    from extender.adapters.kubernetes.client import ApiClient
    from extender.adapters.kubernetes.credentials import CredentialsError
    from extender.runtime.doctor import examine

    path = settings.kubernetes.kubeconfig
    try:
        client = await (
            ApiClient.in_cluster()
            if path is None
            else ApiClient.from_kubeconfig(path, settings.kubernetes.context)
        )
    except CredentialsError as problem:
        fail(f"{problem}; give --kubeconfig outside of the cluster", 1)
    async with client:
        return await examine(settings, client, namespace=namespace, lease=lease, now=time.time())
