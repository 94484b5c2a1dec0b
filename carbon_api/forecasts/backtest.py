"""The back-test command: forecasts issued day by day on the past, compared with the values that came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from carbon_api import forecasts
from carbon_api.forecasts import report
from carbon_api.forecasts.scoring import Score, Trials, issue_times, scores, try_out
from carbon_api.series import Series
from carbon_api.sources.base import SourceError
from carbon_api.sources.traces import read_trace
from carbon_api.synthetic import GRIDS, generate

_FIRST_DAY: Final = 18_262  # 1 January 2020
_TWO_YEARS_S: Final = (366 + 365) * 86_400


def backtest_command(
    trace: Annotated[
        list[str] | None,
        typer.Option(help="A zone and its CSV files: ZONE=FILE[,FILE...]. May be repeated."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A synthetic grid. May be repeated. Default without a trace: all of them."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A forecast method. Default: blend, ridge.")
    ] = None,
    issue_hour: Annotated[
        list[int] | None, typer.Option(min=0, max=23, help="UTC hour of issue. May be repeated. Default: 0.")
    ] = None,
    test_from: Annotated[
        str, typer.Option(help="First day of the test, YYYY-MM-DD. Default: the middle of each series.")
    ] = "",
    days: Annotated[int, typer.Option(min=1, max=4, help="Days to look ahead.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic grids.")] = 0,
    direct: Annotated[bool, typer.Option(help="Read direct instead of life-cycle intensities.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the scores here.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Draw a PNG here.")] = None,
) -> None:
    """Try forecasts on the past: errors, intervals, and whether the cleanest hours were found.

    Every forecast sees only what was known when it was issued.

    The part of a series before the test is history to learn from,
    and so is every day of the test once it has passed.
    """
    console = Console()
    for path in (json_path, plot_path):
        if path is not None and not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"{path.parent} is not a directory: create it first")
    if plot_path is not None and find_spec("matplotlib") is None:
        raise typer.BadParameter("--plot needs matplotlib: pip install 'carbon-scheduler[plots]'")
    series = _series(trace or [], grid or [], seed, direct)
    methods = list(dict.fromkeys(method or ["blend", "ridge"]))
    hours = sorted(set(issue_hour or [0]))
    start_s = _moment(test_from)
    trials = [each for one in series for each in _tried(one, methods, hours, start_s, days, console)]
    found = [score for each in trials for score in scores(each)]
    console.print(report.table(found, console.width))
    if json_path is not None:
        about = {
            "methods": methods,
            "issue_hours": hours,
            "days": days,
            "series": [_about(s) for s in series],
        }
        report.write_json(json_path, found, about)
        console.print(f"scores: {json_path}")
    if plot_path is not None:
        report.plot(plot_path, trials)
        console.print(f"plot: {plot_path}")


def run(
    series: Series, methods: Sequence[str], hours: Sequence[int], from_s: float | None = None, days: int = 4
) -> list[Score]:
    """Scores of methods on a series, without any output: for programs and tests."""
    return [
        score
        for trials in _tried(series, methods, hours, from_s, days, Console(quiet=True))
        for score in scores(trials)
    ]


def _tried(
    series: Series,
    methods: Sequence[str],
    hours: Sequence[int],
    from_s: float | None,
    days: int,
    console: Console,
) -> list[Trials]:
    middle_s = series.start_s + (series.end_s - series.start_s) / 2
    issues = issue_times(series, middle_s if from_s is None else from_s, hours, days)
    if not issues:
        raise typer.BadParameter(
            f"{series.zone} has no {days} days after the start of the test: choose an earlier --test-from"
        )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    trials: list[Trials] = []
    with Progress(*columns, console=console, transient=True) as progress:
        for name in methods:
            try:
                forecaster = forecasts.forecaster(name, series)
                task = progress.add_task(f"{series.zone} {name}", total=len(issues))
                trials.append(try_out(series, forecaster, issues, days, partial(progress.advance, task)))
            except ValueError as error:  # an unknown method, or steps that do not fit
                raise typer.BadParameter(str(error)) from error
    return trials


def _series(traces: Sequence[str], grids: Sequence[str], seed: int, direct: bool) -> list[Series]:
    """The series to test on; synthetic grids have two years, 2020 and 2021."""
    found: list[Series] = []
    for text in traces:
        zone, _, files = text.partition("=")
        if not zone or not files:
            raise typer.BadParameter(f"{text!r} is not ZONE=FILE[,FILE...]")
        try:
            found.append(read_trace([Path(file) for file in files.split(",")], zone, direct)[0])
        except SourceError as error:
            raise typer.BadParameter(str(error)) from error
    names = grids or ([] if traces else list(GRIDS))
    for name in names:
        try:
            found.append(generate(name, seed, _FIRST_DAY * 86_400, _TWO_YEARS_S // 3600))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    return found


def _moment(day: str) -> float | None:
    if not day:
        return None
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise typer.BadParameter(f"--test-from is a day like 2022-01-01, not {day!r}") from None


def _about(series: Series) -> dict[str, object]:
    start = datetime.fromtimestamp(series.start_s, UTC).isoformat()
    return {"zone": series.zone, "source": series.source, "start": start, "step_s": series.step_s}
