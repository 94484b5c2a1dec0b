"""Sources that have all their values from the start: replayed traces and synthetic grids."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from carbon_api.readings import Kind, Missing, Reason
from carbon_api.series import Series
from carbon_api.sources.base import Answer
from carbon_api.sources.traces import read_trace

_log: Final = logging.getLogger(__name__)


class Recorded:
    """A source over one finished series."""

    longest_s = math.inf

    def __init__(self, series: Series, refused: int = 0) -> None:
        self.series = series
        self.refused = refused  # rows of the trace that were left out

    @property
    def name(self) -> str:
        """Name of the provider."""
        return self.series.source

    @property
    def kind(self) -> Kind:
        """Average or marginal."""
        return self.series.kind

    async def fetch(self, zone: str, start_s: float, end_s: float) -> Answer:
        """The series within the window."""
        if zone != self.series.zone:
            return Answer(None, Missing(Reason.UNKNOWN_ZONE, f"the trace is of {self.series.zone}"))
        return Answer(self.series.window(start_s, end_s))


def replay(paths: Sequence[Path], zone: str, direct: bool = False) -> Recorded:
    """A source that replays CSV files. Raises `SourceError` if they hold nothing usable."""
    series, notes = read_trace(paths, zone, direct)
    _log.info("%s: a trace of %s every %d s", zone, notes, series.step_s)
    return Recorded(series, notes.refused_rows)
