"""The service's settings file: which zones there are, where their numbers come from, and how time runs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from carbon_api import times
from carbon_api.clock import FASTEST
from carbon_api.readings import HIGHEST_G_PER_KWH


class SettingsError(Exception):
    """The settings cannot be used. The text names the field and what it must be."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _ZoneSettings(_Part):
    name: str = Field("", description="A name for people; the zone's id if empty.")


class _LiveSettings(_ZoneSettings):
    poll_interval_s: float = Field(300.0, ge=5, le=86_400, description="How often to ask.")
    stale_after_s: float = Field(
        3 * 3600.0, ge=60, le=7 * 86_400, description="Age from which the newest value counts as missing."
    )
    history_days: float = Field(
        60.0, ge=0, le=400, description="How much history to ask for at start, for forecasts."
    )


class ReplayZone(_ZoneSettings):
    """CSV files of Electricity Maps' layouts, replayed."""

    source: Literal["replay"]
    files: list[Path] = Field(min_length=1, description="CSV files; relative to the settings file.")
    zone: str = Field("", description="The zone as the rows name it; the zone's id if empty.")
    factors: Literal["life-cycle", "direct"] = "life-cycle"


class SyntheticZone(_ZoneSettings):
    """A seeded synthetic grid; needs no data."""

    source: Literal["synthetic"]
    grid: str = Field(description="One of the generator's grids.")
    seed: int = Field(1, ge=0, le=2**63 - 1)
    step_s: Literal[300, 900, 1800, 3600] = 3600


class ElectricityMapsZone(_LiveSettings):
    """Electricity Maps, API v3."""

    source: Literal["electricity-maps"]
    zone: str = ""
    key_file: Path
    factors: Literal["life-cycle", "direct"] = "life-cycle"
    url: str = ""


class WattTimeZone(_LiveSettings):
    """WattTime, API v3: marginal."""

    source: Literal["watttime"]
    zone: str = ""
    username_file: Path
    password_file: Path
    url: str = ""
    stale_after_s: float = Field(1800.0, ge=60, le=7 * 86_400)


class UkZone(_LiveSettings):
    """UK Carbon Intensity: Great Britain."""

    source: Literal["uk-carbon-intensity"]
    url: str = ""


class EntsoeZone(_LiveSettings):
    """ENTSO-E: computed from the generation mix."""

    source: Literal["entso-e"]
    zone: str = Field(pattern=r"^[A-Z0-9-]{16}$", description="EIC code, for example 10YFR-RTE------C.")
    key_file: Path
    factors: dict[str, Annotated[float, Field(ge=0, le=HIGHEST_G_PER_KWH)]] = Field(
        default_factory=dict, description="Factors in g/kWh by generation type, over the defaults."
    )
    url: str = ""
    poll_interval_s: float = Field(900.0, ge=5, le=86_400)
    stale_after_s: float = Field(6 * 3600.0, ge=60, le=7 * 86_400)


ZoneSettings = Annotated[
    ReplayZone | SyntheticZone | ElectricityMapsZone | WattTimeZone | UkZone | EntsoeZone,
    Field(discriminator="source"),
]


class Replay(_Part):
    """How time runs for replayed and synthetic zones."""

    start: str | datetime | None = Field(
        None, description="First moment, ISO 8601. Default: now if all cover it, else their first common one."
    )
    speed: float = Field(1.0, ge=0, le=FASTEST, description="Replayed seconds in a real one.")
    wrap: bool = Field(
        False, description="Start traces again at their end. Otherwise there is no value after it."
    )

    @field_validator("start")
    @classmethod
    def _readable(cls, value: str | datetime | None) -> str | None:
        if isinstance(value, datetime):  # YAML reads unquoted times by itself
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        if value is not None:
            times.parse(value)
        return value

    def start_s(self) -> float | None:
        """The start in epoch seconds, if one was given."""
        return None if self.start is None else times.parse(self.start)


class Pcaps(_Part):
    """The PCAPS simulator's interface."""

    enabled: bool = True
    zone: str = Field("", description="The zone it answers for; the first replayed one if empty.")
    speed: float = Field(60.0, gt=0, le=FASTEST, description="A minute an hour, as the original.")
    bounds: Literal["forecast", "oracle"] = Field(
        "forecast", description="Where the bounds come from. The original looked into the future: oracle."
    )
    clients: int = Field(1000, ge=1, le=100_000, description="Registrations kept; the oldest goes first.")


class CarbonScaler(_Part):
    """CarbonScaler's registration: pushes to addresses that clients name, so it is off unless wanted."""

    enabled: bool = False
    zone: str = Field("", description="The zone it answers for; the first one if empty.")
    prediction: Literal["forecast", "oracle"] = "forecast"
    window: int = Field(24, ge=1, le=96, description="Intervals of prediction and of the percentile.")
    interval_s: float = Field(30.0, ge=1, le=3600, description="Real seconds between pushes.")
    allowed_hosts: list[str] = Field(
        ["*"], description="Patterns of host names that may be registered, for example *.svc."
    )
    clients: int = Field(1000, ge=1, le=100_000)


class Settings(_Part):
    """Everything that can be set."""

    listen_address: str = "127.0.0.1"
    listen_port: int = Field(8430, ge=0, le=65_535)
    forecast_method: str = Field("", description="The forecaster used unless asked otherwise.")
    zones: dict[str, ZoneSettings] = Field(min_length=1)
    replay: Replay = Replay()  # pyright: ignore[reportCallIssue]
    pcaps: Pcaps = Pcaps()  # pyright: ignore[reportCallIssue]
    carbonscaler: CarbonScaler = CarbonScaler()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _zones_exist(self) -> Settings:
        for name, zone in (("pcaps", self.pcaps.zone), ("carbonscaler", self.carbonscaler.zone)):
            if zone and zone not in self.zones:
                raise ValueError(f"{name}.zone: there is no zone {zone!r}")
        for zone_id in self.zones:
            if not zone_id.isprintable() or not 0 < len(zone_id) <= 100:
                raise ValueError(f"zones: {zone_id!r} is no id")
        return self


def load(path: Path, overrides: dict[str, object] | None = None) -> Settings:
    """The settings of a YAML file; relative paths in it start at its directory.

    `overrides` are laid over it; a dot in a key enters a section. Raises `SettingsError`.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(f"{path}: {problem.strerror or 'cannot be read'}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SettingsError(f"{path} is not YAML: {problem}") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: must be a mapping with a key `zones`")
    return parse(document, overrides, path.parent, str(path))


def parse(
    document: dict[str, object],
    overrides: dict[str, object] | None = None,
    directory: Path = Path(),
    shown: str = "settings",
) -> Settings:
    """The settings of a decoded document. Raises `SettingsError` with every fault in it."""
    merged = dict(document)
    for key, value in (overrides or {}).items():
        section, dot, name = key.partition(".")
        inner = merged.get(section) or {}
        if dot and isinstance(inner, dict):
            merged[section] = {**inner, name: value}
        elif not dot:
            merged[key] = value
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as problem:
        faults = [_fault(each) for each in problem.errors(include_url=False)]
        raise SettingsError("\n".join(f"{shown}: {fault}" for fault in faults)) from None
    return _anchored(settings, directory)


def _fault(error: ErrorDetails) -> str:
    place, text = ".".join(str(part) for part in error["loc"]), error["msg"]
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        text = "unknown key"
        if "-" in key:
            text += f"; keys are spelled with underscores: {key.replace('-', '_')}"
    return f"{place}: {text}" if place else text


def _anchored(settings: Settings, directory: Path) -> Settings:
    """The same with paths that start at a directory."""
    zones: dict[str, object] = {}
    for zone_id, zone in settings.zones.items():
        update: dict[str, object] = {}
        for name in ("key_file", "username_file", "password_file"):
            if isinstance(path := getattr(zone, name, None), Path):
                update[name] = directory / path
        if isinstance(zone, ReplayZone):
            update["files"] = [directory / path for path in zone.files]
        zones[zone_id] = zone.model_copy(update=update)
    return settings.model_copy(update={"zones": zones})
