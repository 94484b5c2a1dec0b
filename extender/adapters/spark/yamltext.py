"""YAML text of pod templates as plain dicts, lists and strings.

Scalars stay text (`true` as a label value is the string "true", `1` as a quantity is "1"), as the
Kubernetes client of Spark reads them into typed fields. It knows the JSON schema of YAML 1.2: only `null` and
nothing at all are null, and an unquoted floating-point number becomes what Java makes of it (`1.10` is "1.1",
`1e7` is "1.0E7"). Documents without content are left out. (Tried with the clients of Spark 3.5.9 and 4.3.0.)

The tree is built from parser events in a loop, with limits: a composer that recurses can be made to overflow
the C stack by a template.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 50
_MOST_ALIASES: Final = 50
"""The limits of SnakeYAML, with which Spark reads the same text."""
_NULLS: Final = frozenset({"", "null"})
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = {".inf": "Infinity", "-.inf": "-Infinity", ".nan": "NaN"}
_PLAIN_FROM: Final = 1e-3
_PLAIN_BELOW: Final = 1e7
_NO_KEY: Final = object()


class YamlProblem(ValueError):
    """A text that is not one YAML document, or one that goes beyond the limits."""


def parse_yaml(text: str) -> Any:
    """The one document with content as dicts, lists, strings and None; None for a text without any.

    Raises:
        YamlProblem: says what is wrong, with line and column where the parser gives them.
    """
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise YamlProblem(f"{where}{problem.problem or 'not YAML'}") from None
    except (yaml.YAMLError, UnicodeError):
        raise YamlProblem("a character that YAML does not allow") from None
    return builder.root


class _Builder:
    """Builds the tree from events; `_open` holds the containers not closed yet, with a waiting key."""

    def __init__(self) -> None:
        self.root: Any = None
        self._aliases = 0
        self._anchors: dict[str, Any] = {}
        self._open: list[tuple[Any, list[Any]]] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors = {}
        elif isinstance(event, yaml.ScalarEvent):
            self._add(_plain(event.value) if event.implicit[0] else event.value, event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= _DEEPEST:
                raise YamlProblem(f"nested more than {_DEEPEST} deep")
            container: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            self._add(container, event.anchor)
            self._open.append((container, [_NO_KEY]))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > _MOST_ALIASES or event.anchor not in self._anchors:
                raise YamlProblem(
                    f"alias *{event.anchor} has no anchor, or more than {_MOST_ALIASES} aliases"
                )
            self._add(self._anchors[event.anchor], None)

    def _add(self, value: Any, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = value
        if not self._open:
            if value is not None and self.root is not None:
                raise YamlProblem("more than one document with content; keep one")
            self.root = self.root if value is None else value
            return
        container, waiting = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting[0] is not _NO_KEY:
            container[waiting[0]] = value
            waiting[0] = _NO_KEY
        elif value is None or isinstance(value, str):
            if (value or "") in container:
                raise YamlProblem(f"the key {value or ''} is there twice; keep one")
            waiting[0] = value or ""
        else:
            raise YamlProblem("a key that is itself a mapping or a list")


def _plain(text: str) -> str | None:
    """An unquoted scalar as text, None for null."""
    if text in _NULLS:
        return None
    if text in _NOT_FINITE:
        return _NOT_FINITE[text]
    if not _FLOAT.fullmatch(text):
        return text
    if text.lstrip("-").isdigit():
        return "0" if text == "-0" else text
    return _java_double(float(text))


def _java_double(value: float) -> str:
    """Java's `Double.toString`: plain from 0.001 up to 10,000,000, else with an exponent."""
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or _PLAIN_FROM <= abs(value) < _PLAIN_BELOW:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}.{''.join(rest) or '0'}E{len(digits) - 1 + exponent}"
