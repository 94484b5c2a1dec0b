"""`http`: the ports for kube-scheduler, probes and people, and who may call the webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from extender.settings.values import Group, Names, Port, is_loopback


class Tls(Group):
    """`http.tls`: the server's certificate, and the certificates that clients of the webhooks must show."""

    cert_file: Path | None = Field(
        default=None, description="Server certificate (PEM). Setting it turns on TLS."
    )
    key_file: Path | None = Field(default=None, description="Private key of `http.tls.cert_file` (PEM).")
    client_ca_file: Path | None = Field(
        default=None,
        description="CA (PEM) that must have signed the client's certificate. Setting it turns on mutual "
        "TLS.",
    )
    client_names: Names = Field(
        default=(),
        description="Common names or DNS names that the webhooks accept in a client's certificate. Empty: "
        "they accept every certificate of `http.tls.client_ca_file`.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together; give both or none")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("client_ca_file needs cert_file and key_file")
        if self.client_names and self.client_ca_file is None:
            raise ValueError("client_names needs client_ca_file, or nothing proves the names")
        return self


class HttpSettings(Group):
    """The two ports that the extender listens on."""

    address: str = Field(default="127.0.0.1", description="Address that the webhooks listen on.")
    port: Port = Field(default=8420, description="Port that the webhooks listen on; 0 takes a free one.")
    insecure_allow_any_client: bool = Field(
        default=False,
        description="Start although everyone who reaches `http.address` can bind pods through the webhooks. "
        "Without it, the extender refuses to listen beyond loopback unless `http.tls.client_ca_file` and "
        "`http.tls.client_names` are set.",
    )
    api_address: str = Field(default="127.0.0.1", description="Address of `http.api_port`.")
    api_port: Port | None = Field(
        default=None,
        description="Port for probes, metrics and the API over plain HTTP, without the webhooks. The "
        "kubelet needs it for its probes when `http.port` demands client certificates. Unset: `http.port` "
        "serves all.",
    )
    tls: Tls = Tls()

    @model_validator(mode="after")
    def _webhooks_know_their_clients(self) -> Self:
        known = self.tls.client_ca_file is not None and self.tls.client_names
        if known or self.insecure_allow_any_client or is_loopback(self.address):
            return self
        raise ValueError(
            f"everyone who reaches the address {self.address} could bind pods through the webhooks: set "
            "http.tls.client_ca_file and http.tls.client_names, or listen on 127.0.0.1, or accept the risk "
            "with http.insecure_allow_any_client: true"
        )
