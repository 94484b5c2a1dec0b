"""The comparison as Markdown, CSV, JSON and pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from extender.bsp.comparison import Reproduced, Result

EQUAL_S = 0.1
"""Published durations are compared to this many seconds, of 40,000: inputs are rounded."""

_HEADER = "| controller | horizon | forecast | duration s | changes | total s | CPU h | energy kWh |"
_RULE = "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |"


def best(results: Iterable[Result], origin: str, penalty_s: float, members: int, part: str) -> Result | None:
    """The run with the least total of one origin, or None."""
    some = [
        each
        for each in results
        if (each.origin, each.penalty_s, each.members, each.part) == (origin, penalty_s, members, part)
    ]
    return min(some, key=lambda each: each.total_s, default=None)


def markdown(results: Sequence[Result], reproduced: Sequence[Reproduced]) -> str:
    """The whole report as one document."""
    parts = ["# Controllers of bulk-synchronous gangs", *_sweep(results), *_by_members(results)]
    parts += _tables(results)
    if reproduced:
        parts += _published(reproduced)
    return "\n".join(parts) + "\n"


def _sweep(results: Sequence[Result]) -> list[str]:
    penalties = sorted({each.penalty_s for each in results if each.part == "penalty"})
    members = max((each.members for each in results), default=0)
    lines = [
        "\n## Penalties: total seconds\n",
        "| penalty s | best original | which | ours | gain | ours, perfect forecast |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for penalty_s in penalties:
        theirs = best(results, "original", penalty_s, members, "penalty")
        own = best(results, "ours", penalty_s, members, "penalty")
        perfect = best(results, "ours", penalty_s, members, "perfect")
        lines.append(_against(f"{penalty_s:g}", theirs, own) + f" {_seconds(perfect)} |")
    return lines


def _by_members(results: Sequence[Result]) -> list[str]:
    lines = [
        "\n## Members: total seconds, penalty 15 s\n",
        "| members | best original | which | ours | gain |",
        "| ---: | ---: | --- | ---: | ---: |",
    ]
    most = max((each.members for each in results), default=0)
    for members in sorted({each.members for each in results}):
        part = "penalty" if members == most else "members"
        pair = (best(results, origin, 15.0, members, part) for origin in ("original", "ours"))
        lines.append(_against(str(members), *pair))
    penalties = sorted({each.penalty_s for each in results if each.part == "penalty"})
    lines += [
        "\n## Gain over the best original, by members and penalty\n",
        "| members | " + " | ".join(f"{penalty_s:g} s" for penalty_s in penalties) + " |",
        "| ---: |" + " ---: |" * len(penalties),
    ]
    for members in sorted({each.members for each in results}):
        part = "penalty" if members == most else "members"
        gains = [_gain(results, penalty_s, members, part) for penalty_s in penalties]
        lines.append(f"| {members} | " + " | ".join(gains) + " |")
    return lines


def _gain(results: Sequence[Result], penalty_s: float, members: int, part: str) -> str:
    theirs, own = (best(results, origin, penalty_s, members, part) for origin in ("original", "ours"))
    return f"{1 - own.total_s / theirs.total_s:.1%}" if theirs and own else "not run"


def _against(label: str, theirs: Result | None, own: Result | None) -> str:
    which = f"{theirs.controller} {theirs.horizon}" if theirs else ""
    gain = f"{1 - own.total_s / theirs.total_s:.1%}" if theirs and own else ""
    return f"| {label} | {_seconds(theirs)} | {which} | {_seconds(own)} | {gain} |"


def _seconds(result: Result | None) -> str:
    return f"{result.total_s:,.0f}" if result else "not run"


def _tables(results: Sequence[Result]) -> list[str]:
    lines: list[str] = []
    most = max((each.members for each in results), default=0)
    for penalty_s in sorted({each.penalty_s for each in results}):
        some = [each for each in results if each.penalty_s == penalty_s and each.members == most]
        lines += [f"\n## Penalty {penalty_s:g} s, {most} members\n", _HEADER, _RULE]
        lines += [
            f"| {each.origin}: {each.controller} | {each.horizon} | {each.forecast} |"
            f" {each.duration_s:,.1f} | {each.reconfigurations} | {each.total_s:,.1f} |"
            f" {each.cpu_h:,.1f} | {each.energy_kwh:.3f} |"
            for each in sorted(some, key=lambda each: each.total_s)
        ]
    return lines


def _published(reproduced: Sequence[Reproduced]) -> list[str]:
    notes = list(dict.fromkeys(each.note for each in reproduced))
    lines = [
        "\n## Published rows\n",
        "| forecast | controller | horizon | penalty s | published s | changes | here s | changes"
        " | difference s | note |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each.mode} | {each.controller} | {each.window} | {each.penalty_s:g} | {each.published_s:,.4f} |"
        f" {each.published_reconfigurations} | {each.duration_s:,.4f} | {each.reconfigurations} |"
        f" {each.difference_s:+.4f} | {notes.index(each.note) + 1} |"
        for each in reproduced
    ]
    return [*lines, "", *(f"{number}. {note}." for number, note in enumerate(notes, 1))]


def as_dict(result: Result) -> dict[str, Any]:
    """One run for JSON."""
    return asdict(result)


def summary(results: Sequence[Result], reproduced: Sequence[Reproduced]) -> str:
    """The tables of penalties and of members, and how many published rows came out equal."""
    equal = sum(abs(each.difference_s) < EQUAL_S for each in reproduced)
    rows = [f"\n{equal} of {len(reproduced)} published rows are equal to {EQUAL_S} s."] if reproduced else []
    return "\n".join([*_sweep(results), *_by_members(results), *rows])


def write_csv(results: Sequence[Result], path: Path) -> None:
    """One line a run."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)])
        writer.writeheader()
        writer.writerows(asdict(each) for each in results)


def write_json(results: Sequence[Result], reproduced: Sequence[Reproduced], path: Path) -> None:
    """All runs and all published rows."""
    document: dict[str, Any] = {
        "runs": [asdict(each) for each in results],
        "published": [asdict(each) | {"difference_s": each.difference_s} for each in reproduced],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def draw(results: Sequence[Result], path: Path) -> None:
    """Total time and changes over the penalty, CPU and energy at 15 s. Needs the extra `plots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    (total, changes), (cpu, energy) = figure.subplots(2, 2)
    curves: dict[str, list[Result]] = {}
    for each in results:
        if each.part in ("penalty", "perfect") and (each.origin == "ours" or each.part == "penalty"):
            label = f"{each.origin}: {each.controller} {each.horizon}, {each.forecast}"
            curves.setdefault(label, []).append(each)
    drawn = {label: curve for label, curve in curves.items() if _is_drawn(curve[0])}
    for label, curve in drawn.items():
        curve.sort(key=lambda each: each.penalty_s)
        penalties = [each.penalty_s for each in curve]
        total.plot(penalties, [each.total_s for each in curve], marker="o", markersize=3, label=label)
        changes.plot(penalties, [each.reconfigurations for each in curve], marker="o", markersize=3)
    total.set(xlabel="penalty of a reconfiguration, s", ylabel="total, s")
    changes.set(xlabel="penalty of a reconfiguration, s", ylabel="reconfigurations")
    if drawn:
        total.legend(fontsize=7)
    bars = [curve for curve in drawn.values() if any(each.penalty_s == 15.0 for each in curve)]
    for axes, name, unit in ((cpu, "cpu_h", "CPU hours"), (energy, "energy_kwh", "energy, kWh")):
        at = [next(each for each in curve if each.penalty_s == 15.0) for curve in bars]
        labels = [f"{each.controller} {each.horizon}\n{each.forecast}" for each in at]
        axes.bar(labels, [getattr(each, name) for each in at])
        axes.tick_params(axis="x", labelsize=6)
        axes.set(ylabel=f"{unit}, penalty 15 s")
    figure.savefig(path)


def _is_drawn(result: Result) -> bool:
    shown = {"static": (3,), "mpc": (3, 10), "dynwin": (7,), "exppo": ()}
    return result.origin == "ours" or result.horizon in shown.get(result.controller, ())
