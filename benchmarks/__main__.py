"""`python -m benchmarks [SUITE ...] [--full]`: measure, print a table, write JSON, check the limits."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console

from benchmarks import cache, decisions, scheduler, stages, webhooks
from benchmarks.figures import Figures, Machine, as_json
from benchmarks.limits import LIMITS, Limits, LimitsError, calibrated
from benchmarks.processes import ProgramFailed
from benchmarks.report import print_figures, print_verdicts

RESULTS = Path(__file__).with_name("results")
Suite = Callable[..., Iterator[str]]


def main(arguments: list[str] | None = None) -> int:
    """0 when everything was measured and every limit held."""
    options = _parser().parse_args(arguments)
    console = Console(width=max(Console().width, 150))
    try:
        if options.calibrate:
            calibrated(options.calibrate).save(LIMITS)
            console.print(f"wrote {LIMITS}")
            return 0
        limits = Limits.load(LIMITS)  # before minutes are spent
    except LimitsError as problem:
        console.print(f"[red]{problem}[/]")
        return 2
    figures, machine, problems = Figures(), Machine.here(), []
    for name in options.suites or QUICK:
        began_s = time.monotonic()
        try:
            for line in SUITES[name](figures, full=options.full):
                console.print(f"[dim]{time.monotonic() - began_s:6.0f} s  {line}[/]")
        except ProgramFailed as problem:
            problems.append(f"{name}: {problem}")
    verdicts = limits.check(figures)
    print_figures(console, machine, figures)
    print_verdicts(console, verdicts)
    path = _write(options.output, machine, figures, problems)
    console.print(f"written to {path}")
    for problem in problems:
        console.print(f"[red]not measured: {problem}[/]")
    return 1 if problems or any(verdict.broken for verdict in verdicts) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast it is.")
    parser.add_argument("suites", nargs="*", type=_suite, metavar="SUITE", help=f"of {', '.join(SUITES)}")
    parser.add_argument(
        "--full", action="store_true", help="every state and packer, not a cross through them"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory of the JSON documents")
    parser.add_argument(
        "--calibrate",
        nargs="+",
        type=Path,
        metavar="RESULT",
        help="set the limits from results of earlier runs",
    )
    return parser


def _suite(name: str) -> str:
    """Checked here: argparse cannot check the choices of an argument that may be left out."""
    if name not in SUITES:
        raise argparse.ArgumentTypeError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    return name


def _write(directory: Path, machine: Machine, figures: Figures, problems: list[str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{machine.date.replace(':', '')}.json"
    document = {**as_json(machine, figures), "problems": problems}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


SUITES: dict[str, Suite] = {
    "webhooks": webhooks.run,
    "decisions": decisions.run,
    "cache": cache.run,
    "stages": stages.run,
    "scheduler": scheduler.run,
}
QUICK = ("webhooks", "decisions", "cache", "stages")

if __name__ == "__main__":
    sys.exit(main())
