"""What came out of a run: numbers for people and for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from extender.simulation.checks import Invariant
from extender.simulation.world import World

_LATENCY_PERCENTILES = (50, 99)
_WAIT_PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of one run. Times in seconds or milliseconds as named; `complete` says all ended."""

    seed: int
    complete: bool
    elapsed_s: float
    submitted: int
    admitted: int
    finished: int
    refused: int
    waiting: int
    outcomes: dict[str, int]
    waiting_s: dict[str, float]
    decisions: int
    decisions_per_s: float
    webhook_latency_ms: dict[str, dict[str, float]]
    scheduler_errors: int
    displaced_by_foreign_pods: int
    invariants_checked: dict[str, int]
    invariants_broken: dict[str, list[str]]

    @property
    def sound(self) -> bool:
        """Whether every invariant held."""
        return not any(self.invariants_broken.values())

    def write(self, path: Path) -> None:
        """Write the summary as JSON. Raises `OSError`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def summarize(world: World, seed: int, outcomes: dict[str, int], *, complete: bool) -> Summary:
    """The summary of a world as it stands; `outcomes` are the extender's filter calls."""
    elapsed_s = world.clock() - world.began_s
    latencies = world.extender.latencies_s if world.extender is not None else {}
    decisions = len(latencies.get("filter", ()))
    admitted = sum(1 for each in world.records if each.bound_s is not None)
    checker = world.checker
    return Summary(
        seed=seed,
        complete=complete,
        elapsed_s=round(elapsed_s, 2),
        submitted=len(world.records),
        admitted=admitted,
        finished=len(world.finished),
        refused=len(world.refused),
        waiting=len(world.waiting),
        outcomes=dict(sorted(outcomes.items())),
        waiting_s=_percentiles(world.waits_s, _WAIT_PERCENTILES),
        decisions=decisions,
        decisions_per_s=round(decisions / elapsed_s, 1) if elapsed_s > 0 else 0.0,
        webhook_latency_ms={
            verb: {**_percentiles([1000 * each for each in taken], _LATENCY_PERCENTILES), "calls": len(taken)}
            for verb, taken in latencies.items()
        },
        scheduler_errors=sum(each.errors for each in world.schedulers),
        displaced_by_foreign_pods=checker.displaced,
        invariants_checked={each.value: checker.checked[each] for each in Invariant},
        invariants_broken={each.value: list(checker.broken.get(each, ())) for each in Invariant},
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def _percentiles(values: Sequence[float], percents: Sequence[int]) -> dict[str, float]:
    return {f"p{each}": round(percentile(values, each), 3) for each in percents}


def print_summary(console: Console, summary: Summary, written: Path | None) -> None:
    """The summary as a table, and whether the invariants held."""
    for title, rows in _sections(summary):
        table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        table.add_column(no_wrap=True, min_width=34)
        table.add_column(justify="right", no_wrap=True)
        table.show_header = False
        for name, value in rows:
            table.add_row(escape(name), escape(value))
        console.print(table)
        console.print()
    for name, findings in summary.invariants_broken.items():
        for finding in findings:
            console.print(f"[red]broken[/] {name}: {escape(finding)}", soft_wrap=True)
    if not summary.complete:
        console.print("[yellow]Ended before every application had; the numbers are of what was seen.[/]")
    verdict = "[green]every invariant held[/]" if summary.sound else "[bold red]an invariant broke[/]"
    console.print(f"{verdict}{f'; written to {written}' if written is not None else ''}", highlight=False)


def _sections(summary: Summary) -> list[tuple[str, list[tuple[str, str]]]]:
    waits, latency = summary.waiting_s, summary.webhook_latency_ms
    gangs: list[tuple[str, Any]] = [
        ("submitted", summary.submitted),
        ("admitted as a whole", summary.admitted),
        ("finished", summary.finished),
        ("refused for good", summary.refused),
        ("still waiting", summary.waiting),
        ("waited, p50 / p90 / p99", f"{waits['p50']:.1f} / {waits['p90']:.1f} / {waits['p99']:.1f} s"),
    ]
    calls: list[tuple[str, Any]] = [
        (f"{verb}: calls, p50 / p99", f"{each['calls']}, {each['p50']:.1f} / {each['p99']:.1f} ms")
        for verb, each in latency.items()
        if each["calls"]
    ]
    calls.append(("decisions per second", f"{summary.decisions_per_s:.1f}"))
    checks: list[tuple[str, Any]] = [
        (name, f"{number} checked, {len(summary.invariants_broken[name])} broken")
        for name, number in summary.invariants_checked.items()
    ]
    checks.append(("slots displaced by foreign pods", summary.displaced_by_foreign_pods))
    sections = [
        ("Applications", gangs),
        ("Answers to filter", list(summary.outcomes.items())),
        ("Webhooks, over HTTP", calls),
        ("Invariants, on the API server's objects", checks),
    ]
    return [(title, [(name, str(value)) for name, value in rows]) for title, rows in sections if rows]
