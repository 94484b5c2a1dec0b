"""`log`: what is logged, and how a line looks."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from extender.settings.values import Group


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a log line looks: text for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class LogSettings(Group):
    """The log on standard error."""

    level: LogLevel = Field(
        default=LogLevel.INFO,
        description="Least severe level that is logged: `debug`, `info`, `warning`, `error`.",
    )
    format: LogFormat = Field(
        default=LogFormat.TEXT, description="`text` for people, or `json` with one object a line."
    )
