"""Documents that must keep up with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from extender.core.outcomes import BROKEN, PLACED, Outcome
from extender.core.queue.packing import PACKERS
from extender.settings.options import options
from tests.config.files import DOCS, MANIFESTS, ROOT

WAIT = DOCS / "why-does-my-job-wait.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), MANIFESTS / "README.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(path: Path) -> list[str]:
    return [
        line.lstrip("#").strip()
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]


def anchor(heading: str) -> str:
    """The fragment that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(path: Path, heading: str) -> str:
    text = path.read_text(encoding="utf-8")
    match = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"{path.name} has no section {heading!r}"
    return match[1]


def test_every_outcome_that_keeps_a_pod_waiting_has_its_own_section():
    refused = {outcome.value for outcome in Outcome} - {outcome.value for outcome in PLACED}
    assert {heading for heading in headings(WAIT) if re.fullmatch(r"[a-z]+(-[a-z]+)+", heading)} == refused


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - PLACED))
def test_sections_of_outcomes_say_something(outcome: Outcome):
    assert len(section(WAIT, outcome.value).split()) >= 15


def test_errors_are_told_from_refusals():
    text = WAIT.read_text(encoding="utf-8")
    errors = text[text.index("## The extender cannot judge") : text.index("## The application does not wait")]
    assert set(re.findall(r"^### (.+)$", errors, re.MULTILINE)) == {outcome.value for outcome in BROKEN}


def test_every_good_outcome_is_in_the_table():
    table = section(WAIT, "The application does not wait")
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == {
        outcome.value for outcome in PLACED
    }


def test_migration_covers_every_known_defect():
    table = section(DOCS / "migrating-from-palantir.md", "Defects of the original, and what happens here")
    assert re.findall(r"^\| (D\d+) \|", table, re.MULTILINE) == [f"D{number}" for number in range(1, 28)]


def test_migration_names_settings_and_packers_that_exist():
    table = section(DOCS / "migrating-from-palantir.md", "Configuration")
    ours = " ".join(row.split("|")[2] for row in table.splitlines() if row.count("|") >= 3)
    named = set(re.findall(r"`([a-z]+(?:\.[a-z_]+)+)`", ours))
    assert named
    assert named <= set(options())
    assert set(PACKERS) <= set(re.findall(r"`([a-z-]+)`", table)) | set(
        re.findall(r"`binpack: ([a-z-]+)`", table)
    )


def test_decisions_are_numbered_without_gaps_and_listed():
    records = sorted((DOCS / "adr").glob("[0-9]*.md"))
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        assert f"({path.name})" in index
        title, *sections = headings(path)
        assert title.startswith(f"{path.name[:4]}. ")
        assert sections == ["Context", "Decision", "Consequences", "Rejected"]
        assert "Status:" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path):
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{path.name} links to {link}"
        if fragment:
            assert fragment in {anchor(heading) for heading in headings(found)}, f"{path.name}: {link}"


def test_the_readme_names_make_targets_that_exist():
    targets = re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"^make ([a-z0-9]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert named[:2] == ["demo", "test"]
    assert set(named) <= set(targets)


def test_the_picture_is_readable_on_light_and_dark_pages():
    picture = (DOCS / "how-it-works.svg").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in picture
    assert "<title" in picture
    assert "<desc" in picture
