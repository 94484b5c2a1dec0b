"""The oracle: the true future as a forecast. For comparing policies on replayed traces, never by default."""

from __future__ import annotations

import numpy as np

from carbon_api.forecasts.base import Forecast, check_horizon, first_interval
from carbon_api.readings import Missing, Reason
from carbon_api.series import Series


class Oracle:
    """Knows what will happen, because it holds the trace that is replayed."""

    def __init__(self, truth: Series) -> None:
        self._truth = truth

    @property
    def name(self) -> str:
        """`oracle`."""
        return "oracle"

    def forecast(self, history: Series, issue_s: float, horizon: int) -> Forecast | Missing:
        """The trace itself; `history` only tells zone and step. `Missing` at a gap and past the end.

        Near the end of the trace the forecast has fewer than `horizon` intervals.
        Raises `ValueError` if the trace is of another zone, kind or step than the history.
        """
        check_horizon(history, horizon)
        truth = self._truth
        if (truth.zone, truth.kind, truth.step_s) != (history.zone, history.kind, history.step_s):
            raise ValueError(
                f"the oracle knows {truth.kind} values of {truth.zone} every {truth.step_s} s,"
                f" not {history.kind} values of {history.zone} every {history.step_s} s"
            )
        start_s = first_interval(truth, issue_s)
        window = truth.window(start_s, start_s + horizon * truth.step_s)
        if not len(window) or window.start_s != start_s:
            return Missing(Reason.NOT_COVERED, f"the trace of {truth.zone} does not reach there")
        if np.isnan(window.values).any():
            return Missing(Reason.GAP, f"the trace of {truth.zone} has a gap there")
        values = window.values
        return Forecast(truth.zone, issue_s, truth.step_s, start_s, values, values, values, self.name)
