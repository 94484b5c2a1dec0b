"""`carbon-scheduler bsp`: simulate one controller, or compare all of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from extender.bsp import comparison, profiler, report
from extender.bsp.comparison import Lab, Power, Reproduced, Result
from extender.bsp.core.reference.controllers import (
    DynamicWindows,
    Forecasts,
    HeldWindows,
    StaticConfiguration,
    StaticWindows,
)
from extender.bsp.core.rules import Rules, RulesUnusable
from extender.bsp.core.simulation import Controller
from extender.bsp.experiment import prepare
from extender.bsp.inputs import InputsUnusable, read_profile, read_recorded

app = typer.Typer(
    no_args_is_help=True, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
)

RecordedFile = Annotated[
    Path, typer.Option("--recorded", help="Recorded experiment (JSON): profile, forecasts, work.")
]
SeriesFolder = Annotated[Path, typer.Option("--series", help="Folder with the series of work (CSV).")]
IdlePower = Annotated[float, typer.Option("--idle-watts", help="Power of an allocated core that waits.")]
BusyPower = Annotated[float, typer.Option("--busy-watts", help="Power of a core that works.")]


class ControllerName(StrEnum):
    """The controllers that can be simulated."""

    EXPPO = "exppo"
    STATIC = "static"
    DYNWIN = "dynwin"
    MPC = "mpc"
    SCENARIOS = "scenarios"


@app.callback()
def bsp() -> None:
    """Bulk-synchronous gangs: how much CPU each member gets, and for how long."""


@app.command()
def simulate(
    recorded: RecordedFile,
    series: SeriesFolder,
    controller: Annotated[ControllerName, typer.Option(help="Which controller.")] = ControllerName.SCENARIOS,
    horizon: Annotated[int, typer.Option(min=1, max=10, help="Window or horizon in supersteps.")] = 3,
    penalty: Annotated[float, typer.Option(min=0, help="Seconds that a reconfiguration costs.")] = 15.0,
    members: Annotated[int, typer.Option(min=1, help="The first so many members.")] = 8,
    perfect: Annotated[bool, typer.Option("--perfect", help="Let the controller know the future.")] = False,
    idle_watts: IdlePower = 2.0,
    busy_watts: BusyPower = 6.0,
) -> None:
    """Simulate one controller on the recorded experiment, and print its account as JSON."""
    lab = _lab(recorded, series, Power(idle_watts, busy_watts), members)
    experiment, rules, truth = lab.experiment, Rules(penalty_s=penalty), lab.truth
    if controller is ControllerName.SCENARIOS:
        forecast = "perfect" if perfect else "quantiles"
        results = list(comparison.ours(lab, "one", forecast, [penalty], horizon=horizon))
    else:
        forecast = "perfect" if perfect else "lstm"
        known = Forecasts(truth, experiment.perfect if perfect else experiment.forecast, rules)
        chosen: Controller = {
            ControllerName.EXPPO: lambda: StaticConfiguration.of(truth, rules),
            ControllerName.STATIC: lambda: StaticWindows(known, horizon),
            ControllerName.DYNWIN: lambda: HeldWindows(known, horizon, experiment.steps),
            ControllerName.MPC: lambda: DynamicWindows(known, horizon, experiment.steps),
        }[controller]()
        results = [lab.play("one", "original", controller.value, horizon, forecast, chosen, rules)]
    typer.echo(json.dumps(report.as_dict(results[0]), indent=1))


@app.command("report")
def report_command(
    recorded: RecordedFile,
    series: SeriesFolder,
    output: Annotated[Path, typer.Option(help="Folder for report.md, runs.csv, runs.json, report.svg.")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes side by side; else one for each CPU.")
    ] = None,
    idle_watts: IdlePower = 2.0,
    busy_watts: BusyPower = 6.0,
) -> None:
    """Compare every controller at every penalty and number of members; run the published rows again."""
    begun = time.monotonic()
    lab = _lab(recorded, series, Power(idle_watts, busy_watts), 0)
    results: list[Result] = []
    reproduced: list[Reproduced] = []
    members = len(lab.experiment.profile.members)
    published = json.loads(recorded.read_bytes()).get("published", {}).get("rows", [])
    some = comparison.parts(members, published)
    for number, (title, found) in enumerate(
        comparison.run_all(lab, some, processes or len(os.sched_getaffinity(0))), 1
    ):
        typer.echo(
            f"{number}/{len(some)} {title}: {len(found)} runs, {time.monotonic() - begun:.0f} s", err=True
        )
        for each in found:
            if isinstance(each, Reproduced):
                reproduced.append(each)
            else:
                results.append(each)
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.md").write_text(report.markdown(results, reproduced))
    report.write_csv(results, output / "runs.csv")
    report.write_json(results, reproduced, output / "runs.json")
    if find_spec("matplotlib") is None:
        typer.echo("no picture: pip install 'carbon-scheduler[plots]'", err=True)
    else:
        report.draw(results, output / "report.svg")
    typer.echo(report.summary(results, reproduced))


@app.command("profile")
def profile_command(
    output: Annotated[Path, typer.Option(help="CSV file of the runs. One that exists is continued.")],
    member: Annotated[list[str] | None, typer.Option(help="A stressor. Default: all eight.")] = None,
    sizes: Annotated[str, typer.Option(help="Sizes of work: first:end:step or a,b,c.")] = "10:50:3",
    cpu: Annotated[str, typer.Option(help="CPU in millicores: first:end:step or a,b,c.")] = "1000:9000:500",
    runs: Annotated[int, typer.Option(min=1, help="Runs of each point.")] = 3,
    instances: Annotated[int, typer.Option(min=0, help="Workers; 0 is one for each CPU of the host.")] = 0,
    scale: Annotated[float, typer.Option(min=0, help="Multiply the published operations.")] = 1.0,
    program: Annotated[str, typer.Option(help="The stress-ng to run.")] = "stress-ng",
    cgroup: Annotated[Path, typer.Option(help="Where control groups are.")] = Path("/sys/fs/cgroup"),
    original: Annotated[
        Path | None, typer.Option(help="Write the means in the original's layout too.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Picture to draw: .svg, .png or .pdf.")] = None,
) -> None:
    """Measure stress-ng under a CPU quota on this host. Stop it when you like: it continues where it was."""
    members = member or list(profiler.OPERATIONS)
    if unknown := [each for each in members if each not in profiler.OPERATIONS]:
        _fail(f"--member {unknown[0]}: choose from {', '.join(profiler.OPERATIONS)}")
    if picture is not None and find_spec("matplotlib") is None:
        _fail("--picture needs matplotlib: pip install 'carbon-scheduler[plots]'")
    # So that a run which is broken off by a signal ends, and its control group goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        wanted = profiler.points(members, profiler.sequence(sizes), profiler.sequence(cpu), runs)
        done = profiler.finished(output)
        measure = profiler.StressNg(program, instances, scale, cgroup)
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("runs", total=len(wanted), completed=len(done & set(wanted)))
            profiler.profile(
                (point for point in wanted if point not in done),
                output,
                measure,
                lambda point, _: progress.update(task, advance=1, description=f"{point.member} {point.size}"),
            )
        if original is not None:
            profiler.write_original(read_profile(output), original)
        if picture is not None:
            profiler.draw(output, picture)
    except (profiler.ProfilingFailed, InputsUnusable) as problem:
        _fail(str(problem))


def _lab(recorded: Path, series: Path, power: Power, members: int) -> Lab:
    try:
        record = read_recorded(recorded)
        if members > len(record.profile.members):
            _fail(f"--members {members}: the experiment has {len(record.profile.members)}")
        experiment = prepare(record, series)
        return Lab(experiment.first(members) if members else experiment, power)
    except (InputsUnusable, RulesUnusable) as problem:
        _fail(str(problem))


def _fail(text: str) -> NoReturn:
    typer.secho(f"carbon-scheduler: {text}", err=True, fg="red")
    sys.exit(2)


def main(arguments: list[str], name: str) -> Any:
    """Run the command with these arguments; `name` is how help calls it."""
    return app(args=arguments, prog_name=name)
