"""The report as one HTML page: style, charts and tables inside, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import islice
from typing import Final

from extender.adapters.accounting import charts, words
from extender.adapters.accounting.amounts import Missing
from extender.adapters.accounting.kpis import Application, Group, Report

MOST_ROWS: Final = 40
"""Applications and nodes drawn; the largest."""

MOST_LINES: Final = 1000

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #66717f; --rule: #dfe4ea; --ground: #fbfcfd;
  --card: #fff; --c0: #1f77b4; --c1: #e07b39; --c2: #2a9d6f; --c3: #8d5bc1; --c4: #c23b5a; --c5: #7f8b99;
  --wait: #e9c46a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #98a4b3; --rule: #2c3642;
  --ground: #12171d; --card: #1a2129; --c0: #58a6e0; --c1: #f0975a; --c2: #4cc38f; --c3: #b08ae0;
  --c4: #e8708b; --wait: #c9a13c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
  max-width: 1020px; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; color: var(--soft); } p.legend span { margin-right: 1.2rem; }
p.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .6rem 1rem;
  flex: 1 1 130px; } .tiles b { display: block; font-size: 1.25rem; }
.tiles small { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { text-align: right; padding: .25rem .45rem; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); } .tick, .name { fill: var(--soft); font-size: 11.5px; }
.name { fill: var(--ink); }
.line { fill: none; stroke-width: 1.8; }
.s0 { stroke: var(--c0); background: var(--c0); } .s1 { stroke: var(--c1); background: var(--c1); }
.s2 { stroke: var(--c2); background: var(--c2); } .s3 { stroke: var(--c3); background: var(--c3); }
.s4 { stroke: var(--c4); background: var(--c4); } .s5 { stroke: var(--c5); background: var(--c5); }
.run { fill: var(--c2); background: var(--c2); } .wait { fill: var(--wait); background: var(--wait); }
.used { fill: var(--c0); background: var(--c0); } .free { fill: var(--rule); background: var(--rule); }
.base { fill: var(--c5); background: var(--c5); }
"""


def render(report: Report) -> str:
    """The page."""
    title = f"Energy and carbon, {words.moment(report.since_s)} to {words.moment(report.until_s)} UTC"
    body = "".join(
        (
            f"<h1>{escape(title)}</h1>",
            _tiles(report),
            _intensity(report),
            _emissions(report),
            _lives(report),
            _applications(report),
            _stages(report),
            _strategies(report),
            _groups("Nodes", report.nodes, report.price_per_kwh, chart=True),
            _groups("Namespaces", report.namespaces, report.price_per_kwh, chart=False),
            _origins(report),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _tiles(report: Report) -> str:
    total = report.total
    savings = [each.saving for each in report.applications]
    known = [saving for saving in savings if not isinstance(saving, Missing)]
    by_energy = sum(saving.by_energy_g for saving in known)
    by_intensity = sum(saving.by_intensity_g for saving in known)
    split = f"{words.grams(by_intensity)} by intensity, {words.grams(by_energy)} by energy"
    if len(known) < len(savings):
        split += f"; {len(savings) - len(known)} applications unknown"
    tiles = (
        ("energy", words.energy(total.energy_kwh), f"{words.energy(total.remainder_kwh)} of it unused"),
        ("carbon", words.carbon(total), f"mean {words.intensity(total.intensity_g_per_kwh)} g/kWh"),
        ("saved", words.grams(by_energy + by_intensity), split),
        ("utilisation", words.percent(total.utilisation), f"{total.nodes_used} of {total.nodes} nodes used"),
        (
            "applications",
            str(len(report.applications)),
            f"{sum(each.ended for each in report.strategies)} ended",
        ),
    )
    cells = (
        f"<div><small>{a}</small><b>{escape(b)}</b><small>{escape(c)}</small></div>" for a, b, c in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _intensity(report: Report) -> str:
    if not report.intensities:
        return ""
    series = [
        charts.Line(
            zone or "(no zone)",
            [
                (max(step.start_s, report.since_s), None if isinstance(step.value, Missing) else step.value)
                for step in steps
            ],
        )
        for zone, steps in sorted(report.intensities.items())
    ]
    chart = charts.lines(report.since_s, report.until_s, series, "g/kWh")
    return _section(
        "Carbon intensity", "gCO2e/kWh by zone. Where a line is missing, the intensity was not known.", chart
    )


def _emissions(report: Report) -> str:
    if not report.times:
        return ""
    hours = report.bucket_s / 3600
    per_hour = (
        ("everything", [(at_s, group.carbon_g / hours) for at_s, group in report.times]),
        ("applications as they ran", [(at_s, group.applications_g / hours) for at_s, group in report.times]),
        ("the same work at submission", [(at_s, group.baseline_g / hours) for at_s, group in report.times]),
    )
    carbon = [charts.Line(name, _filled(report, points)) for name, points in per_hour]
    power = [(at_s, 1000 * group.energy_kwh / hours) for at_s, group in report.times]
    watts = charts.lines(
        report.since_s, report.until_s, [charts.Line("all nodes", _filled(report, power))], "W", 150
    )
    return _section(
        "Emissions",
        "gCO2e an hour, of energy whose intensity is known.",
        charts.lines(report.since_s, report.until_s, carbon, "g/h"),
    ) + _section("Power", "Mean watts.", watts)


def _filled(report: Report, points: Sequence[tuple[float, float]]) -> list[tuple[float, float | None]]:
    """Buckets nothing was booked in are gaps, not a continuation of the last value."""
    out: list[tuple[float, float | None]] = []
    for at_s, value in points:
        if out and at_s - out[-1][0] > report.bucket_s * 1.5:
            out.append((out[-1][0] + report.bucket_s, None))
        out.append((at_s, value))
    return out


def _lives(report: Report) -> str:
    # An application that never started took nothing, and would draw the longest bar.
    started = [each for each in report.heaviest if each.row.started_s is not None]
    shown = sorted(started[:MOST_ROWS], key=lambda each: each.row.submitted_s)
    rows = [_span(each, report) for each in shown]
    if not rows:
        return ""
    more, never = len(started) - len(rows), len(report.applications) - len(started)
    note = f" {more} smaller ones are in the tables." if more else ""
    note += f" {never} never started." if never else ""
    key = charts.legend([("waiting", "wait"), ("running", "run")])
    return _section(
        "Applications over time",
        f"In order of submission.{note}",
        charts.spans(report.since_s, report.until_s, rows) + key,
    )


def _span(application: Application, report: Report) -> charts.Span:
    row = application.row
    parts: list[tuple[float, float, str, str]] = []
    started_s, ended_s = row.started_s, row.ended_s or report.until_s
    about = "at least " if row.end_estimated else ""
    waited_until_s = ended_s if started_s is None else started_s
    if waited_until_s > row.submitted_s:
        parts.append((row.submitted_s, waited_until_s, "wait", f"waited {words.duration(row.waiting_s)}"))
    if started_s is not None:
        parts.append((started_s, ended_s, "run", f"ran {about}{words.duration(ended_s - started_s)}"))
    return charts.Span(str(row.app), parts)


def _applications(report: Report) -> str:
    if not report.applications:
        return ""
    known = [
        (each, each.actual.carbon_g, each.baseline.carbon_g)
        for each in report.applications
        if not isinstance(each.actual, Missing) and not isinstance(each.baseline, Missing)
    ]
    largest = sorted(known, key=lambda item: -max(item[1:]))[:MOST_ROWS]
    bars = [
        charts.Bar(
            str(each.row.app),
            (
                (baseline, "base", f"at submission: {words.grams(baseline)}"),
                (actual, "run", f"as it ran: {words.grams(actual)}"),
            ),
        )
        for each, actual, baseline in largest
    ]
    key = charts.legend([("the same work at submission", "base"), ("as it ran", "run")])
    chart = charts.bars(bars, "g", stacked=False) + key if bars else ""
    return _section(
        "Carbon of applications",
        "gCO2e, against the same work started at submission.",
        chart
        + _table(
            (
                "application",
                "strategy",
                "waited",
                "turnaround",
                "energy",
                "price",
                "carbon",
                "saved",
                "by intensity",
                "by energy",
            ),
            (_application(each, report.price_per_kwh) for each in report.heaviest),
        ),
    )


def _application(application: Application, price_per_kwh: float | None) -> tuple[str, ...]:
    row, saving = application.row, application.saving
    split = ("-", "-")
    if not isinstance(saving, Missing):
        split = (words.grams(saving.by_intensity_g), words.grams(saving.by_energy_g))
    return (
        str(row.app),
        row.strategy or "-",
        words.duration(row.waiting_s),
        words.duration(row.turnaround_s),
        words.energy(application.energy_kwh),
        words.price(application.energy_kwh, price_per_kwh),
        words.application_carbon(application),
        words.saving(saving),
        *split,
    )


def _stages(report: Report) -> str:
    if not report.stages:
        return ""
    rows = (
        (
            str(each.app),
            each.stage or "-",
            each.name or "(no task)",
            words.duration(each.task_s),
            words.energy(each.energy_kwh),
            words.stage_carbon(each),
        )
        for each in report.stages
    )
    return _section(
        "Stages",
        "Energy of applications that reported their stages, split by task time.",
        _table(("application", "stage", "name", "task time", "energy", "carbon"), rows),
    )


def _strategies(report: Report) -> str:
    if not report.strategies:
        return ""
    return _section(
        "Strategies",
        "Waiting and turnaround: mean / median / 95th percentile.",
        _table(
            (
                "strategy",
                "applications",
                "ended",
                "energy",
                "carbon",
                "saved",
                "waiting",
                "turnaround",
                "makespan",
            ),
            (
                (
                    each.name,
                    str(each.applications),
                    str(each.ended),
                    words.energy(each.energy_kwh),
                    words.grams(each.carbon_g)
                    + (f" + {each.carbon_unknown} unknown" if each.carbon_unknown else ""),
                    words.grams(each.saving.total_g)
                    + (f" + {each.unknown_savings} unknown" if each.unknown_savings else ""),
                    words.waits(each.waiting_s),
                    words.waits(each.turnaround_s),
                    words.duration(each.makespan_s),
                )
                for each in report.strategies
            ),
        ),
    )


def _groups(title: str, groups: Sequence[Group], price_per_kwh: float | None, *, chart: bool) -> str:
    if not groups:
        return ""
    drawn = ""
    if chart:
        largest = sorted(groups, key=lambda group: -group.energy_kwh)[:MOST_ROWS]
        rows = [
            charts.Bar(
                each.name,
                (
                    (
                        each.energy_kwh - each.remainder_kwh,
                        "used",
                        f"pods: {words.energy(each.energy_kwh - each.remainder_kwh)}",
                    ),
                    (each.remainder_kwh, "free", f"unused: {words.energy(each.remainder_kwh)}"),
                ),
            )
            for each in largest
        ]
        drawn = charts.bars(rows, "kWh", stacked=True) + charts.legend([("pods", "used"), ("unused", "free")])
    table = _table(
        (title.lower().rstrip("s"), "energy", "unused", "price", "carbon", "g/kWh", "utilisation"),
        (
            (
                each.name,
                words.energy(each.energy_kwh),
                words.energy(each.remainder_kwh),
                words.price(each.energy_kwh, price_per_kwh),
                words.carbon(each),
                words.intensity(each.intensity_g_per_kwh),
                words.percent(each.utilisation) if chart else "-",
            )
            for each in sorted(groups, key=lambda group: -group.energy_kwh)
        ),
    )
    return _section(title, "Energy in kWh." if chart else "", drawn + table)


def _node(group: Group) -> charts.Bar:
    used_kwh, unused_kwh = group.energy_kwh - group.remainder_kwh, group.remainder_kwh
    used = (used_kwh, "used", f"pods: {words.energy(used_kwh)}")
    return charts.Bar(group.name, (used, (unused_kwh, "free", f"unused: {words.energy(unused_kwh)}")))


def _origins(report: Report) -> str:
    sources = _table(
        ("power from / attributed by", "energy"),
        ((name, words.energy(kwh)) for name, kwh in report.sources_kwh.items()),
    )
    out = _section(
        "Where the numbers come from",
        "Which meter or model gave the power, and the rule that split it.",
        sources,
    )
    if report.unknown_kwh:
        rows = ((reason, words.energy(kwh)) for reason, kwh in report.unknown_kwh.items())
        out += _section("Energy with unknown carbon", "", _table(("reason", "energy"), rows))
    if report.outcomes:
        rows = ((outcome, str(count)) for outcome, count in report.outcomes.items())
        out += _section("Decisions", "", _table(("outcome", "count"), rows))
    return out


def _section(title: str, text: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2><p>{escape(text)}</p>{content}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    shown = list(islice(rows, MOST_LINES + 1))
    more = f"<p>More than {MOST_LINES} rows: the exports have all.</p>" if len(shown) > MOST_LINES else ""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in shown[:MOST_LINES]
    )
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'
    )
