"""Documents, docstrings, comments and messages are written in plain English (CONTRIBUTING.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import ROOT
from tools.plain_english import find_in

STILL_TO_DO = ("extender/core",)
"""Rooms with findings. The list only gets shorter: take a finished room off it."""

TEXTS = (
    *ROOT.glob("*.md"),
    *(ROOT / name for name in ("docs", "manifests", "scheduler-config", "compose", "benchmarks", "tools")),
    *(ROOT / name for name in ("extender", "carbon_api")),
)


def test_finished_rooms_are_in_plain_english_and_the_others_are_not():
    rooms: dict[str, int] = dict.fromkeys(STILL_TO_DO, 0)
    finished: list[str] = []
    for finding in find_in(TEXTS):
        room = next((each for each in rooms if finding.path.is_relative_to(ROOT / each)), None)
        if room is None:
            finished.append(str(finding))
        else:
            rooms[room] += 1
    assert not finished, "\n".join(finished)
    clean = [room for room, number in rooms.items() if not number]
    assert not clean, f"take these rooms off the list STILL_TO_DO: {clean}"


BAD = {
    "a word": ("The log is read anew.", "anew"),
    "a word over two lines": ("The pod is asked\nfor again.", "is asked for"),
    "a statement with What": ("It waits. What is unknown is neutral.", "What is unknown is neutral"),
    "a statement with Who": ("Whoever can write there can lie.", "Whoever can write there can lie"),
    "reserved room called held": ("Until then the room is held.", "room is held"),
    "a held slot": ("Every held slot counts.", "held slot"),
    "nobody": ("Nobody waits.", "Nobody"),
}

GOOD = {
    "a question": "What happens to the driver?",
    "a gang that is held": "The gang is held until noon.",
    "an active verb": "kube-scheduler asks for the node.",
    "code": "The function `anew` is old.",
    "a label": "**What happens.** The pod waits.",
}


@pytest.mark.parametrize(("text", "found"), BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("kind", ["document", "docstring", "comment", "message", "manifest"])
def test_a_form_that_we_do_not_write_is_found_where_it_stands(
    tmp_path: Path, kind: str, text: str, found: str
):
    sources = {
        "document": ("a.md", f"# Title\n\n{text}\n"),
        "docstring": ("a.py", f'"""Title.\n\n{text}\n"""\n'),
        "comment": ("a.py", f"\n\n# {text.replace(chr(10), ' ')}\n"),
        "message": ("a.py", f"\n\nprint({text!r})\n"),
        "manifest": ("a.yaml", f"\n\na: 1 # {text.replace(chr(10), ' ')}\n"),
    }
    if kind == "message" and found.startswith(("What", "Who")):
        pytest.skip("a message may quote the start of a sentence")
    name, source = sources[kind]
    (tmp_path / name).write_text(source, encoding="utf-8")
    (finding,) = find_in([tmp_path])
    assert (finding.path, finding.line, finding.text) == (tmp_path / name, 3, found)


@pytest.mark.parametrize("text", GOOD.values(), ids=list(GOOD))
def test_other_forms_pass(tmp_path: Path, text: str):
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert not find_in([tmp_path])


def test_code_blocks_links_and_headings_of_documents_pass(tmp_path: Path):
    text = "# What is held\n\n```sh\necho anew\n```\n\n[here](nobody.md)\n"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    assert not find_in([tmp_path])
