"""Start when the grid is about as clean as it gets within the time allowed."""

from __future__ import annotations

from extender.core.carbon import Outlook


def start_s(outlook: Outlook, latest_start_s: float, percentile: float) -> float:
    """When to start: the first step whose intensity is within the cleanest `percentile` percent.

    The percentile is taken over the steps that begin before `latest_start_s`, rounded down, but at least
    one step qualifies. A start is never later than `latest_start_s`.
    """
    window = outlook.until(latest_start_s)
    ranked = sorted(window.values)
    limit = ranked[max(0, int(percentile / 100 * len(ranked)) - 1)]
    times = window.times()
    first = next(time for time, value in zip(times, window.values, strict=True) if value <= limit)
    return min(first, latest_start_s)
