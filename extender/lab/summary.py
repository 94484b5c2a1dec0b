"""Results of a run: numbers for people and for machines."""

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

from extender.lab.carbon import Booked
from extender.lab.checks import Invariant
from extender.lab.records import GangRecord
from extender.lab.world import World

_LATENCY_PERCENTILES = (50, 99)
_WAIT_PERCENTILES = (50, 90, 99)
PROMPT_S = 3.0
"""A held gang with room starts within this time of its release."""


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
    carbon: dict[str, Any]
    invariants_checked: dict[str, int]
    invariants_broken: dict[str, list[str]]

    @property
    def sound(self) -> bool:
        """Whether every invariant held."""
        return not any(self.invariants_broken.values())

    def write(self, path: Path) -> None:
        """Write the summary as JSON. Raises `OSError`."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def summarize(
    world: World, seed: int, outcomes: dict[str, int], *, complete: bool, booked: Booked | None = None
) -> Summary:
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
        carbon=_carbon(world.records, booked),
        invariants_checked={each.value: checker.checked[each] for each in Invariant},
        invariants_broken={each.value: list(checker.broken.get(each, ())) for each in Invariant},
    )


def _carbon(records: Sequence[GangRecord], booked: Booked | None) -> dict[str, Any]:
    """Holds and grams. `start_after_release_s` is of gangs that were not refused for another reason.

    It counts from when a gang was last seen held: an upper bound. `least_margin_s` is the smallest time
    between the last such moment and the latest start; below zero (by more than a webhook takes) is late.
    """
    held = [each for each in records if each.last_held_s is not None]
    started = [each for each in held if each.bound_s is not None]
    prompt_s = [
        each.bound_s - each.last_held_s
        for each in started
        if each.bound_s is not None and each.last_held_s is not None and not each.refused_since_hold
    ]
    margins_s = [
        each.latest_start_s - each.last_held_s
        for each in held
        if each.latest_start_s is not None and each.last_held_s is not None
    ]
    return {
        "flexible": sum(1 for each in records if each.latest_start_s is not None),
        "held": len(held),
        "released": len(started),
        "least_margin_s": round(min(margins_s), 2) if margins_s else None,
        "start_after_release_s": _percentiles(prompt_s, (50, 100)) | {"count": len(prompt_s)},
        "started_within_3_s": sum(1 for each in prompt_s if each <= PROMPT_S),
        "kwh_by_zone": dict(booked.kwh_by_zone) if booked is not None else None,
        "g_by_zone": dict(booked.g_by_zone) if booked is not None else None,
        "saved_g": booked.saved_g if booked is not None else None,
        "saved_percent": booked.saved_percent if booked is not None else None,
        "savings_unknown": booked.savings_unknown if booked is not None else None,
    }


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


def _carbon_rows(carbon: dict[str, Any]) -> list[tuple[str, Any]]:
    prompt = carbon["start_after_release_s"]
    rows: list[tuple[str, Any]] = [
        ("may wait / held / released", f"{carbon['flexible']} / {carbon['held']} / {carbon['released']}"),
        (
            f"started within {PROMPT_S:.0f} s of release",
            f"{carbon['started_within_3_s']} of {prompt['count']}, longest {prompt['p100']:.1f} s",
        ),
    ]
    if carbon["least_margin_s"] is not None:
        rows.append(("closest to its latest start", f"{carbon['least_margin_s']:.1f} s"))
    if carbon["g_by_zone"] is not None:
        for zone, grams in carbon["g_by_zone"].items():
            rows.append((zone, f"{grams:.2f} g, {1000 * carbon['kwh_by_zone'][zone]:.2f} Wh"))
        saved = f"{carbon['saved_g']:+.2f} g, {carbon['saved_percent']:+.0f} %"
        rows.append(("those that may wait saved", saved))
    return rows


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
        ("Carbon", _carbon_rows(summary.carbon)),
        ("Answers to filter", list(summary.outcomes.items())),
        ("Webhooks, over HTTP", calls),
        ("Invariants, on the API server's objects", checks),
    ]
    return [(title, [(name, str(value)) for name, value in rows]) for title, rows in sections if rows]
