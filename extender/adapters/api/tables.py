"""The API's answers as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_BINARY_UNITS: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


def amount(resource: str, value: int) -> str:
    """A base-unit amount as people write it: cores, binary memory units, or pieces."""
    if resource == "cpu":
        return f"{value / 1000:g}"
    if resource == "memory" or resource.endswith("storage"):
        return _binary(value)
    return str(value)


def age(seconds: float) -> str:
    """A duration in its two largest units."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{whole % 60}s" if minutes else f"{whole}s"


def print_queue(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """One line a waiting gang."""
    if not entries:
        console.print("No gang waits.")
        return
    table = Table("pool", "place", "application", "age", "outcome", "reason", box=None, pad_edge=False)
    for entry in entries:
        after = f" (after {entry['blocked_by']})" if entry["blocked_by"] else ""
        table.add_row(
            escape(entry["pool"]) or "-",
            str(entry["position"]),
            escape(f"{entry['namespace']}/{entry['app_id']}"),
            age(entry["age_s"]),
            entry["outcome"] or "-",
            escape(entry["reason"] + after),
        )
    console.print(table)


def print_application(console: Console, application: Mapping[str, Any]) -> None:
    """Everything known of one gang."""
    summary, request, waiting = application["summary"], application["request"], application["waiting"]
    place = f" on {summary['leader_node']}" if summary["leader_node"] else ""
    console.print(f"[bold]{escape(summary['namespace'])}/{escape(summary['app_id'])}[/]: {summary['state']}")
    console.print(f"leader   {escape(summary['leader']) or 'none'}{escape(place)}")
    if request is None:
        console.print("request  not known")
    else:
        workers = f"{request['min_workers']}..{request['max_workers']} workers of {_sizes(request['worker'])}"
        console.print(
            f"request  leader {_sizes(request['leader'])}; {workers} (from {escape(request['source'])})"
        )
    console.print(
        f"workers  {summary['workers_bound']} bound, {summary['workers_waiting']} waiting; "
        f"{summary['slots']} slots, {summary['slots_open']} open"
    )
    if waiting is not None:
        _print_waiting(console, application, waiting)
    if application["slots"]:
        table = Table("slot", "node", "pod", "", box=None, pad_edge=False)
        for number, slot in enumerate(application["slots"], 1):
            state = "bound" if slot["bound"] else "claimed" if slot["pod"] else "open"
            table.add_row(
                str(number), escape(slot["node"]) or "no room yet", escape(slot["pod"]) or "-", state
            )
        console.print(table)
    extra = [worker for worker in application["workers"] if not worker["has_slot"]]
    if extra:
        table = Table("other worker", "node", box=None, pad_edge=False)
        for worker in extra:
            table.add_row(escape(worker["pod"]), escape(worker["node"]) or "waits")
        console.print(table)


def _print_waiting(console: Console, application: Mapping[str, Any], waiting: Mapping[str, Any]) -> None:
    after = f"; after {waiting['blocked_by']}" if waiting["blocked_by"] else ""
    pool = waiting["pool"] or "the default pool"
    console.print(
        f"waits    {age(waiting['age_s'])} at place {waiting['position']} of {escape(pool)}: "
        f"[yellow]{waiting['outcome']}[/] {escape(waiting['reason'] + after)}"
    )
    if application["workers_fit_now"] is not None:
        console.print(f"room     {application['workers_fit_now']} of its workers would fit now")
    table = Table("resource", "asks for", "free", "missing", "workers that fit", box=None, pad_edge=False)
    for each in application["shortages"]:
        resource = each["resource"]
        missing = amount(resource, each["missing"]) if each["missing"] else "-"
        table.add_row(
            escape(resource),
            amount(resource, each["requested"]),
            amount(resource, each["free"]),
            missing,
            str(each["fits_workers"]),
        )
    if application["shortages"]:
        console.print(table)


def _sizes(amounts: Mapping[str, int]) -> str:
    return escape(", ".join(f"{name} {amount(name, value)}" for name, value in amounts.items())) or "nothing"


def _binary(value: int) -> str:
    size, unit = float(value), 0
    while abs(size) >= 1024 and unit < len(_BINARY_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g}{_BINARY_UNITS[unit]}"
