"""`carbon-scheduler report`: key figures on the terminal, one HTML page, CSV, Parquet, JSON."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from extender.adapters.accounting import words
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.books import IntensityRow
from extender.adapters.accounting.export import ExportError, write_csv, write_parquet
from extender.adapters.accounting.kpis import Group, Report, collect, extent
from extender.adapters.accounting.ledger import Ledger, LedgerError
from extender.adapters.accounting.page import render
from extender.core.facts import GangKey

MOST_LINES: Final = 30
PIPE_WIDTH: Final = 150
MOST_NAME: Final = 60
_UNITS_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class By(StrEnum):
    """Tables that can be printed."""

    STRATEGY = "strategy"
    NODE = "node"
    NAMESPACE = "namespace"
    TIME = "time"
    APPLICATION = "application"
    STAGE = "stage"


Where = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar="CARBON_SCHEDULER_ACCOUNTING__LEDGER",
        help="Path of the ledger, or postgresql://user@host/database.",
    ),
]
Since = Annotated[str, typer.Option(help="First moment, like 2026-03-01 or 2026-03-01T12:00 (UTC).")]
Until = Annotated[str, typer.Option(help="End, not included. Default: the last booking.")]
Last = Annotated[str, typer.Option(help="Instead of --since: so much before the end, like 24h or 7d.")]
Bucket = Annotated[str, typer.Option(help="Length of a bucket of time, like 15m or 1h.")]
Bys = Annotated[list[By] | None, typer.Option("--by", help="Table to print; may be repeated. Default: all.")]
Html = Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")]
Csv = Annotated[Path | None, typer.Option(help="Write the ledger's tables as CSV into this directory.")]
Parquet = Annotated[Path | None, typer.Option(help="The same as Parquet (extra `parquet`).")]
Price = Annotated[float | None, typer.Option(help="Price of a kWh: the tables then have what energy cost.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON instead of tables.")]


def report_command(
    ledger: Where,
    since: Since = "",
    until: Until = "",
    last: Last = "",
    bucket: Bucket = "1h",
    by: Bys = None,
    html: Html = None,
    csv: Csv = None,
    parquet: Parquet = None,
    price: Price = None,
    as_json: AsJson = False,
) -> None:
    """Energy, carbon and waiting of what ran: by strategy, node, namespace, time, application and stage."""
    # In a pipe there is no width to fit: tables are not folded for the eighty columns rich assumes.
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    try:
        books = Ledger(ledger, create=False)
        try:
            since_s, until_s = _window(books, since, until, last)
            figures = collect(books, since_s, until_s, _length_s(bucket, "--bucket"))
            report = replace(figures, price_per_kwh=_price(price))
            written = write_csv(books, csv, since_s, until_s) if csv is not None else []
            written += write_parquet(books, parquet, since_s, until_s) if parquet is not None else []
        finally:
            books.close()
        if html is not None:
            html.write_text(render(report), encoding="utf-8")
            written.append(html)
    except (LedgerError, ExportError, ValueError) as problem:
        _fail(str(problem))
    except OSError as problem:
        _fail(f"{problem.filename}: {problem.strerror}")
    if as_json:
        typer.echo(json.dumps(plain(report), indent=2))
        return
    print_report(console, report, by or list(By))
    for path in written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def _fail(problem: str) -> NoReturn:
    typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(2)


def _window(books: Ledger, since: str, until: str, last: str) -> tuple[float, float]:
    if since and last:
        raise ValueError("--since and --last exclude each other")
    booked = extent(books)
    if booked is None:
        raise ValueError("the ledger has no bookings yet")
    until_s = _moment_s(until, "--until") if until else booked[1]
    if last:
        since_s = until_s - _length_s(last, "--last")
    else:
        since_s = _moment_s(since, "--since") if since else booked[0]
    # Before the first booking there is nothing to head a report with.
    since_s = max(since_s, booked[0]) if last or not since else since_s
    if not since_s < until_s:
        raise ValueError(f"nothing lies between {words.moment(since_s)} and {words.moment(until_s)}")
    return since_s, until_s


def _moment_s(text: str, option: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{option} {text!r}: give a date or time like 2026-03-01 or 2026-03-01T12:00"
        ) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _price(price: float | None) -> float | None:
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ValueError(f"--price {price}: a price of a kWh is a number of 0 or more, like 0.25")
    return price


def _length_s(text: str, option: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"{option} {text!r}: give a number of minutes, hours, days or weeks like 15m, 24h, 7d, 2w"
        )
    return float(int(match[1]) * _UNITS_S[match[2]])


def plain(value: Any) -> Any:
    """A report as JSON can hold it; what is missing becomes an object with the reason."""
    if isinstance(value, Missing):
        return {"missing": value.reason}
    if isinstance(value, Group):
        extra = {"intensity_g_per_kwh": value.intensity_g_per_kwh, "utilisation": value.utilisation}
        return asdict(value) | extra
    if is_dataclass(value) and not isinstance(value, type):
        fields = {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
        derived = ("waiting_s", "turnaround_s", "saving", "total_g")
        return fields | {name: plain(getattr(value, name)) for name in derived if hasattr(value, name)}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, GangKey | IntensityRow):
        return {key: plain(each) for key, each in value._asdict().items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    return value


def print_report(console: Console, report: Report, by: Sequence[By]) -> None:
    """The requested tables, below a summary."""
    total = report.total
    console.print(
        f"[bold]{words.moment(report.since_s)} to {words.moment(report.until_s)} UTC[/]", highlight=False
    )
    console.print(
        f"{words.energy(total.energy_kwh)} ({words.energy(total.remainder_kwh)} of it unused), "
        f"{words.carbon(total)} CO2e, mean {words.intensity(total.intensity_g_per_kwh)} g/kWh, "
        f"utilisation {words.percent(total.utilisation)}, {total.nodes_used} of {total.nodes} nodes used",
        highlight=False,
    )
    printers = {
        By.STRATEGY: lambda: _strategies(report),
        By.NODE: lambda: _groups("node", report.nodes, report.price_per_kwh),
        By.NAMESPACE: lambda: _groups("namespace", report.namespaces, report.price_per_kwh),
        By.TIME: lambda: _times(report),
        By.APPLICATION: lambda: _applications(report),
        By.STAGE: lambda: _stages(report),
    }
    for each in by:
        if each is By.STAGE and not report.stages:
            continue
        console.print()
        console.print(printers[each]())
    _print_origins(console, report)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _strategies(report: Report) -> Table:
    table = _table(
        "By strategy",
        "strategy",
        "apps",
        "ended",
        "energy",
        "carbon",
        "saved",
        "wait mean/p50/p95",
        "makespan",
    )
    for each in report.strategies:
        unknown = f" + {each.carbon_unknown} unknown" if each.carbon_unknown else ""
        unclear = f" + {each.unknown_savings} unknown" if each.unknown_savings else ""
        table.add_row(
            escape(each.name),
            str(each.applications),
            str(each.ended),
            words.energy(each.energy_kwh),
            words.grams(each.carbon_g) + unknown,
            words.grams(each.saving.total_g) + unclear,
            words.waits(each.waiting_s),
            words.duration(each.makespan_s),
        )
    return table


def _groups(name: str, groups: Sequence[Group], price_per_kwh: float | None) -> Table:
    table = _table(f"By {name}", name, "energy", "unused", "price", "carbon", "g/kWh", "utilisation")
    largest = sorted(groups, key=lambda group: -group.energy_kwh)
    for each in largest[:MOST_LINES]:
        table.add_row(
            escape(each.name),
            words.energy(each.energy_kwh),
            words.energy(each.remainder_kwh),
            words.price(each.energy_kwh, price_per_kwh),
            words.carbon(each),
            words.intensity(each.intensity_g_per_kwh),
            words.percent(each.utilisation) if name == "node" else "-",
        )
    return _with_rest(table, len(largest))


def _times(report: Report) -> Table:
    table = _table(
        "By time (UTC)", "from", "energy", "unused", "carbon", "g/kWh", "utilisation", "nodes used"
    )
    for start_s, each in report.times[-MOST_LINES:]:
        table.add_row(
            words.moment(start_s),
            words.energy(each.energy_kwh),
            words.energy(each.remainder_kwh),
            words.carbon(each),
            words.intensity(each.intensity_g_per_kwh),
            words.percent(each.utilisation),
            f"{each.nodes_used} of {each.nodes}",
        )
    return _with_rest(table, len(report.times))


def _applications(report: Report) -> Table:
    table = _table(
        "By application",
        "application",
        "strategy",
        "waited",
        "energy",
        "price",
        "carbon",
        "saved",
        "by intensity",
        "by energy",
    )
    for each in report.heaviest[:MOST_LINES]:
        saving = each.saving
        parts = ("-", "-")
        if not isinstance(saving, Missing):
            parts = (words.grams(saving.by_intensity_g), words.grams(saving.by_energy_g))
        waiting = each.row.waiting_s
        table.add_row(
            escape(str(each.row.app)),
            escape(each.row.strategy) or "-",
            words.UNKNOWN if isinstance(waiting, Missing) else words.duration(waiting),
            words.energy(each.energy_kwh),
            words.price(each.energy_kwh, report.price_per_kwh),
            words.application_carbon(each),
            words.saving(saving),
            *parts,
        )
    return _with_rest(table, len(report.applications))


def _stages(report: Report) -> Table:
    table = _table("By stage", "application", "stage", "name", "task time", "energy", "carbon")
    for each in report.stages[:MOST_LINES]:
        table.add_row(
            escape(str(each.app)),
            escape(each.stage) or "-",
            escape(each.name[:MOST_NAME]) or "(no task)",
            words.duration(each.task_s),
            words.energy(each.energy_kwh),
            words.stage_carbon(each),
        )
    return _with_rest(table, len(report.stages))


def _with_rest(table: Table, rows: int) -> Table:
    if rows > MOST_LINES:
        table.caption, table.caption_justify = (
            f"{rows - MOST_LINES} more: see --html, --csv or --json",
            "left",
        )
    return table


def _print_origins(console: Console, report: Report) -> None:
    console.print()
    table = _table("Power from / attributed by", "source", "energy")
    for source, kwh in report.sources_kwh.items():
        table.add_row(escape(source), words.energy(kwh))
    console.print(table)
    for reason, kwh in report.unknown_kwh.items():
        console.print(f"[yellow]carbon of {words.energy(kwh)} unknown:[/] {escape(reason)}", highlight=False)
