"""The `carbon-scheduler carbon-api` command."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn

from carbon_api import synthetic
from carbon_api.forecasts.backtest import backtest_command
from carbon_api.service import create_app
from carbon_api.settings import Settings, SettingsError, load, parse
from carbon_api.sources.base import SourceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The carbon-intensity service.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("backtest")(backtest_command)

_log = logging.getLogger(__name__)


@app.command()
def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Zones and sources (YAML). Default: the synthetic grids."),
    ] = None,
    address: Annotated[str | None, typer.Option("--listen-address", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--listen-port", help="Port to listen on [8430].")] = None,
    start: Annotated[
        str | None, typer.Option("--replay-start", help="First moment of replayed zones (ISO 8601).")
    ] = None,
    speed: Annotated[
        float | None, typer.Option("--replay-speed", help="Replayed seconds in a real one [1].")
    ] = None,
    wrap: Annotated[
        bool | None, typer.Option("--replay-wrap/--no-replay-wrap", help="Start traces again at their end.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve past, present and forecast carbon intensity of each zone."""
    if log_level.lower() not in {"debug", "info", "warning", "error"}:
        _fail(f"--log-level {log_level}: must be debug, info, warning or error", 2)
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    given: dict[str, object] = {
        "listen_address": address,
        "listen_port": port,
        "replay.start": start,
        "replay.speed": speed,
        "replay.wrap": wrap,
    }
    settings = _settings(config, {name: value for name, value in given.items() if value is not None})
    try:
        application = create_app(settings)
    except SourceError as problem:
        _fail(str(problem), 2)
    _run(application, settings)


class _Server(uvicorn.Server):
    """Tells on which port it listens, once it does: port 0 lets the system choose."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            address, port = self.servers[0].sockets[0].getsockname()[:2]
            _log.info("listening on %s port %d", address, port)


def _settings(config: Path | None, overrides: dict[str, object]) -> Settings:
    """The file's settings, or the synthetic grids'."""
    try:
        if config is not None:
            return load(config, overrides)
        zones = {grid: {"source": "synthetic", "grid": grid} for grid in synthetic.GRIDS}
        return parse({"zones": zones}, overrides)
    except SettingsError as problem:
        _fail(str(problem), 2)


def _run(application: Any, settings: Settings) -> None:
    """Serve until a signal. uvicorn handles SIGTERM and SIGINT."""
    config = uvicorn.Config(
        application,
        host=settings.listen_address,
        port=settings.listen_port,
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)
    server.run()
    if not server.started:  # uvicorn has logged why
        raise typer.Exit(1)


def _fail(text: str, code: int) -> NoReturn:
    typer.secho(f"carbon-scheduler carbon-api: {text}", err=True, fg="red")
    raise typer.Exit(code)
