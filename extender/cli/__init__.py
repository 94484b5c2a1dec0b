"""The `carbon-scheduler` command."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

import typer
import yaml
from typer.core import TyperCommand

from extender import __version__
from extender.cli import asking
from extender.cli.asking import fail
from extender.cli.doctoring import doctor
from extender.settings.document import markdown
from extender.settings.loading import SettingsError, load, warn_of_unknown_variables
from extender.settings.options import Option, options, what_to_write
from extender.settings.renamed import FIXED, RENAMED
from extender.settings.root import Settings
from extender.support import crash_points as faults
from extender.support import logs

_HELP: Final = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(no_args_is_help=True, context_settings=_HELP)

_log = logging.getLogger(__name__)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"carbon-scheduler {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Gang- and carbon-aware kube-scheduler extender."""


Config = Annotated[Path | None, typer.Option("--config", help="Settings file (YAML).")]


class _Serve(TyperCommand):
    """Says the new name of a flag that has another one now."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse old flags before the rest is read."""
        for word in args:
            name = word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_")
            if word.startswith("--") and (name in RENAMED or name in FIXED):
                new = options().get(RENAMED.get(name, ""))
                old = "--" + name.replace("_", "-")
                fail(f"{old} is now called {new.flag}" if new else f"{old}: {what_to_write(name)}", 2)
        return super().parse_args(ctx, args)


def _flag(option: Option) -> inspect.Parameter:
    """The parameter of a command that takes a setting; its type is the setting's, where that is one word."""
    kind, names = _type_of(option.field.annotation), [option.flag]
    if kind is bool:
        names = [f"{option.flag}/--no-{option.flag.removeprefix('--')}"]
    shown = typer.Option(
        *names, help=option.field.description, show_default=False, rich_help_panel=option.path[0]
    )
    annotation = Annotated[kind | None, shown]
    return inspect.Parameter(
        "__".join(option.path), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _type_of(annotation: Any) -> type:
    """bool, int, float, a path, an enumeration, or text where a value is a list or a map."""
    while get_origin(annotation) is not None and annotation is not type(None):
        inner = [each for each in get_args(annotation) if each is not type(None)]
        if get_origin(annotation) is not Annotated and len(inner) != 1:
            return str
        annotation = inner[0]
    plain = isinstance(annotation, type) and issubclass(annotation, bool | int | float | Path | Enum)
    return annotation if plain else str


def _with_every_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each setting; it receives the settings."""

    def wrapper(config: Path | None = None, **flags: object) -> None:
        given = {name.replace("__", "."): value for name, value in flags.items() if value is not None}
        command(_load(config, given))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("config", keyword, default=None, annotation=Config)]
    parameters += [_flag(option) for option in options().values()]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    return wrapper


@app.command(cls=_Serve)
@_with_every_option
def serve(settings: Settings) -> None:
    """Answer kube-scheduler's filter, prioritize, bind and preempt calls."""
    from extender.adapters.kubernetes.credentials import CredentialsError
    from extender.runtime.service import serve
    from extender.runtime.supervisor import ServiceFailed

    logs.configure(settings.log.level, settings.log.format)
    warn_of_unknown_variables()
    try:
        faults.arm(os.environ.get(faults.ENVIRONMENT, ""))
        _run(serve(settings))
    except (ServiceFailed, CredentialsError, ValueError) as problem:
        _log.critical("%s", problem)
        raise typer.Exit(1) from None


@app.command()
def settings(
    config: Config = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
) -> None:
    """Print the settings in force, or the page that documents them."""
    if as_markdown:
        typer.echo(markdown(), nl=False)
        return
    typer.echo(yaml.safe_dump(_load(config, {}).redacted(), sort_keys=False), nl=False)


app.command()(asking.explain)
app.command()(asking.queue)
app.command()(asking.top)
app.command()(asking.status)
app.command()(doctor)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End by itself and print a summary.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Where to write summary.json.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Play applications like those that `profile` described.")
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="Submit applications without end to this cluster, whose nodes KWOK plays."),
    ] = None,
) -> None:
    """Watch gangs come and go on an embedded cluster; needs no Kubernetes."""
    if kubeconfig is not None:
        from extender.lab.stream import run_stream

        raise typer.Exit(run_stream(kubeconfig, seed))
    from extender.lab.demo import run_demo

    raise typer.Exit(run_demo(once=once, seed=seed, output=output, profile=profile))


_PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command()
def profile(
    logs: Annotated[list[str], typer.Argument(metavar="LOG...", help="Event logs: paths or fsspec URLs.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the JSON; else stdout.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Picture to draw: .svg, .png or .pdf.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampling of very many tasks.")] = 1,
) -> None:
    """Describe Spark applications from their event logs: stages, durations, width response."""
    from extender.adapters.spark.eventlog import command

    try:
        command.profile(logs, output, picture, seed)
    except command.ProfileFailed as problem:
        fail(str(problem), 2)


@app.command("decima-weights")
def decima_weights(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="The published model_ep_*.data-00000-of-00001.", exists=True, dir_okay=False),
    ],
    output: Annotated[Path, typer.Argument(help="Where to write the .npz that `decima_weights` names.")],
) -> None:
    """Convert a published checkpoint of Decima for `importance: decima`."""
    from extender.core.stages.decima_weights import DecimaWeights, WeightsUnusable

    try:
        output.write_bytes(DecimaWeights.from_checkpoint(checkpoint.read_bytes()).to_npz())
    except (WeightsUnusable, OSError) as problem:
        fail(f"{checkpoint}: {problem}", 2)


@app.command("report", add_help_option=False, context_settings=_PASSED_ON)
def report(context: typer.Context) -> None:
    """Energy, carbon and waiting from the ledger: tables, HTML page, CSV, Parquet."""
    from extender.adapters.accounting.report import report_command  # only this command needs plots

    reports = typer.Typer(add_completion=False, context_settings=_HELP)
    reports.command()(report_command)
    reports(args=context.args, prog_name=context.command_path)


@app.command("carbon-api", add_help_option=False, context_settings=_PASSED_ON)
def carbon_api(context: typer.Context) -> None:
    """Carbon-intensity service: serve it, or back-test its forecasts."""
    from carbon_api.cli import app as carbon_app  # only this command needs it

    carbon_app(args=context.args, prog_name=context.command_path)


@app.command("bsp", add_help_option=False, context_settings=_PASSED_ON)
def bsp(context: typer.Context) -> None:
    """Bulk-synchronous gangs: simulate controllers, compare them."""
    try:
        from extender.bsp.command import app as bsp_app  # only this command needs SciPy
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.partition(".")[0] != "scipy":
            raise
        fail("bsp needs SciPy: pip install 'carbon-scheduler[bsp]'", 2)
    bsp_app(args=context.args, prog_name=context.command_path)


def _load(config: Path | None, flags: Mapping[str, object]) -> Settings:
    try:
        return load(config, flags)
    except SettingsError as problem:
        fail(str(problem), 2)


def _run(work: Any) -> None:
    """On uvloop where there is one: the webhooks' replies then go out in one segment."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
