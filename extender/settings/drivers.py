"""The options of what drivers are told and may say: a part of `Settings`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from extender.core.policy import Switches
from extender.settings.carbon import CarbonSettings, from_yaml

_OBJECT: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-.a-z0-9]*[a-z0-9])?")


def _names(value: object) -> object:
    """A list as such, as YAML, or as names with commas between them."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [name.strip() for name in value.split(",") if name.strip()]
    return from_yaml(value)


def _object(value: str) -> str:
    if not _OBJECT.fullmatch(value):
        raise ValueError("must be namespace/name of a ConfigMap, as in carbon-scheduler/switches")
    return value


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_names)]
Port = Annotated[int, Field(ge=0, le=65535)]


class DriverSettings(CarbonSettings):
    """Options of the port for drivers, of the agents behind it, and of the switches; then those of carbon."""

    driver_address: str = Field("127.0.0.1", description="Address of `driver_port`.")
    driver_port: Port | None = Field(
        None,
        description="Port to which the agents in Spark drivers post, over TLS if `driver_tls_cert_file` or "
        "`tls_cert_file` is set. Clients show the token of their pod, no certificate. Unset: closed.",
    )
    driver_tls_cert_file: Path | None = Field(
        None, description="Server certificate (PEM) of `driver_port`. Unset: `tls_cert_file`."
    )
    driver_tls_key_file: Path | None = Field(None, description="Private key of `driver_tls_cert_file` (PEM).")
    driver_audiences: Names = Field(
        ("carbon-scheduler",),
        min_length=1,
        description="Audiences of which a driver's token must have been issued for one.",
    )
    driver_agent: bool = Field(
        True,
        description="Listen to agents. `false`: they are told to take their steering back and to fall "
        "silent until their driver starts anew.",
    )
    driver_interval_s: Annotated[float, Field(ge=0.2, le=300, allow_inf_nan=False)] = Field(
        5.0, description="Time between two reports of an agent while nothing new starts."
    )
    driver_max_body_bytes: Annotated[int, Field(ge=1024)] = Field(
        8 * 1024 * 1024, description="Longest report of an agent."
    )
    driver_max_connections: Annotated[int, Field(ge=1)] = Field(
        256,
        description="Connections to `driver_port` at a time; fewer where the process may open less than "
        "four times as many files. Others are closed at once, and agents try again.",
    )
    driver_max_connections_per_address: Annotated[int, Field(ge=1)] = Field(
        32,
        description="Those of one address. Raise it where drivers are seen behind a common address.",
    )
    switches: Annotated[str, AfterValidator(_object)] | None = Field(
        None,
        description="`namespace/name` of a ConfigMap that turns things off while everything runs: keys "
        "`pcaps`, `stage-order`, `executor-target`, values `on` or `off`. Unset: none.",
    )

    @model_validator(mode="after")
    def _driver_tls_is_complete(self) -> Self:
        if (self.driver_tls_cert_file is None) != (self.driver_tls_key_file is None):
            raise ValueError(
                "driver_tls_cert_file and driver_tls_key_file belong together; give both or none"
            )
        return self

    def allowed(self) -> Switches:
        """What these settings turn on; the switches can only turn it off."""
        return Switches(self.pcaps, self.stage_order, self.executor_target)
