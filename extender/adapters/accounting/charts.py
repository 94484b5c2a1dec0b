"""Charts as SVG text, without any resource from elsewhere. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

WIDTH: Final = 960
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 26, 10, 26
_COLOURS: Final = 6
"""Classes s0..s5 of the style sheet."""

_STEPS_OF_TIME_S: Final = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400)
_MOST_TICKS: Final = 9


@dataclass(frozen=True, slots=True)
class Line:
    """Values that hold from their moment to the next; None is a gap, drawn as nothing."""

    name: str
    steps: Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled row of a time chart: parts are (start, end, class of the style sheet, tooltip)."""

    name: str
    parts: Sequence[tuple[float, float, str, str]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A labelled row of a bar chart: parts are (value, class, tooltip), laid end to end, or side by side."""

    name: str
    parts: Sequence[tuple[float, str, str]]


@dataclass(frozen=True, slots=True)
class _Frame:
    since_s: float
    until_s: float
    left: int = _LEFT

    def x(self, time_s: float) -> float:
        share = (time_s - self.since_s) / max(1e-9, self.until_s - self.since_s)
        return self.left + min(1.0, max(0.0, share)) * (WIDTH - self.left - _RIGHT)


def lines(since_s: float, until_s: float, series: Sequence[Line], unit: str, height: int = 200) -> str:
    """A chart of step lines over time, from 0 to a round number above the largest value."""
    frame = _Frame(since_s, until_s)
    peak = max((value for line in series for _, value in line.steps if value is not None), default=0.0)
    top, step = _round_axis(peak)
    bottom = height - _BOTTOM

    def y(value: float) -> float:
        return bottom - value / top * (bottom - _TOP)

    parts = [*_time_axis(frame, height)]
    for number in range(round(top / step) + 1):
        value = number * step
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        parts.append(
            f'<text class="tick" text-anchor="end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{value:g}</text>'
        )
    for index, line in enumerate(series):
        path = _path(
            [(frame.x(at_s), None if value is None else y(value)) for at_s, value in line.steps], frame
        )
        title = f"<title>{escape(line.name)}</title>"
        parts.append(f'<path class="line s{index % _COLOURS}" d="{path}">{title}</path>')
    names = [(line.name, f"s{index % _COLOURS}") for index, line in enumerate(series)]
    return _svg(height, parts, f"{unit} over time") + legend(names)


def _path(points: Sequence[tuple[float, float | None]], frame: _Frame) -> str:
    out: list[str] = []
    pen_down = False
    for index, (x, y) in enumerate(points):
        if y is None:
            pen_down = False
            continue
        end = points[index + 1][0] if index + 1 < len(points) else frame.x(frame.until_s)
        out.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}H{end:.1f}")
        pen_down = True
    return "".join(out)


def spans(since_s: float, until_s: float, rows: Sequence[Span]) -> str:
    """A chart of stretches of time, one row each (a Gantt chart)."""
    frame = _Frame(since_s, until_s, left=220)
    height = _TOP + 20 * len(rows) + _BOTTOM
    parts = [*_time_axis(frame, height)]
    for index, row in enumerate(rows):
        top = _TOP + 20 * index
        parts.append(_row_name(row.name, top, frame.left))
        for start_s, end_s, style, tooltip in row.parts:
            width = max(1.0, frame.x(end_s) - frame.x(start_s))
            parts.append(_box(frame.x(start_s), top + 3, width, 13, style, tooltip))
    return _svg(height, parts, "applications over time")


def bars(rows: Sequence[Bar], unit: str, *, stacked: bool) -> str:
    """A chart of horizontal bars: the parts of a row end to end (stacked), or one below the other."""
    left, thick = 220, 9
    values = [[value for value, _, _ in row.parts] for row in rows]
    sums = [sum(each) if stacked else max(each, default=0.0) for each in values]
    top_value, step = _round_axis(max(sums, default=0.0))
    scale = (WIDTH - left - _RIGHT - 30) / top_value
    deep = 20 if stacked else 24
    height = _TOP + deep * len(rows) + _BOTTOM
    parts: list[str] = []
    for number in range(round(top_value / step) + 1):
        x = left + number * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>')
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{height - 8}">{number * step:g}</text>'
        )
    for index, row in enumerate(rows):
        top, x = _TOP + deep * index, float(left)
        parts.append(_row_name(row.name, top, left))
        for place, (value, style, tooltip) in enumerate(row.parts):
            if stacked:
                parts.append(_box(x, top + 3, value * scale, 13, style, tooltip))
                x += value * scale
            else:
                parts.append(_box(x, top + 2 + place * (thick + 1), value * scale, thick, style, tooltip))
    return _svg(height, parts, unit)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """Names with the colour of their class."""
    items = "".join(f'<span><i class="{style}"></i>{escape(name)}</span>' for name, style in names)
    return f'<p class="legend">{items}</p>'


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _box(x: float, y: float, width: float, height: float, style: str, tooltip: str) -> str:
    return (
        f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height}">'
        f"<title>{escape(tooltip)}</title></rect>"
    )


def _rule(x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _tick(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text class="tick" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _row_name(name: str, top: float, left: float) -> str:
    shown = name if len(name) <= 32 else f"{name[:15]}…{name[-16:]}"
    return (
        f'<text class="name" text-anchor="end" x="{left - 8}" y="{top + 14}">{escape(shown)}'
        f"<title>{escape(name)}</title></text>"
    )


def _time_axis(frame: _Frame, height: float) -> list[str]:
    length_s = frame.until_s - frame.since_s
    step = next((each for each in _STEPS_OF_TIME_S if length_s / each <= _MOST_TICKS), _STEPS_OF_TIME_S[-1])
    out: list[str] = []
    tick = math.ceil(frame.since_s / step) * step
    while tick <= frame.until_s:
        x, moment = frame.x(tick), datetime.fromtimestamp(tick, UTC)
        midnight = moment.hour == moment.minute == 0
        text = f"{moment:%d %b}" if midnight or step >= 86_400 else f"{moment:%H:%M}"
        out += [_rule(x, x, _TOP, height - _BOTTOM), _tick(x, height - 8, text)]
        tick += step
    return out


def _round_axis(peak: float) -> tuple[float, float]:
    """End and step of an axis that holds `peak` in three to six steps of 1, 2 or 5 times a power of ten."""
    if not peak > 0:
        return 1.0, 0.5
    rough = peak / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    return math.ceil(peak / step - 1e-9) * step, step
