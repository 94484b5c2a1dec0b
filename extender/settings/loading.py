"""Settings from flags, then environment variables, then the settings file, then the defaults."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from extender.settings.options import PREFIX, Option, options, variable_problem, what_to_write
from extender.settings.renamed import RENAMED
from extender.settings.root import Settings
from extender.support.passwords import without_passwords

_log = logging.getLogger(__name__)


class SettingsError(Exception):
    """Settings that cannot be used; the text names each setting, what is wrong with it, and the fix."""


def load(config: Path | None = None, flags: Mapping[str, object] | None = None) -> Settings:
    """The settings. `flags` are by the settings' names (`http.port`); strings are read as in variables.

    Raises:
        SettingsError: a value is not usable, a setting is unknown, or the file cannot be read.
    """
    # 1. Collect the three sources, the weakest first.
    document = {} if config is None else _read(config)
    problems = [f"{config}: {problem}" for problem in _unknown(document, ())]
    variables = {each.variable: each for each in options().values()}
    given: list[tuple[Option, str, object]] = [
        (variables[each], each, text) for each, text in os.environ.items() if each in variables
    ]
    for name, value in (flags or {}).items():
        if name in options():
            given.append((options()[name], options()[name].flag, value))
        else:
            problems.append(what_to_write(name))
    problems += [text for text, refuse in _problems_of_variables() if refuse]
    if problems:
        raise SettingsError("; ".join(problems))
    # 2. Lay them over each other, and remember where each value is from.
    sources: dict[str, str] = {}
    for option, source, value in given:
        _put(document, option, value)
        sources[option.name] = source
    # 3. Check the values.
    try:
        return Settings.model_validate(document)
    except ValidationError as problem:
        raise SettingsError(
            without_passwords("; ".join(_explain(error, sources) for error in problem.errors()))
        ) from None


def _read(config: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise SettingsError(f"the settings file {config} cannot be read: {problem}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(
            f"the settings file {config} must hold a map of groups, as in `http: {{port: 8420}}`; "
            "docs/settings.md lists all settings"
        )
    return document


def _unknown(document: Mapping[Any, Any], above: tuple[str, ...]) -> Iterator[str]:
    """Problems with the names in a map of groups and settings."""
    groups = {each.path[: len(above) + 1] for each in options().values() if len(each.path) > len(above) + 1}
    for key, value in document.items():
        path = (*above, str(key))
        name = ".".join(path)
        if path in groups and isinstance(value, dict):
            yield from _unknown(value, path)
        elif path in groups and value is None:
            continue
        elif path in groups:
            now = f"; the setting {name} is now called {RENAMED[name]}" if name in RENAMED else ""
            yield f"{name} must be a map of settings{now}"
        elif name not in options():
            yield what_to_write(name)


def _put(document: dict[str, Any], option: Option, value: object) -> None:
    for part in option.path[:-1]:
        inner = document.get(part)
        document[part] = inner if inner is not None else {}
        document = document[part]
    document[option.path[-1]] = value


def warn_of_unknown_variables() -> None:
    """Log a warning for each environment variable with our prefix that has no effect."""
    for text, refuse in _problems_of_variables():
        if not refuse:
            _log.warning("%s", text)


def _problems_of_variables() -> Iterator[tuple[str, bool]]:
    known = {each.variable for each in options().values()}
    for variable, value in sorted(os.environ.items()):
        if variable.startswith(PREFIX) and variable not in known:
            problem = variable_problem(variable, value)
            if problem is not None:
                yield problem


def _explain(error: Any, sources: Mapping[str, str]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    text = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"unknown key {where}"
    if (error["type"] in ("value_error", "missing") and isinstance(error["input"], dict)) or not where:
        return f"{where}: {text}" if where else text
    source = next((each for name, each in sources.items() if f"{where}.".startswith(f"{name}.")), None)
    got = f"got {error['input']!r}" + (f" from {source}" if source else "")
    return f"{where}: {text} ({got})"
