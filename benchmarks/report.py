"""The tables of a run."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figures, Machine
from benchmarks.limits import Limit, Verdict


def print_figures(console: Console, machine: Machine, figures: Figures) -> None:
    """Everything that was measured."""
    table = Table(title="Measured", caption=machine.describe())
    table.add_column("what")
    for name in ("p50", "p99", "unit", "spread", "n", "load"):
        table.add_column(name, justify="right")
    for each in figures:
        p99 = "" if each.p99 is None else number(each.p99)
        spread = f"{each.spread:.0%}" if len(each.rounds) > 1 else ""
        table.add_row(
            each.name, number(each.p50), p99, each.unit, spread, str(each.samples), f"{each.load:.1f}"
        )
    console.print(table)


def print_verdicts(console: Console, verdicts: Iterable[Verdict]) -> None:
    """Limits and goals that this run measured."""
    table = Table(title="Limits (ratios of one run) and goals")
    for name in ("what", "wanted", "measured", ""):
        table.add_column(name, justify="right" if name in ("wanted", "measured") else "left")
    for verdict in verdicts:
        if verdict.value is not None:
            table.add_row(_what(verdict), _wanted(verdict), number(verdict.value), _word(verdict))
    console.print(table)


def _what(verdict: Verdict) -> str:
    each = verdict.what
    over = f"\n  over {each.over}" if isinstance(each, Limit) else ""
    return f"{each.figure} {each.statistic}{over}\n  [dim]{each.why}[/]"


def _wanted(verdict: Verdict) -> str:
    low, high = verdict.what.low, verdict.what.high
    parts = (f">= {number(low)}" if low is not None else "", f"<= {number(high)}" if high is not None else "")
    return "\n".join(filter(None, parts))


def _word(verdict: Verdict) -> str:
    if isinstance(verdict.what, Limit):
        return "[red]broken[/]" if verdict.broken else "[green]holds[/]"
    return "[green]reached[/]" if verdict.within else "[yellow]not reached[/]"


def number(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.001 or value == 0 else f"{value:.6f}"
