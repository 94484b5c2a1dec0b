"""The options of what is read of stages from outside the driver: a part of `Settings`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from extender.settings.drivers import DriverSettings

# Stages of which nothing was heard for five minutes are not acted upon any more.
_Interval = Annotated[float, Field(ge=1, le=120, allow_inf_nan=False)]


class StageSettings(DriverSettings):
    """Options of event logs and of the drivers' REST API; then those of the agents and of carbon."""

    event_log_directory: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Spark's `spark.eventLog.dir`, as a path or any fsspec URL. Logs of running applications "
        "of which no agent reports are followed there. Unset: none is.",
    )
    event_log_interval_s: _Interval = Field(
        10.0, description="Time between two looks for what is new in the logs."
    )
    driver_rest: bool = Field(
        False,
        description="Ask the REST API of the drivers' web UI for the task backlog of running applications "
        "that neither an agent nor an event log tells of.",
    )
    driver_rest_port: Annotated[int, Field(ge=1, le=65535)] = Field(
        4040, description="`spark.ui.port` of the drivers."
    )
    driver_rest_interval_s: _Interval = Field(15.0, description="Time between two questions to a driver.")
