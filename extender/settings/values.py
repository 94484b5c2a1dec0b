"""Types of values that several groups of settings share."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

LONGEST_DELAY_S: Final = 366 * 86_400.0


class Group(BaseModel):
    """A named group of settings. It cannot be changed, and it refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _empty_has_the_defaults(cls, value: object) -> object:
        return {} if value is None else value  # YAML reads a group without settings as null


class Value(BaseModel):
    """A setting whose value is a map with fixed keys, written as YAML in flags and variables."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_yaml(value: object) -> object:
    """The value itself; a string from a flag or variable is read as YAML."""
    if isinstance(value, str):
        try:
            return yaml.safe_load(value)
        except yaml.YAMLError as problem:
            raise ValueError(f"not YAML: {problem}") from None
    return value


def _names(value: object) -> object:
    """A list itself, a list written as YAML, or names separated by commas."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [name.strip() for name in value.split(",") if name.strip()]
    return _from_yaml(value)


def _url(value: object) -> object:
    if value is None or (
        isinstance(value, str) and value.startswith(("http://", "https://")) and urlsplit(value).hostname
    ):
        return value
    raise ValueError("must be a URL that begins with http:// or https://")


def is_loopback(address: str) -> bool:
    """Whether only processes of the same host (or pod) reach this address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


Yaml: Final = BeforeValidator(_from_yaml)
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_names)]
Url = Annotated[str | None, BeforeValidator(_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=LONGEST_DELAY_S, allow_inf_nan=False)]
