"""The `carbon-scheduler` command."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from extender import faults, logs
from extender.settings import Settings, SettingsError, load, markdown

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Gang- and carbon-aware kube-scheduler extender."
)

_log = logging.getLogger(__name__)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file (YAML).")]


def _with_every_option(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each setting; it receives those that were given."""

    def wrapper(config: Path | None = None, **flags: str | None) -> None:
        command(_load(config, {name: text for name, text in flags.items() if text is not None}))

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("config", keyword, default=None, annotation=Config)]
    for name, field in Settings.model_fields.items():
        option = typer.Option(f"--{name.replace('_', '-')}", help=field.description, show_default=False)
        annotation = Annotated[str | None, option]
        parameters.append(inspect.Parameter(name, keyword, default=None, annotation=annotation))
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapper.__doc__ = command.__doc__
    wrapper.__name__ = command.__name__
    return wrapper


@app.command()
@_with_every_option
def serve(settings: Settings) -> None:
    """Answer kube-scheduler's filter, prioritize, bind and preempt calls."""
    from extender.cluster.credentials import CredentialsError
    from extender.service import ServiceFailed, serve

    logs.configure(settings.log_level, settings.log_format)
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


def _load(config: Path | None, flags: Mapping[str, str]) -> Settings:
    try:
        return load(config, flags)
    except SettingsError as problem:
        typer.secho(f"carbon-scheduler: {problem}", err=True, fg="red")
        raise typer.Exit(2) from None


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
