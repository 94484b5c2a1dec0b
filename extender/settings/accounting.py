"""`accounting`: the ledger of energy and carbon, and the sources of power readings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from extender.settings.values import Group, Name, Seconds, Url


class AccountingSettings(Group):
    """Without a ledger nothing is booked."""

    ledger: str | None = Field(
        default=None,
        min_length=1,
        description="Ledger of energy and carbon: a path (SQLite) or `postgresql://...`. Unset: none.",
    )
    flush_s: Seconds = Field(default=60.0, description="Time between two writes to the ledger.")
    keep_days: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = Field(
        default=None,
        description="Days that the ledger keeps; older entries are deleted once a day. Unset: it keeps all.",
    )
    pue: Annotated[float, Field(ge=1, le=10)] = Field(
        default=1.0,
        description="Power usage effectiveness of the site: power of the building per watt of the nodes.",
    )
    prometheus_url: Url = Field(
        default=None,
        description="Prometheus with the power of nodes (Kepler or Scaphandre) and of GPUs (DCGM). Unset: "
        "models estimate power.",
    )
    rapl_node: Name | None = Field(
        default=None, description="Name of the node that this process runs on, to read its power from RAPL."
    )
