"""How a setting is spelled: `http.tls.cert_file` in files and messages, with its variable and its flag.

A setting's name is its path through the groups. In the YAML file groups are maps. An environment variable
has two underscores between the parts (`CARBON_SCHEDULER_HTTP__TLS__CERT_FILE`), a flag has dots between
them and dashes within them (`--http.tls.cert-file`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Final

from pydantic.fields import FieldInfo

from extender.settings.renamed import FIXED, RENAMED
from extender.settings.root import Settings
from extender.settings.values import Group

PREFIX: Final = "CARBON_SCHEDULER_"
DELIMITER: Final = "__"

OTHER_VARIABLES: Final = frozenset(
    PREFIX + name
    for name in (
        *("URL", "CRASH_AT"),
        *("AGENT", "AGENT_DEBUG", "AGENT_STEER", "CA_FILE", "NAMESPACE", "TOKEN_FILE"),
        "DATA",
    )
)
"""Variables with our prefix that are no settings: of the command line, the in-driver agent, and tests."""

# Kubernetes puts these into each pod beside a Service whose name begins with ours.
_OF_A_SERVICE: Final = re.compile(
    r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$"
)
_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def name(self) -> str:
        """The name in files and messages."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + DELIMITER.join(self.path).upper()

    @property
    def flag(self) -> str:
        """The flag of `carbon-scheduler serve`."""
        return "--" + self.name.replace("_", "-")


def _leaves(group: type[Group], above: tuple[str, ...]) -> Iterator[Option]:
    for name, field in group.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Group):
            yield from _leaves(inner, (*above, name))
        else:
            yield Option((*above, name), field)


@cache
def options() -> dict[str, Option]:
    """Every setting by its name, in the order of the page."""
    return {each.name: each for each in _leaves(Settings, ())}


def what_to_write(name: str) -> str:
    """Advice for a user who wrote a name that does not exist."""
    if name in RENAMED:
        return f"{name} is now called {RENAMED[name]}"
    if name in FIXED:
        return f"{name} is no longer a setting: {FIXED[name]}; remove it"
    spelled = name.replace("-", "_").lower()
    if spelled != name and (spelled in options() or spelled in RENAMED):
        return f"unknown setting {name}: write {RENAMED.get(spelled, spelled)}, with underscores"
    near = nearest(name)
    return f"unknown setting {name}: " + (
        f"did you mean {' or '.join(near)}?" if near else "docs/settings.md lists all settings"
    )


def nearest(name: str) -> list[str]:
    """Settings whose names, old names or last parts are near to a name; the nearest first."""
    means = {**RENAMED, **{each.path[-1]: each.name for each in options().values()}}
    means |= {each: each for each in options()}
    found = (means[each] for each in get_close_matches(name, means, n=4, cutoff=0.75))
    return list(dict.fromkeys(found))[:2]


def variable_problem(variable: str, value: str) -> tuple[str, bool] | None:
    """The problem of a variable that has our prefix but names no setting, and whether to refuse it.

    A variable of a setting that has another name now is refused: its value would silently count no more.
    """
    if variable in OTHER_VARIABLES or _ADDRESS.match(value):
        return None
    name = variable.removeprefix(PREFIX).lower().replace(DELIMITER, ".")
    if name in RENAMED:
        new = options().get(RENAMED[name])
        return f"{variable} is now called {new.variable if new else RENAMED[name]}", True
    if name in FIXED:
        return f"{variable}: {what_to_write(name)}", True
    if _OF_A_SERVICE.search(variable):
        return None
    near = [options()[each].variable for each in nearest(name) if each in options()]
    hint = f"did you mean {' or '.join(near)}?" if near else "docs/settings.md lists all settings"
    return f"the environment variable {variable} is no setting and has no effect: {hint}", False
