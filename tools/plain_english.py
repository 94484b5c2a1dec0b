"""Find words and forms that this project does not write, in documents, docstrings, comments and messages.

`python -m tools.plain_english docs extender/cli.py` prints each place; a test does the same for every room of
the project that is finished. The rules are in CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BE: Final = r"(?:is|are|was|were|be|been|being)"
_ROOM: Final = r"(?:room|slots?|reservations?)"

_RESERVED: Final = "room is reserved; only a gang is held, for carbon"

FORMS: Final = {
    r"\banew\b": "write `again`, or say what starts a second time",
    r"\bnobody\b": "name who does not do it: no pod, no application, no user",
    rf"\b{_BE}(?: \w+)? asked for\b": "say who requests what",
    r"\bof ours\b": "name the owner, or write `our`",
    rf"\btold of\b|\b{_BE} told\b": "say who reports what to whom",
    rf"\b{_ROOM}(?: that)?(?: {_BE})? held\b|\bheld {_ROOM}\b": _RESERVED,
    r"\bholds? (?:the |its |their |no )?(?:room|slots?)\b": _RESERVED,
}
"""Regular expressions that no text matches, whatever its case, and advice for each."""

_FRAGMENT: Final = re.compile(
    r"(?:^ *|(?<=[.!:] )|(?<=\| ))(?P<start>(?:What|Who)(?:ever)?\b[^.!?|]*)(?P<end>[.!?|]|$)"
)
_FENCE: Final = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`")
_LINK: Final = re.compile(r"\]\([^)\s]*\)")
_LABEL: Final = re.compile(r"^\*\*[^*]*\*\*", re.MULTILINE)
_COMMENT: Final = re.compile(r"(?:^|\s)#[#:]* (?P<text>.*)$")


@dataclass(frozen=True, slots=True)
class Finding:
    """A place with a form that is not written here."""

    path: Path
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: {self.advice}"


def find_in(paths: Iterable[Path]) -> list[Finding]:
    """Every finding in these files, and in the documents, modules and manifests below these folders."""
    return [finding for path in _files(paths) for finding in _find_in_file(path)]


def find_in_text(text: str, *, sentences: bool = True) -> Iterator[tuple[int, str, str]]:
    """Offset, text and advice of each finding. Without `sentences` only words are looked at."""
    flat = re.sub(r"\s", " ", text)
    for form, advice in FORMS.items():
        for found in re.finditer(form, flat, re.IGNORECASE):
            yield found.start(), found[0], advice
    if not sentences:
        return
    for paragraph in re.finditer(r"(?:[^\n]|\n(?!\s*\n))+", text):
        for found in _FRAGMENT.finditer(re.sub(r"\s", " ", paragraph[0])):
            if found["end"] != "?":
                start = paragraph.start() + found.start("start")
                yield start, found["start"][:50], "name the subject, then what it does"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix in _TEXTS and each.is_file())
        else:
            yield path


def _find_in_file(path: Path) -> Iterator[Finding]:
    for line, text, sentences in _TEXTS.get(path.suffix, _comments)(path.read_text(encoding="utf-8")):
        for offset, found, advice in find_in_text(text, sentences=sentences):
            yield Finding(path, line + text[:offset].count("\n"), found, advice)


def _markdown(source: str) -> Iterator[tuple[int, str, bool]]:
    """The prose of a document: code, targets of links, headings and labels at a line's start are blanked."""
    text = _FENCE.sub(_blank, source)
    for pattern in (_CODE, _LINK, _LABEL):
        text = pattern.sub(_blank, text)
    text = re.sub(r"^#.*$", _blank, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)(?:[-*]|\d+\.) ", lambda item: "\n" + item[1], text, flags=re.MULTILINE)
    yield 1, text, True


def _python(source: str) -> Iterator[tuple[int, str, bool]]:
    """Docstrings and comments, sentence by sentence, and the words of every other string with a blank."""
    documented: set[ast.AST] = set()
    for node in ast.walk(ast.parse(source)):  # parents come first
        if isinstance(node, ast.Expr):
            documented.add(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, _CODE.sub(_blank, node.value), node in documented
    yield from _comments(source)


def _comments(source: str) -> Iterator[tuple[int, str, bool]]:
    """Comments that begin with `#`, in Python, YAML and shell files."""
    for number, line in enumerate(source.splitlines(), 1):
        if (found := _COMMENT.search(line)) is not None:
            yield number, _CODE.sub(_blank, found["text"]), True


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"\S", "_", match[0])


_TEXTS: Final = {".md": _markdown, ".py": _python, ".yaml": _comments, ".yml": _comments, ".sh": _comments}


def main() -> int:
    """Print every finding below the paths of the command line; 1 if there is one."""
    findings = find_in(Path(each) for each in sys.argv[1:])
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
