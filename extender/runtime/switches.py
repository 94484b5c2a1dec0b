"""Features that an operator turned off at run time, read from a ConfigMap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from extender.core.policy import Switches

_FIELDS: Final = {
    "pcaps": "pcaps",
    "stage-order": "stage_order",
    "executor-target": "executor_target",
}
_VALUES: Final = {"on": True, "true": True, "off": False, "false": False}


def read_switches(data: Mapping[str, str], before: Switches) -> tuple[Switches, list[str]]:
    """The switches in a ConfigMap's data, and what is wrong with it. A key that is absent means on.

    A value that cannot be read stays as it was `before`: a typing error turns nothing on.
    """
    values: dict[str, bool] = {}
    problems: list[str] = []
    for key, field in _FIELDS.items():
        text = data.get(key)
        value = True if text is None else _VALUES.get(text.strip().lower())
        if value is None:
            kept = "on" if getattr(before, field) else "off"
            problems.append(f"{key} is {text!r}: use on or off; it stays {kept}")
            value = getattr(before, field)
        values[field] = value
    problems += [
        f"unknown switch {key!r}; there are {', '.join(_FIELDS)}"
        for key in sorted(data)
        if key not in _FIELDS
    ]
    return Switches(**values), problems


def describe(switches: Switches) -> str:
    """All switches in one line."""
    return ", ".join(f"{key} {'on' if getattr(switches, field) else 'off'}" for key, field in _FIELDS.items())
