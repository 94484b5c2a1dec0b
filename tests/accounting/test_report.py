"""Key figures, the command, the page and the exports, of one small ledger."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from extender.adapters.accounting import charts, words
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.baseline import Saving
from extender.adapters.accounting.export import ExportError, write_csv, write_parquet
from extender.adapters.accounting.kpis import Report, collect, spread
from extender.adapters.accounting.ledger import Ledger
from extender.adapters.accounting.page import render
from extender.adapters.accounting.report import report_command
from extender.core.decisions import FilterDecision
from extender.core.events import NodeSeen, PodSeen, StagesReported, Synced
from extender.core.facts import GangKey
from extender.core.outcomes import Outcome
from extender.core.stages.events import JobStarted, MoreTasksEnded, StageInfo
from tests.accounting import builders as b

DAY_S = 1_767_225_600.0
"""2026-01-01T00:00 UTC."""

HOUR_S = 3600.0
Run = Callable[..., Result]


def fill(path: Path) -> None:
    """Two nodes, a held application that saved, one in a gap, and one found running."""
    books = b.accountant(Ledger(str(path)), strategy="threshold")
    t = DAY_S
    books.intensity("DE", 500.0, t)
    books.intensity("DE", 100.0, t + 2 * HOUR_S)
    books.intensity("FR", Missing("stale"), t)
    other, found = GangKey("team", "<b>odd</b>"), GangKey("team", "found")
    for node in (b.node("n1"), b.node("n2", zone="FR")):
        books.apply(NodeSeen(node), t)
    books.apply(PodSeen(b.driver("n1", created_s=t - 500, app=found)), t)
    books.apply(Synced(), t)
    books.apply(PodSeen(b.driver(created_s=t)), t)
    books.decided(b.driver(), FilterDecision(Outcome.NO_ROOM, detail='no room, "held"'), t, score=lambda: 0.5)
    books.apply(PodSeen(b.driver("n1", created_s=t)), t + 2 * HOUR_S)
    books.decided(b.driver(), FilterDecision(Outcome.ADMITTED, "n1"), t + 2 * HOUR_S, intensity=100.0)
    books.apply(PodSeen(b.driver(phase="Succeeded")), t + 3 * HOUR_S)
    books.apply(PodSeen(b.driver("n2", created_s=t + HOUR_S, app=other)), t + HOUR_S)
    books.apply(PodSeen(b.driver(phase="Failed", app=other)), t + 2 * HOUR_S)
    books.close(t + 4 * HOUR_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A filled ledger."""
    fill(tmp_path / "ledger.sqlite")
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def report(path: Path) -> Report:
    """The figures of all four hours."""
    ledger = Ledger(str(path), create=False)
    out = collect(ledger, DAY_S, DAY_S + 4 * HOUR_S)
    ledger.close()
    return out


@pytest.fixture
def run(path: Path) -> Run:
    """Run the command on the ledger."""
    app = typer.Typer()
    app.command()(report_command)

    def invoke(*arguments: str, ledger: Path = path) -> Result:
        return CliRunner().invoke(app, ["--ledger", str(ledger), *arguments])

    return invoke


def test_energy_by_node_adds_up_to_the_total(report: Report) -> None:
    assert {each.name: each.energy_kwh for each in report.nodes} == pytest.approx({"n1": 0.525, "n2": 0.425})
    assert sum(each.energy_kwh for each in report.nodes) == pytest.approx(report.total.energy_kwh)
    assert sum(each.energy_kwh for each in report.namespaces) == pytest.approx(report.total.energy_kwh)
    assert sum(each.energy_kwh for _, each in report.times) == pytest.approx(report.total.energy_kwh)


def test_unknown_carbon_is_stated_and_not_averaged_in(report: Report) -> None:
    n1, n2 = report.nodes
    assert n1.unknown_kwh == 0
    assert n2.intensity_g_per_kwh is None
    assert n2.unknown_kwh == pytest.approx(n2.energy_kwh)
    assert report.unknown_kwh == pytest.approx({"stale": 0.425})
    assert report.total.intensity_g_per_kwh == pytest.approx(n1.intensity_g_per_kwh)
    assert words.carbon(n2) == words.UNKNOWN


def test_utilisation_is_of_requested_cores(report: Report) -> None:
    n1, n2 = report.nodes
    assert n1.utilisation == pytest.approx((4 + 1) / 16)
    assert n2.utilisation == pytest.approx(1 / 16)


def test_nodes_in_use_over_time(report: Report) -> None:
    assert [(each.nodes_used, each.nodes) for _, each in report.times] == [(1, 2), (2, 2), (1, 2), (1, 2)]


def test_a_held_application_saved_by_intensity(report: Report) -> None:
    held = next(each for each in report.applications if each.row.app == b.APP)
    assert held.row.waiting_s == 2 * HOUR_S
    assert isinstance(held.saving, Saving)
    assert held.saving.by_energy_g == pytest.approx(0)
    assert held.saving.by_intensity_g == pytest.approx(0.05 * 400)


def test_what_cannot_be_compared_says_why(report: Report) -> None:
    by_id = {each.row.app.app_id: each.saving for each in report.applications}
    gap, found = by_id["<b>odd</b>"], by_id["found"]
    assert isinstance(gap, Missing)
    assert "stale" in gap.reason
    assert isinstance(found, Missing)
    assert "running when it was first seen" in found.reason


def test_figures_of_a_strategy(report: Report) -> None:
    (runs,) = report.strategies
    assert (runs.name, runs.applications, runs.ended) == ("threshold", 3, 2)
    assert runs.waiting_s is not None
    assert (runs.waiting_s.count, runs.waiting_s.p50, runs.waiting_s.p95) == (2, 0, 2 * HOUR_S)
    assert runs.makespan_s == pytest.approx(3 * HOUR_S + 500)
    assert runs.saving.total_g == pytest.approx(20)
    assert (runs.unknown_savings, runs.carbon_unknown) == (2, 1)


def test_the_counterfactual_lies_in_the_hour_of_submission(report: Report) -> None:
    grams = [group.baseline_g for _, group in report.times]
    assert grams == pytest.approx([0.05 * 500, 0, 0, 0])


def test_spread_is_by_nearest_rank() -> None:
    values = spread(range(1, 101))
    assert values is not None
    assert (values.count, values.mean, values.p50, values.p95) == (100, 50.5, 50, 95)
    assert spread([]) is None


def test_the_command_prints_every_table(run: Run) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    for text in ("By strategy", "By node", "By namespace", "By time", "By application", "threshold", "stale"):
        assert text in result.output
    assert "2026-01-01 00:00 to 2026-01-01 04:00 UTC" in result.output


def test_one_table_of_a_stretch(run: Run) -> None:
    result = run("--by", "node", "--since", "2026-01-01T02:00", "--until", "2026-01-01T03:00")
    assert "By time" not in result.output
    assert "2026-01-01 02:00 to 2026-01-01 03:00" in result.output
    assert "2026-01-01 03:00 to" in run("--last", "1h").output


def part_way(path: Path) -> None:
    """A node with a driver that runs one stage, booked from 00:02 to 00:14: parts of three cells."""
    books = b.accountant(Ledger(str(path)))
    books.intensity("DE", 500.0, DAY_S + 120)
    books.apply(NodeSeen(b.node()), DAY_S + 120)
    books.apply(Synced(), DAY_S + 120)
    books.apply(PodSeen(b.driver("n1", created_s=DAY_S + 120)), DAY_S + 120)
    job = JobStarted(0, (StageInfo(0, 7, 4, name="count"),))
    told = StagesReported(b.APP, (job, MoreTasksEnded(0, 0, 4, 60_000)))
    books.apply(told, DAY_S + 150)
    books.close(DAY_S + 840)


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        ([], 720),
        (["--last", "1h"], 720),
        (["--since", "2026-01-01T00:00"], 720),
        (["--since", "2026-01-01T00:04"], 720),
        (["--since", "2026-01-01T00:05"], 540),
        (["--since", "2026-01-01T00:07"], 540),
        (["--last", "5m"], 540),
        (["--last", "4m"], 240),
        (["--until", "2026-01-01T00:05"], 180),
        (["--until", "2026-01-01T00:06"], 480),
    ],
)
def test_a_cell_counts_when_any_part_of_it_lies_in_the_window(
    run: Run, tmp_path: Path, arguments: list[str], seconds: float
) -> None:
    ledger = tmp_path / "part-way"
    part_way(ledger)
    kwh = 125 * seconds / 3.6e6  # 100 W idle, and one of four cores requested
    figures = json.loads(run("--json", *arguments, ledger=ledger).output)
    assert figures["total"]["energy_kwh"] == pytest.approx(kwh)
    for table in ("nodes", "namespaces"):
        assert sum(each["energy_kwh"] for each in figures[table]) == pytest.approx(kwh)
    assert sum(group["energy_kwh"] for _, group in figures["times"]) == pytest.approx(kwh)
    assert sum(figures["sources_kwh"].values()) == pytest.approx(kwh)
    app = next(each for each in figures["namespaces"] if each["name"] == "team")
    assert sum(each["energy_kwh"] for each in figures["stages"]) == pytest.approx(app["energy_kwh"])

    out = tmp_path / "out"
    assert run("--csv", str(out), *arguments, ledger=ledger).exit_code == 0
    with (out / "bookings.csv").open(encoding="utf-8", newline="") as text:
        actual = [float(row["energy_kwh"]) for row in csv.DictReader(text) if row["kind"] == "actual"]
    assert sum(actual) == pytest.approx(kwh)
    with (out / "stages.csv").open(encoding="utf-8", newline="") as text:
        stages = [float(row["energy_kwh"]) for row in csv.DictReader(text)]
    assert sum(stages) == pytest.approx(app["energy_kwh"])


def test_json_holds_reasons_where_numbers_are_missing(run: Run) -> None:
    figures = json.loads(run("--json").output)
    by_id = {each["row"]["app"]["app_id"]: each for each in figures["applications"]}
    assert by_id["found"]["saving"]["missing"].startswith("was running")
    assert by_id["app"]["saving"]["total_g"] == pytest.approx(20)
    assert figures["total"]["intensity_g_per_kwh"] > 100


def test_applications_are_listed_heaviest_first_with_the_price_of_their_energy(
    run: Run, tmp_path: Path
) -> None:
    figures = json.loads(run("--json", "--price", "0.5").output)
    assert figures["price_per_kwh"] == 0.5
    energy = {
        f"{each['row']['app']['namespace']}/{each['row']['app']['app_id']}": each["energy_kwh"]
        for each in figures["applications"]
    }
    heaviest = sorted(energy, key=lambda name: -energy[name])
    text = run("--by", "application", "--price", "0.5").output
    lines = [line.split() for line in text.splitlines() if line.split()[:1] and line.split()[0] in energy]
    assert lines[0][0] == heaviest[0]
    assert f"{0.5 * energy[heaviest[0]]:.2f}" in lines[0]
    assert "price" in text
    page = tmp_path / "page.html"
    run("--html", str(page), "--price", "0.5")
    assert f"<td>{0.5 * energy[heaviest[0]]:.2f}</td>" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--price", "-1"], "0 or more, like 0.25"),
        (["--since", "yesterday"], "2026-03-01"),
        (["--last", "soon"], "24h"),
        (["--last", "0h"], "24h"),
        (["--bucket", "1"], "15m"),
        (["--since", "2026-01-01", "--last", "1h"], "exclude"),
        (["--since", "2027-01-01"], "nothing lies between"),
        (["--csv", "/proc/none"], "another directory"),
        (["--html", "/proc/none/page.html"], "/proc/none/page.html"),
    ],
)
def test_a_mistake_is_explained_in_one_line(run: Run, arguments: list[str], problem: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert problem in result.output
    assert "Traceback" not in result.output


def test_no_ledger_and_an_empty_one_are_explained(run: Run, tmp_path: Path) -> None:
    assert "there is no ledger" in run(ledger=tmp_path / "none").output
    Ledger(str(tmp_path / "empty")).close()
    assert "no bookings yet" in run(ledger=tmp_path / "empty").output


def test_the_page_stands_alone_and_is_well_formed(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert "written" in run("--html", str(page)).output
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)\s*=|url\(|@import|https?://|<script", text)
    assert "<b>odd" not in text
    assert "&lt;b&gt;odd" in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)
    for part in ("Carbon intensity", "Emissions", "Applications over time", "Strategies", "Nodes", "stale"):
        assert part in text


def test_a_page_of_nothing_but_nodes(tmp_path: Path) -> None:
    books = b.accountant(Ledger(str(tmp_path / "ledger")))
    books.apply(NodeSeen(b.node()), DAY_S)
    books.close(DAY_S + 60)
    ledger = Ledger(str(tmp_path / "ledger"))
    assert "n1" in render(collect(ledger, DAY_S, DAY_S + 60))
    ledger.close()


def test_csv_holds_the_bookings_and_the_decisions(run: Run, tmp_path: Path) -> None:
    assert run("--csv", str(tmp_path / "out")).exit_code == 0
    tables = {
        path.stem: list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        for path in (tmp_path / "out").glob("*.csv")
    }
    assert tables.keys() == {"bookings", "stages", "applications", "decisions", "intensities"}
    actual = [row for row in tables["bookings"] if row["kind"] == "actual"]
    assert sum(float(row["energy_kwh"]) for row in actual) == pytest.approx(0.95)
    assert all((row["carbon_g"] == "") == (row["carbon_unknown"] != "") for row in actual)
    refused, admitted = tables["decisions"]
    assert refused["time"] == "2026-01-01T00:00:00+00:00"
    assert (refused["detail"], refused["score"], refused["intensity_g_per_kwh"]) == (
        'no room, "held"',
        "0.5",
        "",
    )
    assert (admitted["node"], admitted["strategy"], admitted["intensity_g_per_kwh"]) == (
        "n1",
        "threshold",
        "100.0",
    )


def test_parquet_holds_the_same_with_types(path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra `parquet`")
    ledger = Ledger(str(path))
    written = write_parquet(ledger, tmp_path / "out", DAY_S, DAY_S + 4 * HOUR_S)
    write_csv(ledger, tmp_path / "out", DAY_S, DAY_S + 4 * HOUR_S)
    ledger.close()
    for file in written:
        table = parquet.read_table(file)
        with file.with_suffix(".csv").open(encoding="utf-8", newline="") as text:
            assert table.num_rows == len(list(csv.DictReader(text)))
    bookings = parquet.read_table(written[0])
    assert str(bookings.schema.field("cell").type) == "timestamp[us, tz=UTC]"
    assert bookings.column("carbon_g").null_count > 0


def test_without_pyarrow_the_extra_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ledger = Ledger(str(path))
    with pytest.raises(ExportError, match=r"carbon-scheduler\[parquet\]"):
        write_parquet(ledger, tmp_path, DAY_S, DAY_S + 1)
    ledger.close()


@pytest.mark.parametrize(
    ("kwh", "text"),
    [(0, "0"), (0.0005, "500 mWh"), (0.25, "250 Wh"), (12.34, "12.3 kWh"), (4321, "4.32 MWh")],
)
def test_energy_in_words(kwh: float, text: str) -> None:
    assert words.energy(kwh) == text


@pytest.mark.parametrize(
    ("g", "text"), [(0, "0 g"), (-0.25, "-250 mg"), (12.34, "12.3 g"), (54321, "54.3 kg")]
)
def test_grams_in_words(g: float, text: str) -> None:
    assert words.grams(g) == text


def test_a_gap_in_a_line_is_drawn_as_a_gap() -> None:
    chart = charts.lines(0, 100, [charts.Line("a", [(0, 1.0), (40, None), (60, 2.0)])], "x")
    (path,) = re.findall(r'<path[^>]* d="([^"]*)"', chart)
    assert path.count("M") == 2


@pytest.mark.parametrize("peak", [0.0, 1e-9, 0.7, 1, 99, 1e7])
def test_an_axis_ends_at_a_round_number_that_holds_the_peak(peak: float) -> None:
    chart = charts.lines(0, 1, [charts.Line("a", [(0, peak)])], "x")
    ticks = [float(text) for text in re.findall(r'text-anchor="end"[^>]*>([^<]+)<', chart)]
    assert 2 <= len(ticks) <= 7
    assert max(ticks) >= peak
