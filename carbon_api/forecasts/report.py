"""What a back-test shows: a table for people, JSON for programs, and a plot."""

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

from carbon_api.forecasts.scoring import CLEANEST_HOURS, Score, Trials, mape_by_hour

_COLOURS: Final = {"ridge": "#1b7837", "blend": "#b35806", "oracle": "#542788"}
_SHOWN_DAYS: Final = 10


def table(scores: Sequence[Score]) -> Table:
    """Scores as a table: one line for each zone, day ahead and method, best error of a day in bold."""
    shown = Table(title="Back-test: forecasts against what came", title_justify="left", header_style="dim")
    shown.add_column("zone", no_wrap=True, min_width=max((len(score.zone) for score in scores), default=0))
    for title in ("day", "method", "issues", "MAPE %", "MAE g", "in 90 %", "width g"):
        shown.add_column(title, justify="left" if title == "method" else "right")
    for hours in CLEANEST_HOURS:
        shown.add_column(f"{hours} h %", justify="right")
        shown.add_column("regret %", justify="right")
    order = sorted(scores, key=lambda score: (score.zone, score.day))
    before: Score | None = None
    for score in order:
        rivals = [s.mape_pct for s in order if (s.zone, s.day) == (score.zone, score.day)]
        best = score.mape_pct == min(rivals) and len(rivals) > 1
        if before is not None and before.zone != score.zone:
            shown.add_section()
        shown.add_row(
            "" if before is not None and before.zone == score.zone else score.zone,
            str(score.day),
            score.method,
            f"{score.issues}" + (f" (-{score.missing})" if score.missing else ""),
            _number(score.mape_pct, 2, best),
            _number(score.mae_g),
            _number(score.coverage * 100.0),
            _number(score.width_g, 0),
            *(
                _number(value)
                for found in score.cleanest.values()
                for value in (found.overlap * 100.0, found.regret_pct)
            ),
        )
        before = score
    return shown


def _number(value: float, digits: int = 1, bold: bool = False) -> str:
    if math.isnan(value):
        return "-"
    return f"[bold]{value:.{digits}f}[/bold]" if bold else f"{value:.{digits}f}"


def write_json(path: Path, scores: Sequence[Score], about: dict[str, Any]) -> None:
    """Scores and how they came about. What could not be compared is null."""
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
