"""Start when the grid is about as clean as it gets within the time allowed."""

from __future__ import annotations

from collections.abc import Callable

from extender.core.carbon.signal import Outlook
from extender.core.carbon.start.hold import Asks


def limit(outlook: Outlook, latest_start_s: float, percentile: float) -> float:
    """The highest intensity (unit of the outlook) within the cleanest `percentile` percent of the steps.

    Of the steps that begin before `latest_start_s`; their number is rounded down, but at least one qualifies.
    """
    ranked = sorted(outlook.until(latest_start_s).values)
    return ranked[max(0, int(percentile / 100 * len(ranked)) - 1)]


def clean_enough(percentile: float) -> Callable[[Outlook, Asks], float]:
    """`limit` for a gang, with the cluster's percentile."""
    return lambda outlook, asks: limit(outlook, asks.latest_start_s, percentile)
