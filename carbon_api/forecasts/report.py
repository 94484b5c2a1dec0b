"""Results of a back-test: a table for people, JSON for programs, and a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table
from rich.text import Text

from carbon_api.forecasts.scoring import CLEANEST_HOURS, Score, Trials, mape_by_hour

_COLOURS: Final = {"ridge": "#1b7837", "blend": "#b35806", "oracle": "#542788"}
_SHOWN_DAYS: Final = 10


def table(scores: Sequence[Score], width: int) -> Table:
    """Scores as a table: one line for each zone, day ahead and method, best error of a day in bold.

    `width` is that of the terminal in columns. Eighty hold it: long zones are folded, figures are never cut.
    """
    shown = Table(
        title="Back-test: forecasts against what came",
        title_justify="left",
        header_style="dim",
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    headers = ["day", "method", "issues", "MAPE\n%", "MAE\ng", "in\n90 %", "width\ng"]
    for hours in CLEANEST_HOURS:
        headers += [f"{hours} h\n%", "regret\n%"]
    order = sorted(scores, key=lambda score: (score.zone, score.day))
    rows = [_row(score, order) for score in order]
    widest = [
        max(len(each) for each in (*header.splitlines(), *(Text.from_markup(row[at]).plain for row in rows)))
        for at, header in enumerate(headers)
    ]
    shown.add_column("zone", overflow="fold", max_width=max(4, width - sum(widest) - len(headers)))
    for header, columns in zip(headers, widest, strict=True):
        shown.add_column(header, justify="left" if header == "method" else "right", min_width=columns)
    before = ""
    for score, row in zip(order, rows, strict=True):
        shown.add_row("" if before == score.zone else score.zone, *row)
        before = score.zone
    return shown


def _row(score: Score, rivals: Sequence[Score]) -> list[str]:
    errors = [each.mape_pct for each in rivals if (each.zone, each.day) == (score.zone, score.day)]
    cleanest = [
        cell
        for found in score.cleanest.values()
        for cell in (_percent(found.overlap), _number(found.regret_pct))
    ]
    return [
        str(score.day),
        score.method,
        f"{score.issues}" + (f" (-{score.missing})" if score.missing else ""),
        _number(score.mape_pct, 2, score.mape_pct == min(errors) and len(errors) > 1),
        _number(score.mae_g),
        _percent(score.coverage),
        _number(score.width_g, 0),
        *cleanest,
    ]


def _percent(share: float) -> str:
    return "100" if share == 1.0 else _number(share * 100.0)


def _number(value: float, digits: int = 1, bold: bool = False) -> str:
    if math.isnan(value):
        return "-"
    return f"[bold]{value:.{digits}f}[/bold]" if bold else f"{value:.{digits}f}"


def write_json(path: Path, scores: Sequence[Score], about: dict[str, Any]) -> None:
    """Scores and how they came about. A value that could not be compared is null."""
    document = about | {"scores": [_plain(asdict(score)) for score in scores]}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def plot(path: Path, trials: Sequence[Trials]) -> None:
    """A row for each zone: ten days of day-ahead forecasts with their intervals, and the error by hour ahead.

    The days shown are the ones at the middle of the test.
    """
    # Figure instead of pyplot: no global state, no window, and a fast start for every other command.
    from matplotlib.figure import Figure

    zones = list(dict.fromkeys(trial.zone for trial in trials))
    figure = Figure(figsize=(15, 3.4 * len(zones)), layout="constrained")
    panels = figure.subplots(len(zones), 2, squeeze=False, width_ratios=[2.4, 1])
    for row, zone in enumerate(zones):
        of_zone = [trial for trial in trials if trial.zone == zone and len(trial.actual)]
        _plot_days(panels[row, 0], of_zone)
        _plot_errors(panels[row, 1], of_zone)
        panels[row, 0].set_title(f"{zone}: forecasts of the next 24 h, issued daily", loc="left", fontsize=10)
        panels[row, 1].set_title(f"{zone}: error by hours ahead", loc="left", fontsize=10)
    figure.savefig(path, dpi=110)


def _plot_days(axes: Any, of_zone: Sequence[Trials]) -> None:
    for number, trials in enumerate(of_zone):
        colour = _COLOURS.get(trials.method, f"C{number}")
        steps = 86_400 // trials.step_s
        hour = trials.issued_s % 86_400 == trials.issued_s[0] % 86_400
        daily = np.nonzero(hour)[0]
        middle = daily[max(0, len(daily) // 2 - _SHOWN_DAYS // 2) :][:_SHOWN_DAYS]
        for nth, issue in enumerate(middle):
            seconds = trials.issued_s[issue] + trials.step_s * (np.arange(steps) + 0.5)
            times = [datetime.fromtimestamp(second, UTC) for second in seconds]
            if number == len(of_zone) - 1:
                axes.fill_between(
                    times,
                    trials.low[issue, :steps],
                    trials.high[issue, :steps],
                    color=colour,
                    alpha=0.18,
                    linewidth=0,
                    label="" if nth else f"{trials.method}, 90 %",
                )
            axes.plot(
                times,
                trials.mean[issue, :steps],
                color=colour,
                linewidth=1.2,
                label="" if nth else trials.method,
            )
            if number == 0:
                label = "" if nth else "actual"
                axes.plot(times, trials.actual[issue, :steps], color="black", linewidth=1.4, label=label)
    axes.set_ylabel("gCO2e/kWh")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)  # room for the legend
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, ncols=4, loc="upper left", framealpha=0.85)


def _plot_errors(axes: Any, of_zone: Sequence[Trials]) -> None:
    for number, trials in enumerate(of_zone):
        error = mape_by_hour(trials)
        colour = _COLOURS.get(trials.method, f"C{number}")
        axes.plot(np.arange(len(error)) + 1, error, color=colour, linewidth=1.5, label=trials.method)
    axes.set_xlabel("hours ahead", fontsize=8)
    axes.set_ylabel("MAPE %", fontsize=9)
    axes.set_ylim(bottom=0)
    axes.set_xticks(np.arange(0, 97, 24))
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8)
