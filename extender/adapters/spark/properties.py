"""Java properties text, read exactly as `java.util.Properties.load` and Spark after it do.

The driver's ConfigMap holds Spark's configuration in this format. Keys and values may hold escapes
(`k8s\\://...`, `\\u00e9`), continuation lines, and any of `=`, `:` and blanks as separator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_BLANKS: Final = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_SEPARATOR = re.compile(r"(?P<key>(?:[^\\=:\ \t\f]++|\\.)*+\\?)(?P<rest>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u(?P<hex>[0-9a-fA-F]{4})?|.|$)", re.DOTALL)
_CONTROLS: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_TRIMMED_BY_SPARK: Final = "".join(chr(code) for code in range(0x21) if chr(code) not in "\r\n")


class PropertiesError(ValueError):
    """A `\\u` escape that does not have four hexadecimal digits; the text of the error shows it."""


def parse_properties(text: str) -> dict[str, str]:
    """Keys and values; a key written twice has its last value, and values are trimmed as Spark does.

    Entries with an empty key are left out: no option of Spark has one.

    Raises:
        PropertiesError: a malformed `\\u` escape (Java refuses the whole text as well).
    """
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _SEPARATOR.fullmatch(line)
        assert match is not None
        value = match["rest"].lstrip(_BLANKS)
        if value.startswith(("=", ":")):
            value = value[1:].lstrip(_BLANKS)
        properties[_unescaped(match["key"])] = _unescaped(value).strip(_TRIMMED_BY_SPARK)
    properties.pop("", None)
    return properties


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with continuations joined; blank lines and comments are left out."""
    parts: list[str] = []
    for natural in _LINE_END.split(text):
        line = natural.lstrip(_BLANKS)
        if not parts and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            # A lone backslash adds nothing: the next line is still the first of its logical line.
            if len(line) > 1:
                parts.append(line[:-1])
            continue
        parts.append(line)
        yield "".join(parts)
        parts.clear()
    if parts:
        yield "".join(parts)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_character, text)
    if any("\ud800" <= character <= "\udfff" for character in plain):
        # Java writes characters beyond the basic plane as two escapes; halves alone become U+FFFD.
        plain = plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return plain


def _character(match: re.Match[str]) -> str:
    escaped = match[1]
    if not escaped.startswith("u"):
        return _CONTROLS.get(escaped, escaped)
    if match["hex"] is None:
        shown = match.string[match.start() : match.start() + 6]
        raise PropertiesError(f"malformed escape {shown!r}")
    return chr(int(match["hex"], 16))
