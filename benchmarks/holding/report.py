"""Tables of the experiment, as Markdown: savings beside the bound, late starts, and what the others wait."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from scipy.stats import t as student

from benchmarks.holding.cells import Row

_SEED = re.compile(r"/seed=\d+$")
Group = Mapping[str, Sequence[Row]]
"""Rows of all seeds, by policy."""


def markdown(rows: Sequence[Row]) -> str:
    """All tables. Rows of several seeds become a mean with the half width of its 95 % confidence interval."""
    groups: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: row.cell):
        groups[_SEED.sub("", row.cell)][row.policy].append(row)
    policies = list(dict.fromkeys(row.policy for row in rows))
    parts = [_savings(groups, policies)]
    mixed = {cell: group for cell, group in groups.items() if "share=1" not in cell}
    if mixed:
        parts.append(_others(mixed, policies))
    flat = [row for row in rows if "/flat/" in row.cell]
    if flat:
        differ = sum(row.differ for row in flat)
        runs = f"{len(flat)} run{'s' if len(flat) > 1 else ''}"
        parts.append(f"Flat grid: {differ} of {sum(row.gangs for row in flat)} starts differ in {runs}.\n")
    elastic = {cell: group for cell, group in groups.items() if "/elastic" in cell}
    if elastic:
        parts.append(_split(elastic, policies))
    unfinished = sum(row.unfinished for row in rows)
    if unfinished:
        parts.append(f"**{unfinished} gangs did not come to their end.**\n")
    return "\n".join(parts)


def _savings(groups: Mapping[str, Group], policies: Sequence[str]) -> str:
    lines = [
        "Change of the whole cluster's carbon against carbon-blind, in percent; in brackets the share of",
        "what is possible by the bound, and how many gangs started after their latest start.",
        "",
        _line("cell", "seeds", "gangs", "bound", *policies),
        _line(*["---"] * (4 + len(policies))),
    ]
    for cell, group in groups.items():
        some = next(iter(group.values()))
        texts = [_saving(group[policy]) if policy in group else "" for policy in policies]
        gangs = round(fmean(row.gangs for row in some))
        lines.append(_line(cell, len(some), gangs, _percent(fmean(row.possible for row in some)), *texts))
    return "\n".join([*lines, ""])


def _saving(rows: Sequence[Row]) -> str:
    saved, possible = fmean(row.saved for row in rows), fmean(row.possible for row in rows)
    share = f"{saved / possible:.0%}, " if possible > 1e-4 else ""
    return f"{_percent(saved)}{_half_width([row.saved for row in rows])} ({share}{sum(r.late for r in rows)})"


def _split(groups: Mapping[str, Group], policies: Sequence[str]) -> str:
    lines = [
        "Elastic gangs: change of core-hours, and of carbon for each core-hour (which is due to *when*), in",
        "percent.",
        "",
        _line("cell", *policies),
        _line(*["---"] * (1 + len(policies))),
    ]
    for cell, group in groups.items():
        lines.append(_line(cell, *(_parts(group.get(policy, ())) for policy in policies)))
    return "\n".join([*lines, ""])


def _parts(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    wider = _percent(fmean(1 - row.core_h / row.blind_core_h for row in rows))
    return f"{wider}, {_percent(fmean(row.saved_by_when for row in rows))}"


def _others(groups: Mapping[str, Group], policies: Sequence[str]) -> str:
    lines = [
        "What those wait that may not wait for clean power: mean and 95th percentile in minutes; in brackets",
        "what the others report as their own saving, in percent.",
        "",
        _line("cell", "carbon-blind", *policies),
        _line(*["---"] * (2 + len(policies))),
    ]
    for cell, group in groups.items():
        some = next(iter(group.values()))
        blind = _minutes(
            fmean(row.rigid_blind_waited_mean_s for row in some),
            fmean(row.rigid_blind_waited_p95_s for row in some),
        )
        lines.append(_line(cell, blind, *(_wait(group.get(policy, ())) for policy in policies)))
    return "\n".join([*lines, ""])


def _wait(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    waited = _minutes(
        fmean(row.rigid_waited_mean_s for row in rows), fmean(row.rigid_waited_p95_s for row in rows)
    )
    return f"{waited} ({_percent(fmean(1 - row.flexible_grams / row.flexible_blind_grams for row in rows))})"


def _half_width(values: Sequence[float]) -> str:
    """Half width of the 95 % confidence interval of the mean, by Student's t; empty for a single value."""
    if len(values) < 2:
        return ""
    width = float(student.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f" ± {100 * width:.1f}"


def _percent(saved: float) -> str:
    return f"{-100 * saved:+.1f}"


def _minutes(mean_s: float, p95_s: float) -> str:
    return f"{mean_s / 60:.1f} / {p95_s / 60:.1f}"


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
