"""YAML text of pod templates as plain dicts, lists and strings.

Scalars stay text (`true` as a label value is the string "true", `1` as a quantity is "1"), as the
Kubernetes client of Spark reads them into typed fields. The tree is built from parser events in a
loop, with limits: a composer that recurses can be made to overflow the C stack by a template.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEEPEST: Final = 50
_MOST_ALIASES: Final = 50
"""The limits of SnakeYAML, with which Spark reads the same text."""
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_NO_KEY: Final = object()


class YamlProblem(ValueError):
    """A text that is not one YAML document, or one that goes beyond the limits."""


def parse_yaml(text: str) -> Any:
    """The document as dicts, lists, strings and None; None for an empty text.

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
        self._documents = 0
        self._aliases = 0
        self._anchors: dict[str, Any] = {}
        self._open: list[tuple[Any, list[Any]]] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlProblem("more than one document; keep one")
        elif isinstance(event, yaml.ScalarEvent):
            plain_null = event.implicit[0] and event.value in _NULLS
            self._add(None if plain_null else event.value, event.anchor)
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
            self.root = value
            return
        container, waiting = self._open[-1]
        if isinstance(container, list):
            container.append(value)
        elif waiting[0] is not _NO_KEY:
            container[waiting[0]] = value
            waiting[0] = _NO_KEY
        elif value is None or isinstance(value, str):
            waiting[0] = value or ""
        else:
            raise YamlProblem("a key that is itself a mapping or a list")
