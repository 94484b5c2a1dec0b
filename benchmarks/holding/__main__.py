"""`python -m benchmarks.holding`: what each hold policy saves, beside what is possible.

Results are kept in a file as they come; a run that is stopped goes on where it was. Those of other code are
measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.holding.cells import BLIND, BUDGET, PEAKS_H, POLICIES, Cell, Row, measure
from benchmarks.holding.grids import Ahead, Place, places
from benchmarks.holding.report import markdown

RESULTS: Final = Path(__file__).parents[1] / "results" / "holding"
DATA_VARIABLE: Final = "CARBON_DATA"


@dataclass(frozen=True, slots=True)
class Load:
    """A line of the experiment, on each grid and for each seed."""

    peak: str
    load: float
    delay_h: float
    share: float = 1.0
    ahead: Ahead = Ahead.FORECAST
    elastic: bool = False


QUICK: Final = (Load("day", 0.3, 12), Load("day", 0.6, 12), Load("day", 0.6, 12, 0.5))
PROOF: Final = (
    *(Load("day", 0.3, delay_h) for delay_h in (6, 12, 24)),
    Load("night", 0.3, 12),
    *(Load(peak, 0.6, 12) for peak in PEAKS_H),
    Load("day", 0.9, 12),
    Load("day", 0.6, 12, 0.5),
    Load("day", 0.3, 12, ahead=Ahead.ORACLE),
    Load("day", 0.6, 12, ahead=Ahead.ORACLE),
    Load("day", 0.6, 12, 0.5, Ahead.FLAT),
    Load("day", 0.3, 12, elastic=True),
)
FULL: Final = tuple(
    Load(peak, load, delay_h, share, ahead)
    for peak, load, delay_h, share, ahead in product(
        PEAKS_H, (0.3, 0.6, 0.9), (6, 12, 24), (1.0, 0.5), tuple(Ahead)
    )
)
SETS: Final = {"quick": QUICK, "proof": PROOF, "full": FULL}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every cell was measured."""
    options = _parser().parse_args(arguments)
    console = Console(width=max(Console().width, 150))
    if options.carbon_data is not None and not options.carbon_data.is_dir():
        console.print(f"[red]--carbon-data: {options.carbon_data} is not a directory[/]")
        return 2
    known = {place.name: place for place in places(options.carbon_data)}
    strange = [name for name in options.grid or () if name not in known]
    if strange:
        console.print(f"[red]no grid is called {', '.join(strange)}; there are {', '.join(known)}[/]")
        return 2
    unknown = [name for name in options.policy or () if name not in (*POLICIES, BLIND, BUDGET)]
    if unknown:
        console.print(f"[red]no policy is called {', '.join(unknown)}; there are {', '.join(POLICIES)}[/]")
        return 2
    names = options.grid or (["synthetic-solar", "synthetic-wind"] if options.set == "quick" else list(known))
    cells = list(_cells(SETS[options.set], [known[name] for name in names], options))
    rows = _measure_all(cells, options, console)
    text = markdown(rows)
    path = options.output.with_suffix(".md")
    path.write_text(text, encoding="utf-8")
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(f"written to {path}; every run in {options.output.with_suffix('.jsonl')}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.holding", description=__doc__)
    parser.add_argument("set", nargs="?", choices=SETS, default="quick", help="which cells (default: quick)")
    parser.add_argument("--seeds", type=int, default=0, help="weeks a cell (default: 1 for quick, else 3)")
    parser.add_argument("--policy", action="append", help=f"of {', '.join(POLICIES)} (default: all)")
    parser.add_argument("--grid", action="append", help="a grid (default: all; quick: two synthetic ones)")
    parser.add_argument("--load", type=float, action="append", help="only cells of this load, such as 0.6")
    parser.add_argument("--delay", type=float, action="append", help="only cells of this delay in hours")
    parser.add_argument("--peak", choices=PEAKS_H, action="append", help="only cells with this peak")
    parser.add_argument("--share", type=float, action="append", help="only cells with this flexible share")
    parser.add_argument("--ahead", type=Ahead, choices=list(Ahead), action="append", help="only these cells")
    parser.add_argument("--elastic", action="store_true", help="only cells of elastic gangs")
    parser.add_argument(
        "--carbon-data",
        type=Path,
        default=os.environ.get(DATA_VARIABLE) and Path(os.environ[DATA_VARIABLE]),
        help=f"directory of recorded traces (default: ${DATA_VARIABLE}; without it synthetic grids only)",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="where results go, without a suffix")
    parser.add_argument("--again", action="store_true", help="measure also what is in the file already")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser


def _cells(loads: Iterable[Load], on: Sequence[Place], options: argparse.Namespace) -> Iterator[Cell]:
    """The cells that are wanted, seed by seed: a run that is stopped has all of the first seed."""
    wanted = [
        load
        for load in loads
        if (not options.load or load.load in options.load)
        and (not options.delay or load.delay_h in options.delay)
        and (not options.peak or load.peak in options.peak)
        and (not options.share or load.share in options.share)
        and (not options.ahead or load.ahead in options.ahead)
        and (not options.elastic or load.elastic)
    ]
    seeds = options.seeds or (1 if options.set == "quick" else 3)
    for seed, place, load in product(range(seeds), on, wanted):
        yield Cell(place, load.peak, load.load, load.delay_h, load.share, seed, load.ahead, load.elastic)


def _measure_all(cells: Sequence[Cell], options: argparse.Namespace, console: Console) -> list[Row]:
    """Rows of all cells and policies: those in the file, then the others, in parallel."""
    policies_of = {cell: options.policy or [*([BUDGET] if cell.elastic else ()), *POLICIES] for cell in cells}
    path = options.output.with_suffix(".jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {} if options.again else _read(path)
    todo = {
        cell: missing
        for cell, policies in policies_of.items()
        if (missing := [policy for policy in policies if (cell.key, policy) not in known])
    }
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        path.open("a", encoding="utf-8") as file,
        Progress(*columns, console=console) as progress,
        ProcessPoolExecutor(options.processes) as pool,
    ):
        task = progress.add_task("runs", total=sum(map(len, todo.values())))
        jobs: set[Future[list[Row]]] = {
            pool.submit(_job, cell, names, options.carbon_data) for cell, names in todo.items()
        }
        while jobs:
            done, jobs = wait(jobs, return_when=FIRST_COMPLETED)
            for row in (row for job in done for row in job.result()):
                known[row.cell, row.policy] = row
                file.write(json.dumps({"code": _code(), **row.to_json()}) + "\n")
                file.flush()
                progress.advance(task)
    return [known[cell.key, policy] for cell, policies in policies_of.items() for policy in policies]


def _job(cell: Cell, policies: Sequence[str], data: Path | None) -> list[Row]:
    return list(measure(cell, policies, data, RESULTS.parent / "forecasts"))


@cache
def _code() -> str:
    """A digest of the code that decides and of the code that measures."""
    root = Path(__file__).parents[2]
    made = hashlib.blake2b(digest_size=8)
    for part in ("extender/core", "extender/lab/simulation", "benchmarks/holding"):
        for path in sorted((root / part).rglob("*.py")):
            made.update(path.read_bytes())
    return made.hexdigest()


def _read(path: Path) -> dict[tuple[str, str], Row]:
    """Earlier results; a line that was cut off is measured again."""
    rows: dict[tuple[str, str], Row] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            made = json.loads(line)
            if made.pop("code") != _code():
                continue
            row = Row(**made)
        except (ValueError, TypeError, KeyError):
            continue
        rows[row.cell, row.policy] = row
    return rows


if __name__ == "__main__":
    sys.exit(main())
