"""Commands that ask a running extender: explain, queue, top, status."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from extender.adapters.api.tables import age
from extender.cli.reach import DEFAULT_NAMESPACE, DEFAULT_URL, ByUrl, InCluster, NotReached
from extender.cli.text import NONE, clock, explained, sizes, table
from extender.support.passwords import without_passwords

_PLUGIN: Final = "kubectl-carbon"
_MOST: Final = 1000
_SOON_S: Final = 1.0
Rows = Sequence[Mapping[str, Any]]


class Output(StrEnum):
    """How an answer is written. `wide` has more columns, `name` is one NAMESPACE/NAME a line."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"


Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="CARBON_SCHEDULER_URL", help=f"Address of the API [default: {DEFAULT_URL}]."
    ),
]
Cluster = Annotated[
    bool,
    typer.Option("--in-cluster", help="Go through the Kubernetes API server; `kubectl carbon` always does."),
]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="Kubeconfig for --in-cluster; else as kubectl finds it.")
]
Context = Annotated[str | None, typer.Option(help="Its context.")]
ExtenderNamespace = Annotated[str, typer.Option(help="Namespace that the extender runs in.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only applications of this namespace.")]
Format = Annotated[Output, typer.Option("--output", "-o", help="Format of the answer.")]


def reach(
    url: str | None,
    in_cluster: bool,
    kubeconfig: Path | None = None,
    context: str | None = None,
    extender_namespace: str = DEFAULT_NAMESPACE,
) -> ByUrl | InCluster:
    """The extender to ask: at a stated address, else through the cluster where that is wanted, else here."""
    if url is None and (in_cluster or Path(sys.argv[0]).name == _PLUGIN):
        return InCluster(kubeconfig, context, extender_namespace)
    if url is not None and not url.startswith(("http://", "https://")):
        fail(f"--url {url}: must begin with http:// or https://", 2)
    return ByUrl(url or DEFAULT_URL)


def explain(
    application: Annotated[
        str, typer.Argument(metavar="POD-OR-APP", help="Driver, executor, Spark application name or id.")
    ],
    namespace: Namespace = "",
    output: Format = Output.TABLE,
    url: Url = None,
    in_cluster: Cluster = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    extender_namespace: ExtenderNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Explain why an application waits, what is missing, when it starts, and which changes would help."""
    from_there = reach(url, in_cluster, kubeconfig, context, extender_namespace)
    found = _ask(from_there, "/v1/explain", name=application, namespace=namespace)
    if output is Output.JSON:
        _print_json(found)
    elif output is Output.NAME:
        typer.echo(_name(found["summary"]))
    else:
        typer.echo(explained(found, time.time(), _width()))


def queue(
    namespace: Namespace = "",
    output: Format = Output.TABLE,
    url: Url = None,
    in_cluster: Cluster = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    extender_namespace: ExtenderNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Show which applications wait, in order, why, and when each is expected to start."""
    from_there = reach(url, in_cluster, kubeconfig, context, extender_namespace)
    entries = _of(namespace, _ask(from_there, "/v1/queue", explained=_MOST))
    entries.sort(key=lambda each: each["refused_for_good"])  # no application waits behind these
    now = time.time()
    if _written(output, entries):
        return
    if not entries:
        typer.echo("No application waits.")
        return
    head = ["DRIVER", "NAMESPACE", "PLACE", "AGE", "STARTS", "WHY"]
    rows = [[each["leader"], each["namespace"], *_standing(each, now)] for each in entries]
    if output is Output.WIDE:
        head = [*head[:2], "APP", "POOL", "AFTER", *head[2:], "REASON"]
        rows = [
            [
                *row[:2],
                each["app_id"],
                each["pool"] or NONE,
                each["blocked_by"] or NONE,
                *row[2:],
                each["reason"],
            ]
            for each, row in zip(entries, rows, strict=True)
        ]
    typer.echo(table(head, rows))


def _standing(entry: Mapping[str, Any], now: float) -> list[str]:
    """Place, age, expected start and reason."""
    if entry["refused_for_good"]:
        return [NONE, age(entry["age_s"]), "never", f"refused: {entry['outcome']}"]
    expected_s = entry["expected_s"]
    starts = NONE if expected_s is None else "now" if expected_s <= now + _SOON_S else clock(expected_s, now)
    return [str(entry["position"]), age(entry["age_s"]), starts, entry["outcome"] or NONE]


def top(
    namespace: Namespace = "",
    output: Format = Output.TABLE,
    url: Url = None,
    in_cluster: Cluster = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    extender_namespace: ExtenderNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Show all applications, those with most executors first."""
    from_there = reach(url, in_cluster, kubeconfig, context, extender_namespace)
    found = _of(namespace, _ask(from_there, "/v1/applications"))
    found.sort(key=lambda each: (-each["workers_bound"], each["namespace"], each["leader"]))
    if _written(output, found):
        return
    if not found:
        typer.echo("No application is known.")
        return
    head = ["DRIVER", "NAMESPACE", "STATE", "EXECUTORS", "WAITING", "NODE"]
    rows = [
        [
            each["leader"] or NONE,
            each["namespace"],
            each["state"],
            f"{each['workers_bound']}/{max(each['slots'], each['workers_bound'])}",
            str(each["workers_waiting"]),
            each["leader_node"] or NONE,
        ]
        for each in found
    ]
    if output is Output.WIDE:
        head = [*head, "POOL", "SLOTS OPEN", "APP"]
        rows = [
            [*row, each["pool"] or NONE, str(each["slots_open"]), each["app_id"]]
            for each, row in zip(found, rows, strict=True)
        ]
    typer.echo(table(head, rows))


def status(
    output: Format = Output.TABLE,
    url: Url = None,
    in_cluster: Cluster = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    extender_namespace: ExtenderNamespace = DEFAULT_NAMESPACE,
) -> None:
    """Show how the extender and the cluster are doing: problems, room, applications, carbon."""
    from_there = reach(url, in_cluster, kubeconfig, context, extender_namespace)
    found = {
        "health": _ask(from_there, "/healthz"),
        "totals": _ask(from_there, "/v1/totals"),
        "carbon": _ask(from_there, "/v1/carbon"),
    }
    if output is Output.JSON:
        _print_json(found)
        return
    health, totals, carbon = found["health"], found["totals"], found["carbon"]
    lines = [f"Extender      {health['status']}"]
    lines += [f"  problem     {each}" for each in health["problems"]]
    gangs = ", ".join(f"{number} {state}" for state, number in totals["gangs"].items() if number)
    lines.append(f"Applications  {gangs or 'none'}")
    lines.append(f"Nodes         {totals['nodes']}")
    for what in ("allocatable", "used", "reserved"):
        shown = {name: totals[what][name] for name in ("cpu", "memory") if name in totals[what]}
        lines.append(f"  {what:<11} {sizes(shown)}")
    for zone in carbon["zones"]:
        value = zone["g_per_kwh"]
        known = f"{value:.0f} g/kWh" if value is not None else f"not known: {zone['reason']}"
        lines.append(f"Carbon        {zone['zone']}: {known} ({zone['nodes']} nodes)")
    if not carbon["zones"]:
        lines.append("Carbon        no node has a carbon zone")
    lines.append(f"Held          {len(carbon['held'])} applications wait for cleaner power")
    typer.echo("\n".join(lines))


def _written(output: Output, found: Rows) -> bool:
    """Write an answer for machines; False for tables."""
    if output is Output.JSON:
        _print_json(found)
    elif output is Output.NAME:
        typer.echo("".join(f"{_name(each)}\n" for each in found), nl=False)
    return output in (Output.JSON, Output.NAME)


def _name(entry: Mapping[str, Any]) -> str:
    return f"{entry['namespace']}/{entry['leader'] or entry['app_id']}"


def _of(namespace: str, found: Rows) -> list[Mapping[str, Any]]:
    return [each for each in found if namespace in ("", each["namespace"])]


def _print_json(found: Any) -> None:
    typer.echo(json.dumps(found, indent=2))


def _ask(there: ByUrl | InCluster, path: str, **query: str | int) -> Any:
    try:
        return there.get(path, **query)
    except NotReached as problem:
        fail(str(problem), 1)


def fail(text: str, code: int) -> NoReturn:
    """End the command with a line on standard error."""
    typer.secho(f"carbon-scheduler: {without_passwords(text)}", err=True, fg="red")
    raise typer.Exit(code)


def _width() -> int:
    """Of the terminal; a pipe gets long lines, so that each fact is one line."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1_000
