"""`drivers`: the port to which agents in Spark drivers report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from extender.settings.values import Group, Names, Port


class DriverTls(Group):
    """`drivers.tls`: a certificate of its own for the port, where drivers know it by another name."""

    cert_file: Path | None = Field(
        default=None, description="Server certificate (PEM) of `drivers.port`. Unset: `http.tls.cert_file`."
    )
    key_file: Path | None = Field(default=None, description="Private key of `drivers.tls.cert_file` (PEM).")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or none")
        return self


class DriverSettings(Group):
    """The port for agents, its limits, and the answers to agents."""

    address: str = Field(default="127.0.0.1", description="Address of `drivers.port`.")
    port: Port | None = Field(
        default=None,
        description="Port to which the agents in Spark drivers report, over TLS if `drivers.tls.cert_file` "
        "or `http.tls.cert_file` is set. Agents authenticate with the token of their "
        "pod, not with a certificate. Unset: closed.",
    )
    audiences: Names = Field(
        default=("carbon-scheduler",),
        min_length=1,
        description="Token audiences that the port accepts; a driver's token must name one of them.",
    )
    agent: bool = Field(
        default=True,
        description="Accept reports of agents. `false`: agents undo their changes and stop reporting until "
        "their driver restarts.",
    )
    report_interval_s: Annotated[float, Field(ge=0.2, le=300, allow_inf_nan=False)] = Field(
        default=5.0, description="Time between two reports of an agent while no stage starts."
    )
    max_report_bytes: Annotated[int, Field(ge=1024)] = Field(
        default=8 * 1024 * 1024, description="Longest report of an agent."
    )
    max_connections: Annotated[int, Field(ge=1)] = Field(
        default=256,
        description="Most open connections to `drivers.port`, and at most a quarter of the files that the "
        "process may open. The port closes further ones at once, and agents try again.",
    )
    max_connections_per_address: Annotated[int, Field(ge=1)] = Field(
        default=32,
        description="Most open connections from one address. Raise it where drivers share an address (NAT).",
    )
    tls: DriverTls = DriverTls()
